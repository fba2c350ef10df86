"""The models that single statements are measured on: posts, their author, and their comments.

The process that has the site written by hand makes them without importing multisite.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

__all__ = ["AUTHORS", "COMMENTS", "POSTS", "SITES", "Models", "make_models"]

SITES = 1_000
"""How many sites there are. The first ten share the rows."""
POSTS = 1_000
"""How many posts each of those has, the first half of them with comments."""
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
    """What a person writes in place of SiteScoped."""

    site_id: Mapped[int] = mapped_column(sa.BigInteger)


def make_models(*, by_hand: bool) -> Models:
    """Return the models: `by_hand` with a plain `site_id`, else with multisite, whose wall is then up."""
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
        # The comments of a post that is deleted are the database's affair.
        comments: Mapped[list[Any]] = relationship("Comment", passive_deletes="all")

    class Comment(owned, Base):
        __tablename__ = "comments"
        __table_args__ = (
            sa.Index("ix_comments_site_id_post_id", "site_id", "post_id"),
            # What a person has who writes no site into lazy loads; both have both, so that changes cost the same.
            sa.Index("ix_comments_post_id", "post_id"),
        )

        id: Mapped[int] = mapped_column(_BigId, primary_key=True)
        text: Mapped[str] = mapped_column(sa.Text)
        post_id: Mapped[int] = mapped_column(sa.BigInteger, refers("posts.id", ondelete="CASCADE"))

    return Models(Base, Author, Post, Comment)
