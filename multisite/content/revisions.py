"""The tables of the editor: owners of entries, revisions of their texts, texts that were not saved, and previews.

A revision is a whole copy. It is written with each save, with a text that collided with somebody else's, and when an
entry is deleted.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from multisite.content.limits import PICTURE_LENGTH, SLUG_LENGTH, TITLE_LENGTH
from multisite.content.models import Base, UtcDateTime
from multisite.directory.tables import BigId
from multisite.scoping import SiteScoped, scoped_reference, site_id_column
from multisite.users.accounts import MAX_LOGIN_CHARACTERS

__all__ = ["Autosave", "PreviewLink", "Revision", "entry_owners"]

entry_owners = sa.Table(
    "entry_owners",
    Base.metadata,
    site_id_column(),
    sa.Column("entry_id", sa.BigInteger, scoped_reference("entries.id", ondelete="CASCADE"), nullable=False),
    sa.Column("user_id", sa.BigInteger, scoped_reference("users.id", ondelete="CASCADE"), nullable=False),
    sa.PrimaryKeyConstraint("site_id", "entry_id"),
    sa.Index("ix_entry_owners_site_id_user_id", "site_id", "user_id"),
)
"""The user who began an entry, and who may change it as an author. Imported entries have none."""


class Revision(SiteScoped, Base):
    """A text that an entry had, or would have had.

    `kind` is `saved`, `collided` (somebody else had saved in the meantime, so the entry does not have this text) or
    `deleted` (the entry is gone, and `entry_id` is NULL). `user_id` is who wrote it, for `deleted` whose entry it was;
    it is NULL for an import and for a user who was removed. `tags` are names, one a line.
    """

    __tablename__ = "revisions"
    __table_args__ = (
        sa.Index("ix_revisions_site_id_entry_id_id", "site_id", "entry_id", "id"),
        sa.Index("ix_revisions_site_id_user_id", "site_id", "user_id"),
        sa.Index("ix_revisions_site_id_kind_id", "site_id", "kind", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    entry_id: Mapped[int | None] = mapped_column(sa.BigInteger, scoped_reference("entries.id", ondelete="CASCADE"))
    user_id: Mapped[int | None] = mapped_column(sa.BigInteger, scoped_reference("users.id"))
    login: Mapped[str | None] = mapped_column(sa.String(MAX_LOGIN_CHARACTERS))
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=lambda: datetime.now(UTC))
    kind: Mapped[str] = mapped_column(sa.String(20))
    title: Mapped[str] = mapped_column(sa.String(TITLE_LENGTH))
    slug: Mapped[str] = mapped_column(sa.String(SLUG_LENGTH))
    summary: Mapped[str] = mapped_column(sa.Text)
    body: Mapped[str] = mapped_column(sa.Text)
    tags: Mapped[str] = mapped_column(sa.Text)
    author: Mapped[str | None] = mapped_column(sa.String(TITLE_LENGTH))
    published: Mapped[datetime | None] = mapped_column(UtcDateTime)
    draft: Mapped[bool] = mapped_column(sa.Boolean)
    picture: Mapped[str | None] = mapped_column(sa.String(PICTURE_LENGTH))


class Autosave(SiteScoped, Base):
    """What a user has typed into the form of an entry and not saved.

    `key` is that of the form: of an entry, or random for a new one, whose `entry_id` is NULL. `version` is the version
    that was edited, `fields` a JSON object with the texts of the form, and `saved` Unix time, in seconds.
    """

    __tablename__ = "autosaves"
    __table_args__ = (sa.UniqueConstraint("site_id", "user_id", "key"), sa.Index(None, "site_id", "entry_id"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.BigInteger, scoped_reference("users.id", ondelete="CASCADE"))
    entry_id: Mapped[int | None] = mapped_column(sa.BigInteger, scoped_reference("entries.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(sa.String(40))
    version: Mapped[str] = mapped_column(sa.String(32))
    fields: Mapped[str] = mapped_column(sa.Text)
    saved: Mapped[int] = mapped_column(sa.BigInteger)


class PreviewLink(SiteScoped, Base):
    """A link that shows an entry to everybody who has it, until `expires` (Unix time, in seconds).

    The link has the token, of which `token_hash` is the hash. `user_id` is who made it.
    """

    __tablename__ = "preview_links"
    __table_args__ = (
        sa.UniqueConstraint("site_id", "token_hash"),
        sa.Index(None, "site_id", "entry_id"),
        sa.Index(None, "site_id", "user_id"),
        {"info": {"export": False}},  # A link is valid on one site.
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    entry_id: Mapped[int] = mapped_column(sa.BigInteger, scoped_reference("entries.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(sa.BigInteger, scoped_reference("users.id", ondelete="CASCADE"))
    token_hash: Mapped[str] = mapped_column(sa.String(64))
    expires: Mapped[int] = mapped_column(sa.BigInteger)
