"""The tables of the reference application: entries, tags and redirects, each row belonging to one site.

Every unique constraint and index starts with `site_id`, because the scoping layer adds `site_id = …` to each statement.
References between the tables contain it as well, so that the database itself rejects a tag of another site. Triggers
(`multisite.content.triggers`) keep `entry_tags.listed` and `entry_counts` up to date.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from multisite.content import triggers
from multisite.content.limits import (
    PATH_LENGTH,
    PICTURE_LENGTH,
    SLUG_LENGTH,
    SOURCE_LENGTH,
    TARGET_LENGTH,
    TITLE_LENGTH,
)
from multisite.content.page_paths import is_page_slug
from multisite.directory.tables import BigId, UtcDateTime
from multisite.media import SiteMedia
from multisite.scoping import SiteScoped, scoped_reference, site_id_column
from multisite.search import SearchIndex

__all__ = [
    "Base",
    "Entry",
    "Media",
    "Redirect",
    "Tag",
    "UtcDateTime",
    "entry_counts",
    "entry_search",
    "entry_tags",
    "imported_files",
]


class Base(DeclarativeBase):
    """Base of the models; its naming convention names every constraint, for migrations."""

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
    sa.Column("listed", UtcDateTime),
    sa.PrimaryKeyConstraint("site_id", "entry_id", "tag_id"),
    # Returns the entries with a tag newest first, however many entries the site or the tag has.
    sa.Index("ix_entry_tags_site_id_tag_id_listed_entry_id", "site_id", "tag_id", "listed", "entry_id"),
)
"""Which entry has which tag; entry and tag must belong to the same site.

`listed` is the entry's `published`, or None for a draft. A trigger sets it.
"""

imported_files = sa.Table(
    "imported_files",
    Base.metadata,
    site_id_column(),
    sa.Column("source", sa.String(SOURCE_LENGTH), nullable=False),
    sa.Column("entry_id", sa.BigInteger, scoped_reference("entries.id", ondelete="CASCADE"), nullable=False),
    sa.Column("digest", sa.String(40), nullable=False),
    sa.Column("entry_digest", sa.String(40), nullable=False),
    sa.Column("day", sa.Date),
    sa.PrimaryKeyConstraint("site_id", "source"),
    sa.Index("ix_imported_files_site_id_entry_id", "site_id", "entry_id"),
    # Digests of files of this machine, which the next import makes again.
    info={"export": False},
)
"""The digest of a file when it was imported, that of its entry afterwards, and the day in the entry's address."""

entry_counts = sa.Table(
    "entry_counts",
    Base.metadata,
    site_id_column(),
    sa.Column("period", sa.String(19), nullable=False),
    sa.Column("entries", sa.Integer, nullable=False),
    sa.PrimaryKeyConstraint("site_id", "period"),
    info={"export": False},
)
"""How many entries, without drafts, have a `published` in each period. Triggers keep it; nothing else writes to it.

A period is a month of UTC (`2024-05`). On 31 December and 1 January, where a year of a site's time zone may begin, it
is a second (`2024-12-31 23:00:00`), so that years can be counted in any time zone.
"""


class Tag(SiteScoped, Base):
    """A tag of a site's entries. `slug` is its name in URLs, `name` its display name."""

    __tablename__ = "tags"
    __table_args__ = (sa.UniqueConstraint("site_id", "slug"), sa.UniqueConstraint("site_id", "name"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    slug: Mapped[str] = mapped_column(sa.String(SLUG_LENGTH))
    name: Mapped[str] = mapped_column(sa.String(TITLE_LENGTH))


class Entry(SiteScoped, Base):
    """An article of one site, or one of its pages.

    A page, such as an imprint, has no date, and its slug is the path of its address: `/about/team`
    (`multisite.content.page_paths`).

    `body` is the author's Markdown, in the `dialect` of `multisite.content.markup.dialects`. `body_html` is its HTML,
    rendered and sanitized by `multisite.content.markup.markdown` when the entry is saved, so that showing a page
    renders no Markdown. `summary` is plain text. `published` is None only for drafts and pages; an article is visible
    once `published` is past and `draft` is false, a page as soon as `draft` is false. `author` is the author's name,
    `source` the absolute path of the imported file, or the URI of the imported post; both are None if unknown.
    `picture` is the path of the picture of the site's media that links to the entry show; None for the first in its
    text.
    """

    __tablename__ = "entries"
    __table_args__ = (
        sa.UniqueConstraint("site_id", "slug"),
        # Without a date, a page is in no list, feed or count, whatever their statements forget.
        sa.CheckConstraint(
            "CASE WHEN substr(slug, 1, 1) = '/' THEN published IS NULL ELSE draft OR published IS NOT NULL END",
            name="published",
        ),
        # Every list of a site selects published entries, newest first; this index returns them in order.
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
    dialect: Mapped[str] = mapped_column(sa.String(20), server_default="commonmark")
    picture: Mapped[str | None] = mapped_column(sa.String(PICTURE_LENGTH))

    tags: Mapped[list[Tag]] = relationship(secondary=entry_tags, order_by=Tag.name, passive_deletes=True)

    @property
    def is_page(self) -> bool:
        """Whether this is a page."""
        return is_page_slug(self.slug)


class Redirect(SiteScoped, Base):
    """A redirect from an address without a page; `multisite.content.redirect_rules` describes path and target.

    `target` is None only for the status 410. `imported` is whether an import made it; imports change no others.
    """

    __tablename__ = "redirects"
    __table_args__ = (
        sa.UniqueConstraint("site_id", "path"),
        sa.CheckConstraint(
            "status IN (301, 302) AND target IS NOT NULL OR status = 410 AND target IS NULL", name="target"
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    path: Mapped[str] = mapped_column(sa.String(PATH_LENGTH))
    target: Mapped[str | None] = mapped_column(sa.String(TARGET_LENGTH))
    status: Mapped[int] = mapped_column(sa.Integer, default=301)
    imported: Mapped[bool] = mapped_column(sa.Boolean, default=False)


class MissingAddress(SiteScoped, Base):
    """An address without a page, how many requests for it were counted, and when the last was written.

    `multisite.content.missing` limits the rows of a site.
    """

    __tablename__ = "missing_addresses"
    __table_args__ = (sa.UniqueConstraint("site_id", "path"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    path: Mapped[str] = mapped_column(sa.String(PATH_LENGTH))
    requests: Mapped[int] = mapped_column(sa.BigInteger)
    seen: Mapped[datetime] = mapped_column(UtcDateTime)


class Media(SiteMedia, Base):
    """A picture or another file of a site."""

    __tablename__ = "media"


entry_search = SearchIndex(Entry, title="title", texts=("summary",), html=("body_html",), date="published")
"""Search in the entries of a site."""

triggers.install(Base.metadata)
