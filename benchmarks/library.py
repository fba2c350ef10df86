"""Models for measuring single statements: posts, their author, and their comments.

The process with hand-written sites creates them without importing multisite.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

__all__ = ["AUTHORS", "COMMENTS", "POSTS", "SITES", "Models", "make_models"]

SITES = 1_000
"""Number of sites. The first ten share the rows."""
POSTS = 1_000
"""Posts of each site that has rows; the first half of them has comments."""
AUTHORS = 50
COMMENTS = 3

_BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class Models(NamedTuple):
    """One set of models."""

    base: Any
    author: Any
    post: Any
    comment: Any


class _Numbered:
    """What an application writes by hand instead of SiteScoped."""

    site_id: Mapped[int] = mapped_column(sa.BigInteger)


def make_models(*, by_hand: bool) -> Models:
    """Return the models: `by_hand` with a plain `site_id`, otherwise with multisite, which installs scoping."""
    owned: Any = _Numbered
    refers: Any = sa.ForeignKey
    if not by_hand:
        from multisite import SiteScoped, scoped_reference

        owned, refers = SiteScoped, scoped_reference

    class Base(DeclarativeBase):
        pass

    class Author(owned, Base):
        __tablename__ = "authors"

        id: Mapped[int] = mapped_column(_BigId, primary_key=True)
        name: Mapped[str] = mapped_column(sa.String(100))

    class Post(owned, Base):
        __tablename__ = "posts"
        __table_args__ = (
            sa.Index("ix_posts_site_id_published", "site_id", "published"),
            sa.Index("ix_posts_site_id_author_id", "site_id", "author_id"),
            sa.Index("ix_posts_author_id", "author_id"),
        )

        id: Mapped[int] = mapped_column(_BigId, primary_key=True)
        title: Mapped[str] = mapped_column(sa.String(200))
        body: Mapped[str] = mapped_column(sa.Text)
        published: Mapped[datetime]
        author_id: Mapped[int] = mapped_column(sa.BigInteger, refers("authors.id"))
        author: Mapped[Any] = relationship(Author)
        # The database deletes the comments of a deleted post.
        comments: Mapped[list[Any]] = relationship("Comment", passive_deletes="all")

    class Comment(owned, Base):
        __tablename__ = "comments"
        __table_args__ = (
            sa.Index("ix_comments_site_id_post_id", "site_id", "post_id"),
            # Hand-written lazy loads do not filter by site; both have this index, so that changes cost the same.
            sa.Index("ix_comments_post_id", "post_id"),
        )

        id: Mapped[int] = mapped_column(_BigId, primary_key=True)
        text: Mapped[str] = mapped_column(sa.Text)
        post_id: Mapped[int] = mapped_column(sa.BigInteger, refers("posts.id", ondelete="CASCADE"))

    return Models(Base, Author, Post, Comment)
