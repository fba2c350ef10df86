"""The tables of the differential test, declared once for both sides: scoped, or unscoped, without `site_id`."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.associationproxy import association_proxy
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship


class Kind(Protocol):
    """The options by which a set of models is declared; `Scoped` is a mixin of each model."""

    Scoped: type

    def site_columns(self) -> list[sa.Column[Any]]:
        """Return the columns that come first in an association table."""

    def reference(self, column: str, target: str, **options: Any) -> sa.ForeignKeyConstraint:
        """Return the foreign key from one scoped table to another."""

    def key(self, *columns: str) -> list[str]:
        """Return the columns of a unique key."""


class Plain:
    """The options of the reference: models for a database that belongs to one site."""

    class Scoped:
        pass

    def site_columns(self) -> list[sa.Column[Any]]:
        return []

    def reference(self, column: str, target: str, **options: Any) -> sa.ForeignKeyConstraint:
        return sa.ForeignKeyConstraint([column], [target], **options)

    def key(self, *columns: str) -> list[str]:
        return list(columns)


class Row:
    """The columns that every model has. `note` contains the canary, `ref` refers to a row of another table."""

    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    note: Mapped[str]
    n: Mapped[int]
    ref: Mapped[int | None] = mapped_column(sa.BigInteger)


@dataclass(frozen=True)
class Relation:
    """A relationship: its name, the name of its target model, and whether it is a collection."""

    name: str
    target: str
    many: bool


RELATIONS = {
    "Author": (Relation("posts", "Post", True), Relation("favourite", "Post", False)),
    "Post": (
        Relation("comments", "Comment", True),
        Relation("author", "Author", False),
        Relation("tags", "Tag", True),
        Relation("fans", "Author", True),
    ),
    "Comment": (Relation("post", "Post", False),),
    "Tag": (Relation("posts", "Post", True), Relation("parent", "Tag", False), Relation("children", "Tag", True)),
    "Doc": (Relation("parent", "Doc", False), Relation("children", "Doc", True)),
    "Article": (Relation("parent", "Doc", False), Relation("children", "Doc", True)),
    "Film": (Relation("parent", "Doc", False), Relation("children", "Doc", True)),
    "Memo": (Relation("parent", "Doc", False), Relation("children", "Doc", True)),
    "Country": (),
}
"""The relationships by model. Some have a foreign key in the database; `Author.favourite`, `Tag.parent` and
`Doc.parent` have none."""

MODELS = ("Post", "Author", "Comment", "Tag", "Doc", "Country")
"""The models with a table of their own that has all columns of `Row`."""

SCOPED = MODELS[:-1]

CHILDREN = ("Article", "Film", "Memo")
"""The models that derive from Doc: two with a table of their own, one without."""


def declare(kind: Kind) -> SimpleNamespace:
    """Return the models of one kind by their names, and the association table as `post_tags`."""

    class Base(DeclarativeBase):
        pass

    post_tags = sa.Table(
        "oracle_post_tags",
        Base.metadata,
        *kind.site_columns(),
        sa.Column("post_id", sa.BigInteger, nullable=False),
        sa.Column("tag_id", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(*kind.key("post_id", "tag_id")),
        kind.reference("post_id", "oracle_posts.id", ondelete="CASCADE"),
        kind.reference("tag_id", "oracle_tags.id"),
    )

    class Author(kind.Scoped, Row, Base):  # type: ignore[name-defined, misc]
        __tablename__ = "oracle_authors"
        __table_args__ = (sa.UniqueConstraint(*kind.key("slug")),)

        slug: Mapped[str]
        bio: Mapped[str | None] = mapped_column(deferred=True)
        posts = relationship(
            "Post", primaryjoin="foreign(Post.ref) == Author.id", order_by="Post.id", back_populates="author"
        )
        favourite = relationship("Post", primaryjoin="foreign(Author.ref) == Post.id", post_update=True)
        posts_dynamic = relationship(
            "Post", primaryjoin="foreign(Post.ref) == Author.id", order_by="Post.id", lazy="dynamic", viewonly=True
        )
        posts_only = relationship(
            "Post", primaryjoin="foreign(Post.ref) == Author.id", order_by="Post.id", lazy="write_only", viewonly=True
        )

    class Post(kind.Scoped, Row, Base):  # type: ignore[name-defined, misc]
        __tablename__ = "oracle_posts"
        __table_args__ = (sa.UniqueConstraint(*kind.key("slug")), kind.reference("ref", "oracle_authors.id"))

        slug: Mapped[str]
        author = relationship("Author", primaryjoin="foreign(Post.ref) == Author.id", back_populates="posts")
        fans = relationship("Author", primaryjoin="foreign(Author.ref) == Post.id", viewonly=True)
        comments = relationship(
            "Comment",
            primaryjoin="foreign(Comment.ref) == Post.id",
            order_by="Comment.id",
            back_populates="post",
            cascade="all, delete-orphan",
            passive_deletes=True,
        )
        tags = relationship(
            "Tag",
            secondary=post_tags,
            primaryjoin="Post.id == oracle_post_tags.c.post_id",
            secondaryjoin="Tag.id == oracle_post_tags.c.tag_id",
            back_populates="posts",
        )
        tag_slugs = association_proxy("tags", "slug")

        @hybrid_property
        def weight(self) -> Any:
            return self.n * 2 + 1

    class Comment(kind.Scoped, Row, Base):  # type: ignore[name-defined, misc]
        __tablename__ = "oracle_comments"
        __table_args__ = (kind.reference("ref", "oracle_posts.id", ondelete="CASCADE"),)

        slug: Mapped[str]
        post = relationship("Post", primaryjoin="foreign(Comment.ref) == Post.id", back_populates="comments")

    class Tag(kind.Scoped, Row, Base):  # type: ignore[name-defined, misc]
        __tablename__ = "oracle_tags"
        __table_args__ = (sa.UniqueConstraint(*kind.key("slug")),)

        slug: Mapped[str]
        posts = relationship(
            "Post",
            secondary=post_tags,
            primaryjoin="Tag.id == oracle_post_tags.c.tag_id",
            secondaryjoin="Post.id == oracle_post_tags.c.post_id",
            back_populates="tags",
        )
        parent = relationship(
            "Tag", primaryjoin="foreign(Tag.ref) == remote(Tag.id)", back_populates="children", lazy="selectin"
        )
        children = relationship("Tag", primaryjoin="remote(foreign(Tag.ref)) == Tag.id", back_populates="parent")

    class Doc(kind.Scoped, Row, Base):  # type: ignore[name-defined, misc]
        __tablename__ = "oracle_docs"
        __mapper_args__ = {"polymorphic_on": "type", "polymorphic_identity": "doc"}

        slug: Mapped[str]
        type: Mapped[str]
        parent = relationship("Doc", primaryjoin="foreign(Doc.ref) == remote(Doc.id)", back_populates="children")
        children = relationship("Doc", primaryjoin="remote(foreign(Doc.ref)) == Doc.id", back_populates="parent")

    class Article(Doc):
        __tablename__ = "oracle_articles"
        __table_args__ = (kind.reference("id", "oracle_docs.id"),)
        __mapper_args__ = {"polymorphic_identity": "article"}

        id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
        body: Mapped[str]
        pages: Mapped[int]

    class Film(Doc):
        __tablename__ = "oracle_films"
        __table_args__ = (kind.reference("id", "oracle_docs.id"),)
        __mapper_args__ = {"polymorphic_identity": "film", "polymorphic_load": "selectin"}

        id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
        title: Mapped[str]

    class Memo(Doc):
        __mapper_args__ = {"polymorphic_identity": "memo"}

    class Country(Row, Base):
        """A table that is not scoped; programs only read it."""

        __tablename__ = "oracle_countries"

    Author.post_count = column_property(
        sa.select(sa.func.count(Post.id)).where(Post.ref == Author.id).correlate_except(Post).scalar_subquery()
    )
    sa.orm.configure_mappers()
    return SimpleNamespace(
        metadata=Base.metadata, post_tags=post_tags, Author=Author, Post=Post, Comment=Comment, Tag=Tag, Doc=Doc,
        Article=Article, Film=Film, Memo=Memo, Country=Country,
    )  # fmt: skip
