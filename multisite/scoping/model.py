"""`SiteScoped`, the mixin that makes a model belong to a site."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from multisite.scoping.column import SiteId, fill_in_site_id, reference_to_sites

__all__ = ["SiteScoped"]


class SiteScoped:
    """A declarative mixin: each row of the model belongs to one site.

    Adds `site_id` (64 bits, not null, a foreign key to `sites`, filled in by itself) and UNIQUE (site_id, id), also
    where the model has `__table_args__` of its own; the index of that constraint serves queries by site. Every
    unique constraint of the model itself should hold `site_id` as well.
    """

    @declared_attr
    def site_id(cls) -> Mapped[int]:  # noqa: N805  # declared_attr hands over the class.
        """The id of the site that the row belongs to."""
        return mapped_column(SiteId(), reference_to_sites(), nullable=False, insert_default=fill_in_site_id)
