"""The tables of the reference application: entries and their tags, each row belonging to one site.

Every unique constraint and every index begins with `site_id`, since the wall puts `site_id = …` into each statement;
references between the tables carry it as well, so that the database itself refuses a tag of another site.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from multisite.content.limits import SLUG_LENGTH, SOURCE_LENGTH, TITLE_LENGTH
from multisite.models import BigId
from multisite.scoping import SiteScoped, scoped_reference, site_id_column

__all__ = ["Base", "Entry", "Tag", "UtcDateTime", "entry_tags"]


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: takes aware datetimes of any zone, gives aware ones in UTC, on databases without zones too."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn `value` into UTC; raises `ValueError` for a naive one, whose zone nobody could know later."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give what was stored back in UTC, whatever zone the database session speaks."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The models of the reference application; the naming convention lets migrations name every constraint."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


entry_tags = sa.Table(
    "entry_tags",
    Base.metadata,
    site_id_column(),
    sa.Column("entry_id", sa.BigInteger, scoped_reference("entries.id", ondelete="CASCADE"), nullable=False),
    sa.Column("tag_id", sa.BigInteger, scoped_reference("tags.id", ondelete="CASCADE"), nullable=False),
    sa.PrimaryKeyConstraint("site_id", "entry_id", "tag_id"),
    sa.Index("ix_entry_tags_site_id_tag_id", "site_id", "tag_id"),
)
"""Which entry has which tag; an entry and a tag of different sites cannot meet here."""


class Tag(SiteScoped, Base):
    """A word that entries of one site share. `slug` names it in addresses, `name` is what people read."""

    __tablename__ = "tags"
    __table_args__ = (sa.UniqueConstraint("site_id", "slug"), sa.UniqueConstraint("site_id", "name"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    slug: Mapped[str] = mapped_column(sa.String(SLUG_LENGTH))
    name: Mapped[str] = mapped_column(sa.String(TITLE_LENGTH))


class Entry(SiteScoped, Base):
    """An article of one site.

    `body` is Markdown as its author wrote it; `body_html` is what `multisite.content.markdown` made of it when it was
    saved, clean and ready to send, so that showing a page renders no Markdown. `summary` is plain text. `published`
    is None only for drafts; an entry is seen once `published` is past and `draft` is false. `author` is who wrote it,
    `source` the absolute path of the file that it was imported from; both are None where that is not known.
    """

    __tablename__ = "entries"
    __table_args__ = (
        sa.UniqueConstraint("site_id", "slug"),
        sa.CheckConstraint("draft OR published IS NOT NULL", name="published"),
        # Every list of a site asks for what is no draft, newest first: this index answers without sorting.
        sa.Index("ix_entries_site_id_draft_published_id", "site_id", "draft", "published", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    slug: Mapped[str] = mapped_column(sa.String(SLUG_LENGTH))
    title: Mapped[str] = mapped_column(sa.String(TITLE_LENGTH))
    summary: Mapped[str] = mapped_column(sa.Text, default="")
    body: Mapped[str] = mapped_column(sa.Text, default="")
    body_html: Mapped[str] = mapped_column(sa.Text, default="")
    published: Mapped[datetime | None] = mapped_column(UtcDateTime)
    updated: Mapped[datetime] = mapped_column(UtcDateTime, default=lambda: datetime.now(UTC))
    draft: Mapped[bool] = mapped_column(sa.Boolean, default=False)
    source: Mapped[str | None] = mapped_column(sa.String(SOURCE_LENGTH))
    author: Mapped[str | None] = mapped_column(sa.String(TITLE_LENGTH))

    tags: Mapped[list[Tag]] = relationship(secondary=entry_tags, order_by=Tag.name, passive_deletes=True)
