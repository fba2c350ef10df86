"""`SiteScoped`, the mixin that makes a model belong to a site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Mapped, Mapper, RelationshipProperty, declared_attr, mapped_column

from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN, SiteId, default_site_id, has_site_id, reference_to_sites

__all__ = ["SiteScoped"]


class SiteScoped:
    """A declarative mixin: each row of the model belongs to one site.

    Adds `site_id` (64 bits, not null, a foreign key to `sites`, filled in by itself) and UNIQUE (site_id, id), also
    where the model has `__table_args__` of its own; the index of that constraint serves queries by site. Every
    unique constraint of the model itself should hold `site_id` as well. A subclass with a table of its own gets a
    `site_id` there too, and refers to its parent by `scoped_reference("parents.id")` at its `id`. In a model that is a
    dataclass `site_id` is no field: it is not an argument, and given as an attribute where it has to be given.
    """

    if TYPE_CHECKING:
        site_id: Mapped[int]
        """The id of the site that the row belongs to."""
    else:
        # Without an annotation at run time, which would make it a field of a dataclass, and SQLAlchemy refuses those
        # of a mixin that is no dataclass itself.
        @declared_attr.cascading
        def site_id(cls):  # noqa: N805  # declared_attr hands over the class.
            """The id of the site that the row belongs to."""
            return mapped_column(
                SiteId(),
                reference_to_sites(),
                nullable=False,
                insert_default=default_site_id,
                # A subclass without a table of its own has the column already.
                use_existing_column=True,
            )


@event.listens_for(Mapper, "mapper_configured")
def _check_tables(mapper: Mapper[Any], cls: type) -> None:
    """Refuse a scoped model of which one table, its own or one that links it, is not scoped."""
    if not issubclass(cls, SiteScoped):
        return
    for table in mapper.tables:
        if isinstance(table, sa.Table) and not has_site_id(table):
            raise MultisiteError(
                f"{cls.__name__} is SiteScoped, but its table '{table.name}' has no site_id: add site_id_column() to it"
            )
    for relationship in mapper.relationships:
        _check_link(cls, relationship)
    _fill_in_each(mapper)


def _fill_in_each(mapper: Mapper[Any]) -> None:
    """Let the table of a subclass take its `site_id` from the scope, as its parent's does, not from the parent's row.

    Many rows inserted at once are not objects, and SQLAlchemy looks for a value to hand on in what was given for each.
    """
    pairs: list[Any] | None = getattr(mapper, "_inherits_equated_pairs", None)
    if pairs:
        pairs[:] = [pair for pair in pairs if pair[0].name != SITE_COLUMN]


def _check_link(cls: type, relationship: RelationshipProperty[Any]) -> None:
    secondary = relationship.secondary
    if isinstance(secondary, sa.Table) and not has_site_id(secondary):
        raise MultisiteError(
            f"{cls.__name__} is SiteScoped, but the table '{secondary.name}' that {cls.__name__}.{relationship.key} "
            "goes through has no site_id: add site_id_column() to it, and scoped_reference() to both sides"
        )
