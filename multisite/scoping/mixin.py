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
    """A declarative mixin for a model whose rows each belong to one site.

    Adds a column `site_id` (64 bits, not null, a foreign key to `sites`, the session's site by default) and
    UNIQUE (site_id, id), even if the model has its own `__table_args__`; the index of that constraint serves queries by
    site. The model's own unique constraints should include `site_id` too. A subclass with its own table gets `site_id`
    there as well, and refers to its parent by `scoped_reference("parents.id")` at its `id`. In a dataclass model
    `site_id` is not a field: it cannot be passed to `__init__`, but the attribute can be set.
    """

    if TYPE_CHECKING:
        site_id: Mapped[int]
        """The id of the site that the row belongs to."""
    else:
        # No annotation at run time: it would make this a dataclass field, and SQLAlchemy refuses fields of a mixin that
        # is not a dataclass itself.
        @declared_attr.cascading
        def site_id(cls):  # noqa: N805  # declared_attr passes the class.
            """The id of the site that the row belongs to."""
            return mapped_column(
                SiteId(),
                reference_to_sites(),
                nullable=False,
                insert_default=default_site_id,
                # A subclass without its own table already has the column.
                use_existing_column=True,
            )


@event.listens_for(Mapper, "mapper_configured")
def _check_tables(mapper: Mapper[Any], cls: type) -> None:
    """Reject a scoped model if one of its tables, or a secondary table of a relationship, is not scoped."""
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
    """Fill in `site_id` in the table of a subclass from the scope, as in its parent's table.

    SQLAlchemy would copy it from the parent's row. In a bulk insert it looks for it in the given values, where it is
    missing.
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
