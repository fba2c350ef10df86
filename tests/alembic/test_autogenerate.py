"""`alembic revision --autogenerate` when models gain or lose SiteScoped, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.util import CommandError
from alembic_application import Application
from sqlalchemy.exc import DBAPIError

from multisite.alembic.migrate import upgrade_own
from multisite.alembic.site_scope import TODO
from multisite.errors import MultisiteError
from multisite.scoping import scoped_reference, site_id_column

CONVENTION = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
CONVENTIONS = {"named": CONVENTION, "unnamed": {}}


@pytest.fixture
def application(database_url: str) -> Iterator[Application]:
    engine = sa.create_engine(database_url)
    yield Application(engine)
    engine.dispose()


Tables = Callable[[sa.MetaData], None]


def metadata_of(tables: Tables, convention: dict[str, str]) -> sa.MetaData:
    metadata = sa.MetaData(naming_convention=convention) if convention else sa.MetaData()
    tables(metadata)
    return metadata


def plain_blog(metadata: sa.MetaData) -> None:
    sa.Table(
        "people",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("token", sa.String(40)),
        sa.UniqueConstraint("name"),
        sa.UniqueConstraint("token"),
    )
    sa.Table(
        "articles",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("slug", sa.String(40), nullable=False),
        sa.Column("year", sa.Integer),
        sa.Column("person_id", sa.Integer, nullable=False),
        sa.Column("editor_id", sa.Integer),
        sa.Column("series_id", sa.Integer),
        sa.Index("ix_articles_slug", "slug", unique=True),
        sa.Index("ix_articles_year", "year"),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["editor_id"], ["people.id"], ondelete="SET NULL", name="fk_articles_editor"),
        sa.ForeignKeyConstraint(["series_id"], ["articles.id"]),
    )
    sa.Table(
        "people_articles",
        metadata,
        sa.Column("person_id", sa.Integer, primary_key=True),
        sa.Column("article_id", sa.Integer, primary_key=True),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"]),
        sa.ForeignKeyConstraint(["article_id"], ["articles.id"], ondelete="CASCADE"),
    )
    sa.Table("countries", metadata, sa.Column("code", sa.String(2), primary_key=True))


def scoped_blog(metadata: sa.MetaData) -> None:
    sa.Table(
        "people",
        metadata,
        site_id_column(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("token", sa.String(40)),
        sa.UniqueConstraint("site_id", "name"),
        sa.UniqueConstraint("token"),
    )
    sa.Table(
        "articles",
        metadata,
        site_id_column(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("slug", sa.String(40), nullable=False),
        sa.Column("year", sa.Integer),
        sa.Column("person_id", sa.Integer, nullable=False),
        sa.Column("editor_id", sa.Integer),
        sa.Column("series_id", sa.Integer),
        sa.Index("ix_articles_site_slug", "site_id", "slug", unique=True),
        sa.Index("ix_articles_year", "site_id", "year"),
        scoped_reference("person_id", "people.id", ondelete="CASCADE"),
        scoped_reference("editor_id", "people.id", ondelete="RESTRICT", name="fk_articles_editor"),
        scoped_reference("series_id", "articles.id"),
    )
    sa.Table(
        "people_articles",
        metadata,
        site_id_column(),
        sa.Column("person_id", sa.Integer, primary_key=True),
        sa.Column("article_id", sa.Integer, primary_key=True),
        scoped_reference("person_id", "people.id"),
        scoped_reference("article_id", "articles.id", ondelete="CASCADE"),
    )
    sa.Table("countries", metadata, sa.Column("code", sa.String(2), primary_key=True))
    sa.Table(
        "remarks", metadata,
        site_id_column(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("article_id", sa.Integer, nullable=False),
        scoped_reference("article_id", "articles.id"),
    )  # fmt: skip


ROWS = (
    "INSERT INTO people (id, name, token) VALUES (1, 'Ann', 'x'), (2, 'Bob', NULL)",
    "INSERT INTO articles (id, slug, year, person_id) VALUES (1, 'one', 2026, 1), (2, 'two', 2026, 2)",
    "UPDATE articles SET editor_id = 2, series_id = 2 WHERE id = 1",
    "INSERT INTO people_articles VALUES (1, 1), (2, 2)",
)


@pytest.mark.parametrize("convention", sorted(CONVENTIONS))
def test_models_that_become_scoped(application: Application, convention: str) -> None:
    before, after = (metadata_of(tables, CONVENTIONS[convention]) for tables in (plain_blog, scoped_blog))
    application.revise(before)
    assert application.proposed(before) == ("", "")
    application.execute(*ROWS)

    up = application.revise(after)
    lines = [line.strip() for line in up.splitlines() if "_site_scope" in line]
    keep = (
        "uq_people_token"
        if convention == "named"
        else ("people_token_key" if application.engine.dialect.name == "postgresql" else "UNIQUE (token)")
    )
    on_delete = "ondelete={'editor_id': 'RESTRICT'}"
    names = "names={'ix_articles_slug': 'ix_articles_site_slug'}"
    assert lines == [
        f"op.add_site_scope('people', site='{TODO}', keep=['{keep}'])",
        f"op.add_site_scope('articles', parent='people', through='person_id', {on_delete}, {names})",
        "op.add_site_scope('people_articles', parent='people')",
    ]
    assert "site_id'], ['sites.id']" not in up.split("create_table")[0]
    assert application.proposed(after) == ("", "")

    application.undo(before)
    assert application.proposed(before) == ("", "")
    application.revise(after)
    assert application.proposed(after) == ("", "")


def test_models_that_are_no_longer_scoped(application: Application) -> None:
    before, after = (metadata_of(tables, CONVENTION) for tables in (scoped_blog, plain_blog))
    upgrade_own(application.engine)
    application.revise(before)
    up = application.revise(after)
    changes = "ondelete={'editor_id': 'SET NULL'}, names={'ix_articles_site_slug': 'ix_articles_slug'}"
    assert [line.strip() for line in up.splitlines() if "_site_scope" in line] == [
        "op.drop_site_scope('people_articles')",
        f"op.drop_site_scope('articles', {changes})",
        "op.drop_site_scope('people')",
    ]
    assert application.proposed(after) == ("", "")
    application.undo(before)
    assert application.proposed(before) == ("", "")


def test_a_host_that_is_not_filled_in_is_refused(application: Application) -> None:
    before, after = (metadata_of(tables, CONVENTION) for tables in (plain_blog, scoped_blog))
    application.revise(before)
    with pytest.raises(MultisiteError, match=r"still says op.add_site_scope\('people', site='TODO: .*write the host"):
        application.revise(after, host=TODO)


def test_without_the_plugin_the_revision_fails_on_rows(application: Application) -> None:
    """Negative control: what alembic proposes by itself."""
    before, after = (metadata_of(tables, CONVENTION) for tables in (plain_blog, scoped_blog))
    application.revise(before)
    application.execute(*ROWS)
    application.plugins = ["alembic.autogenerate.*", "~alembic.autogenerate.multisite"]
    up, _ = application.proposed(after)
    assert "op.add_column('people', sa.Column('site_id', sa.BigInteger(), nullable=False))" in up
    with pytest.raises((DBAPIError, NotImplementedError)):
        application.run(up, after)


def cycle(site: Callable[[], list[Any]], reference: Callable[..., Any]) -> Tables:
    def tables(metadata: sa.MetaData) -> None:
        for name, other in (("hens", "eggs"), ("eggs", "hens")):
            to_other = reference(f"{other}_id", f"{other}.id", name=f"fk_{name}_{other}", use_alter=True)
            columns = [sa.Column("id", sa.Integer, primary_key=True), sa.Column(f"{other}_id", sa.Integer)]
            sa.Table(name, metadata, *site(), *columns, to_other)

    return tables


def test_tables_that_refer_to_each_other(postgresql_database_url: str) -> None:
    """Only on PostgreSQL, since alembic cannot create such tables on SQLite."""
    engine = sa.create_engine(postgresql_database_url)
    application = Application(engine)

    def plain(column: str, target: str, **options: Any) -> sa.ForeignKeyConstraint:
        return sa.ForeignKeyConstraint([column], [target], **options)

    before = metadata_of(cycle(list, plain), {})
    after = metadata_of(cycle(lambda: [site_id_column()], scoped_reference), {})
    before.create_all(engine)
    up = application.revise(after)
    assert [line.strip() for line in up.splitlines() if "op." in line] == [
        f"op.add_site_scope('eggs', site='{TODO}')",
        f"op.add_site_scope('hens', site='{TODO}')",
    ]
    assert application.proposed(after) == ("", "")
    engine.dispose()


def test_a_referenced_key_changes_after_the_referring_tables(application: Application) -> None:
    def tables(*, books_scoped: bool = False, authors_scoped: bool = False) -> Tables:
        def tables(metadata: sa.MetaData) -> None:
            key, name = sa.Column("id", sa.Integer, primary_key=True), sa.Column("author", sa.String(9))
            if books_scoped:
                sa.Table("books", metadata, site_id_column(), key, name, scoped_reference("author", "authors.slug"))
            else:
                sa.Table("books", metadata, key, name, sa.ForeignKeyConstraint(["author"], ["authors.slug"]))
            key, name = sa.Column("id", sa.Integer, primary_key=True), sa.Column("slug", sa.String(9))
            if authors_scoped:
                sa.Table("authors", metadata, site_id_column(), key, name, sa.UniqueConstraint("site_id", "slug"))
            else:
                sa.Table("authors", metadata, key, name, sa.UniqueConstraint("slug"))

        return tables

    before = metadata_of(tables(), CONVENTION)
    application.revise(before)
    with pytest.raises(CommandError, match="which would only be unique within a site: make books scoped first"):
        application.proposed(metadata_of(tables(authors_scoped=True), CONVENTION))
    after = metadata_of(tables(authors_scoped=True, books_scoped=True), CONVENTION)
    up = application.revise(after)
    assert up.index("add_site_scope('books'") < up.index("add_site_scope('authors'")
    assert application.proposed(after) == ("", "")
    application.undo(after)
    assert application.proposed(before) == ("", "")


def test_a_site_id_that_is_not_multisites_is_left_to_alembic(application: Application) -> None:
    def tables(metadata: sa.MetaData) -> None:
        sa.Table("wells", metadata, sa.Column("id", sa.Integer, primary_key=True), *columns)

    columns: list[Any] = []
    before = metadata_of(tables, {})
    application.revise(before)
    columns = [sa.Column("site_id", sa.BigInteger)]
    assert "op.add_column('wells'" in application.revise(metadata_of(tables, {}))
    columns = []
    assert "op.drop_column('wells', 'site_id')" in application.proposed(before)[0]
