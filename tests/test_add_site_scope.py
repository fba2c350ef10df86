"""Tables that exist already and have rows are given to sites, and taken back, on SQLite and PostgreSQL."""

from __future__ import annotations

import logging
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from conftest import fresh_database
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

import multisite.alembic
import multisite.alembic.site_scope
from multisite import migrate
from multisite.alembic.create_table import CreateTable
from multisite.errors import InvalidHost, MultisiteError
from multisite.whole_transaction import whole_transaction

# SQLAlchemy does not reflect indexes on expressions of SQLite: the tests compare the database's own words as well.
pytestmark = pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")

HOST, OTHER = "www.example.com", "second.example.com"
CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

Revision = Callable[[Any], None]


class Database:
    """A database that revisions are run on, as alembic itself runs them, in a connection of its own each."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.dialect = engine.dialect.name

    @contextmanager
    def operations(self, **opts: Any) -> Iterator[Operations]:
        with self.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts=opts)
            with Operations.context(context) as op:
                yield op

    def run(self, revision: Revision, **opts: Any) -> None:
        with self.operations(**opts) as op:
            context = op.get_context()
            with context.begin_transaction(), context.begin_transaction(_per_migration=True):
                revision(op)

    def execute(self, *statements: str) -> None:
        """Execute SQL, as the migrations of the application did once; other databases' statements are left out."""

        def revision(op: Any) -> None:
            for statement in statements:
                database, colon, rest = statement.partition(": ")
                if colon and database in ("sqlite", "postgresql"):
                    statement = rest if database == self.dialect else "SELECT 1"
                op.get_bind().exec_driver_sql(statement, execution_options={"no_parameters": True})

        self.run(revision)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self.operations() as op:
            rows = op.get_bind().exec_driver_sql(statement, execution_options={"no_parameters": True})
            return [tuple(row) for row in rows]

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return the rows of every table of the application, in the order of the whole row."""
        own = migrate.models.metadata.tables
        names = [
            name for name in sa.inspect(self.engine).get_table_names() if name not in own and "version" not in name
        ]
        return {name: sorted(self.query(f'SELECT * FROM "{name}"'), key=repr) for name in names}

    def schema(self) -> dict[str, Any]:
        """Return what reflection and the database itself say of each table of the application."""
        inspector = sa.inspect(self.engine)
        own = migrate.models.metadata.tables
        found: dict[str, Any] = {}
        for name in inspector.get_table_names():
            if name in own or "version" in name:
                continue
            found[name] = {
                "columns": [{**column, "type": repr(column["type"])} for column in inspector.get_columns(name)],
                "primary key": inspector.get_pk_constraint(name),
                "uniques": self.uniques(name),
                "indexes": sorted(repr(index) for index in inspector.get_indexes(name)),
                "references": self.references(name),
                "checks": sorted(map(repr, inspector.get_check_constraints(name))),
            }
        found["own words"] = self.own_words()
        return found

    def uniques(self, table: str) -> list[str]:
        if self.dialect == "sqlite":
            # SQLAlchemy does not reflect all that stand with their column.
            names = [row[1] for row in self.query(f"PRAGMA index_list({table})") if row[3] == "u"]
            return sorted(repr([row[2] for row in self.query(f"PRAGMA index_info({name})")]) for name in names)
        return sorted(map(repr, sa.inspect(self.engine).get_unique_constraints(table)))

    def references(self, table: str) -> list[str]:
        if self.dialect == "sqlite":
            # Nor the actions of references that do.
            return sorted(repr(row[2:]) for row in self.query(f"PRAGMA foreign_key_list({table})"))
        return sorted(map(repr, sa.inspect(self.engine).get_foreign_keys(table)))

    def own_words(self) -> list[tuple[Any, ...]]:
        if self.dialect == "sqlite":
            return sorted(
                self.query(
                    "SELECT type, name, sql FROM sqlite_master WHERE type <> 'table' AND sql IS NOT NULL "
                    "AND tbl_name NOT IN ('sites', 'domains')"
                )
            )
        tables = "NOT IN ('sites', 'domains', 'multisite_version', 'multisite_alembic_version', 'alembic_version')"
        return sorted(
            [
                *self.query(
                    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
                    f"WHERE contype <> 'n' AND conrelid::regclass::text {tables} AND connamespace = 'public'::regnamespace"
                ),
                *self.query(
                    f"SELECT tablename, indexname, indexdef FROM pg_indexes WHERE tablename {tables} "
                    "AND schemaname = 'public'"
                ),  # fmt: skip
                *self.query(
                    "SELECT tgrelid::regclass::text, tgenabled::text, pg_get_triggerdef(oid) FROM pg_trigger "
                    "WHERE NOT tgisinternal"
                ),  # fmt: skip
            ]
        )

    def site_id(self, host: str) -> int:
        with self.operations() as op:
            found = migrate.first_site(op.get_bind(), host)
            op.get_bind().commit()
            return found


def enforcing(engine: sa.Engine) -> sa.Engine:
    """Let SQLite enforce references on each connection of `engine`, as multisite's own engines do."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda dbapi, _record: dbapi.execute("PRAGMA foreign_keys = 1"))
    return engine


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    engine = enforcing(sa.create_engine(database_url))
    yield Database(engine)
    engine.dispose()


@pytest.fixture
def sqlite(sqlite_database_url: str) -> Iterator[Database]:
    engine = enforcing(sa.create_engine(sqlite_database_url))
    yield Database(engine)
    engine.dispose()


@pytest.fixture
def postgresql(postgresql_database_url: str) -> Iterator[Database]:
    engine = sa.create_engine(postgresql_database_url)
    yield Database(engine)
    engine.dispose()


LIBRARY = (
    """CREATE TABLE authors (
        id INTEGER NOT NULL PRIMARY KEY, -- the key, of course
        name VARCHAR(40) NOT NULL DEFAULT 'Anon', email VARCHAR(40),
        initial VARCHAR(1) GENERATED ALWAYS AS (substr(name, 1, 1)) STORED,
        CONSTRAINT uq_authors_name UNIQUE (name),
        CONSTRAINT ck_authors_email CHECK (email <> 'a:b (50%), UNIQUE')
    )""",
    "CREATE UNIQUE INDEX ix_authors_email ON authors (lower(email)) WHERE email IS NOT NULL",
    "CREATE INDEX ix_authors_initial ON authors (initial)",
    """CREATE TABLE posts (
        id INTEGER NOT NULL PRIMARY KEY, slug VARCHAR(40) NOT NULL UNIQUE, year INTEGER DEFAULT 2026,
        author_id INTEGER NOT NULL REFERENCES authors (id) ON DELETE CASCADE,
        before_id INTEGER CONSTRAINT fk_posts_before REFERENCES posts (id) DEFERRABLE INITIALLY DEFERRED,
        UNIQUE (year, slug)
    )""",
    """CREATE TABLE comments (
        id INTEGER NOT NULL PRIMARY KEY, post_id INTEGER NOT NULL, text VARCHAR,
        FOREIGN KEY (post_id) REFERENCES posts (id) ON DELETE CASCADE ON UPDATE CASCADE
    )""",
    """CREATE TABLE posts_authors (
        post_id INTEGER NOT NULL REFERENCES posts (id) ON DELETE CASCADE,
        author_id INTEGER NOT NULL REFERENCES authors (id), PRIMARY KEY (post_id, author_id)
    )""",
    "CREATE TABLE log (post_id INTEGER, at VARCHAR)",
    "CREATE TABLE likes (post_id INTEGER NOT NULL REFERENCES posts (id) ON DELETE CASCADE)",
    "CREATE VIEW titles AS SELECT p.slug, a.name FROM posts p JOIN authors a ON a.id = p.author_id",
    "sqlite: CREATE TRIGGER posts_log AFTER UPDATE ON posts BEGIN INSERT INTO log VALUES (new.id, 'now: 5%'); END",
    """postgresql: CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO log VALUES (new.id, ''now''); RETURN new; END'""",
    "postgresql: CREATE TRIGGER posts_log AFTER UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION note()",
    "INSERT INTO authors (id, name, email) VALUES (1, 'Ann', 'Ann@a'), (2, 'Bob', NULL)",
    "INSERT INTO posts (id, slug, author_id, before_id) VALUES (1, 'one', 1, NULL), (2, 'two', 2, 1), (3, 'three', 1, 3)",
    "INSERT INTO comments VALUES (1, 1, 'well'), (2, 3, NULL), (3, 3, 'yes')",
    "INSERT INTO posts_authors VALUES (1, 1), (1, 2), (3, 1)",
    "INSERT INTO likes VALUES (1), (1), (2)",
)  # fmt: skip


def scope_library(op: Any) -> None:
    op.add_site_scope("authors", site=HOST)
    op.add_site_scope("posts", parent="authors", batch_size=2)
    op.add_site_scope("comments", parent="posts", through="post_id", batch_size=1)
    op.add_site_scope("posts_authors", parent="posts", batch_size=2)


def drop_library(op: Any) -> None:
    for name in ("posts_authors", "comments", "posts", "authors"):
        op.drop_site_scope(name, batch_size=2)


@pytest.fixture
def library(database: Database) -> Database:
    database.execute(*LIBRARY)
    return database


def test_up_and_down_leave_rows_and_schema_as_they_were(library: Database) -> None:
    before = library.schema(), library.rows()
    library.run(scope_library)
    scoped = library.schema()
    assert all("site_id" in repr(scoped[name]["columns"]) for name in ("authors", "posts", "comments", "posts_authors"))
    library.run(drop_library)
    assert (library.schema(), library.rows()) == before
    # And once more: what came back can be scoped again, to the same.
    library.run(scope_library)
    assert library.schema() == scoped


def references(database: Database, table: str) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """Return target, its columns and the actions of each reference of `table`, by its columns."""
    return {
        tuple(each["constrained_columns"]): (
            each["referred_table"],
            tuple(each["referred_columns"]),
            {key: value for key, value in each["options"].items() if value},
        )
        for each in sa.inspect(database.engine).get_foreign_keys(table)
    }


def uniques(database: Database, table: str) -> set[tuple[str, ...]]:
    return {tuple(each["column_names"]) for each in sa.inspect(database.engine).get_unique_constraints(table)}


def test_keys_and_references_hold_the_site(library: Database) -> None:
    library.run(scope_library)
    to_sites = {("site_id",): ("sites", ("id",), {})}
    assert references(library, "posts") == {
        **to_sites,
        ("site_id", "author_id"): ("authors", ("site_id", "id"), {"ondelete": "CASCADE"}),
        ("site_id", "before_id"): ("posts", ("site_id", "id"), {"deferrable": True, "initially": "DEFERRED"}),
    }
    assert references(library, "comments")[("site_id", "post_id")] == (
        "posts", ("site_id", "id"), {"ondelete": "CASCADE", "onupdate": "CASCADE"},
    )  # fmt: skip
    # A table that stays outside refers to the primary key, which is still unique by itself.
    assert references(library, "likes")[("post_id",)][:2] == ("posts", ("id",))
    assert uniques(library, "authors") == {("site_id", "name"), ("site_id", "id")}
    assert uniques(library, "posts") == {("site_id", "slug"), ("site_id", "year", "slug"), ("site_id", "id")}
    assert uniques(library, "posts_authors") == {("site_id", "post_id", "author_id")}
    assert sa.inspect(library.engine).get_pk_constraint("posts_authors")["constrained_columns"] == [
        "post_id",
        "author_id",
    ]
    (email,) = (text for *_, name, text in library.own_words() if name == "ix_authors_email")
    assert "(site_id, lower(" in email
    assert "WHERE" in email


def test_rows_keep_what_they_had_and_get_their_site(library: Database) -> None:
    before = library.rows()
    library.run(scope_library)
    site_id = library.site_id(HOST)
    after = library.rows()
    for name in ("authors", "posts", "comments", "posts_authors"):
        assert after[name] == [(*row, site_id) for row in before[name]]
    # No trigger has taken the migration for a change, and no row that refers was lost on the way.
    assert after["log"] == []
    assert after["likes"] == before["likes"]


def test_the_database_keeps_sites_apart_afterwards(library: Database) -> None:
    library.run(scope_library)
    other = library.site_id(OTHER)
    library.execute(
        f"INSERT INTO authors (id, name, email, site_id) VALUES (9, 'Ann', 'ann@a', {other})",
        f"INSERT INTO posts (id, slug, author_id, site_id) VALUES (9, 'one', 9, {other})",
    )
    for wrong in (
        f"INSERT INTO comments (id, post_id, site_id) VALUES (9, 1, {other})",
        f"INSERT INTO posts_authors (post_id, author_id, site_id) VALUES (9, 1, {other})",
        f"INSERT INTO authors (id, name, site_id) VALUES (10, 'Ann', {other})",
        f"INSERT INTO authors (id, name, email, site_id) VALUES (10, 'Al', 'ANN@a', {other})",
        "INSERT INTO authors (id, name) VALUES (10, 'Al')",
        "INSERT INTO authors (id, name, site_id) VALUES (10, 'Al', 99)",
    ):
        with pytest.raises(IntegrityError):
            library.execute(wrong)
    library.execute("UPDATE posts SET year = 1 WHERE id = 1")
    assert len(library.rows()["log"]) == 1
    library.execute("DELETE FROM posts WHERE id = 3")
    assert [row[1] for row in library.rows()["comments"]] == [1]


def test_progress_is_logged(library: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "multisite.alembic")
    library.run(scope_library)
    lines = [record.getMessage() for record in caplog.records if record.name == multisite.alembic.site_scope.__name__]
    assert lines == [
        "authors: 2 of 2 rows have their site",
        "posts: 2 of 3 rows have their site",
        "posts: 3 of 3 rows have their site",
        "comments: 1 of 3 rows have their site",
        "comments: 2 of 3 rows have their site",
        "comments: 3 of 3 rows have their site",
        *(["comments: 3 of 3 rows have their site"] if library.dialect == "postgresql" else []),
        "posts_authors: 2 of 3 rows have their site",
        "posts_authors: 3 of 3 rows have their site",
    ]


def test_again_does_nothing(library: Database) -> None:
    library.run(scope_library)
    scoped = library.schema(), library.rows()
    library.run(scope_library)
    assert (library.schema(), library.rows()) == scoped
    library.run(drop_library)
    plain = library.schema()
    library.run(drop_library)
    assert library.schema() == plain


def test_no_site_is_added_where_there_are_no_rows(library: Database) -> None:
    library.execute(*(f"DELETE FROM {name}" for name in ("likes", "posts_authors", "comments", "posts", "authors")))
    library.run(scope_library)
    assert library.query("SELECT id FROM sites") == []
    assert references(library, "authors") == {("site_id",): ("sites", ("id",), {})}


def test_sqlite_keeps_the_children_of_a_table_that_is_rebuilt(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its negative control: the same rebuild while references are enforced deletes them."""
    sqlite.execute(*LIBRARY)
    sqlite.run(lambda op: op.add_site_scope("authors", site=HOST))
    assert [len(rows) for name, rows in sorted(sqlite.rows().items())] == [2, 3, 3, 0, 3, 3]
    monkeypatch.setattr(multisite.alembic.site_scope, "whole_operation", lambda *_: nullcontext())
    sqlite.run(lambda op: op.drop_site_scope("authors"))
    assert [len(rows) for name, rows in sorted(sqlite.rows().items())] == [2, 0, 0, 0, 0, 0]


def test_sqlite_refuses_where_references_cannot_be_switched_off_any_more(sqlite: Database) -> None:
    sqlite.execute(*LIBRARY)
    before = sqlite.schema(), sqlite.rows()

    def revision(op: Any) -> None:
        op.execute("UPDATE authors SET email = 'x@y' WHERE id = 2")
        op.add_site_scope("authors", site=HOST)

    with pytest.raises(MultisiteError, match=r"'authors' needs PRAGMA foreign_keys to be off.*run 'multisite migrate'"):
        sqlite.run(revision)
    assert (sqlite.schema(), sqlite.rows()) == before
    # What `multisite migrate` does: off, BEGIN, the revisions, check, COMMIT.
    with sqlite.engine.connect() as connection, whole_transaction(connection):
        with Operations.context(MigrationContext.configure(connection)) as op:
            revision(op)
    assert len(sqlite.rows()["posts"]) == 3
    with sqlite.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_sqlite_in_a_transaction_is_rolled_back_with_it(sqlite: Database) -> None:
    sqlite.execute(*LIBRARY)
    before = sqlite.schema(), sqlite.rows()
    with sqlite.engine.connect() as connection, pytest.raises(ZeroDivisionError), whole_transaction(connection):
        with Operations.context(MigrationContext.configure(connection)) as op:
            scope_library(op)
            raise ZeroDivisionError
    assert (sqlite.schema(), sqlite.rows()) == before


# What cannot be done is refused before anything is changed.

REFUSED: dict[str, tuple[Revision, str]] = {
    "a host that is not filled in": (
        lambda op: op.add_site_scope("authors", site=multisite.alembic.site_scope.TODO), r"still says .*site='TODO"
    ),
    "no site at all": (lambda op: op.add_site_scope("authors"), "whose are the rows of 'authors'"),
    "an id that no site has": (lambda op: op.add_site_scope("authors", site=77), "no site has the id 77"),
    "a table that is not there": (lambda op: op.add_site_scope("nowhere", site=HOST), "no table 'nowhere'"),
    "a view": (lambda op: op.add_site_scope("titles", site=HOST), "'titles' is (a view|not a table)"),
    "batches of nothing": (lambda op: op.add_site_scope("authors", site=HOST, batch_size=0), "batch_size=0: expected"),
    "a parent without a site": (
        lambda op: op.add_site_scope("posts", parent="authors"), "'authors' belongs to no sites yet"
    ),
    "a parent that is not referred to": (
        lambda op: op.add_site_scope("comments", parent="authors"), "'comments' has no reference to another table 'authors'"
    ),
    "a parent of itself": (
        lambda op: op.add_site_scope("posts", parent="posts"), "'posts' has no reference to another table 'posts'"
    ),
    "a column that does not refer": (
        lambda op: op.add_site_scope("comments", parent="posts", through="text"), "has no reference by text to another"
    ),
    "something to keep that is not there": (
        lambda op: op.add_site_scope("authors", site=HOST, keep=["uq_authors_nam"]),
        "has nothing called 'uq_authors_nam': it has .*uq_authors_name",
    ),
    "an action that there is not": (
        lambda op: op.add_site_scope("posts", site=HOST, ondelete={"before_id": "EXPLODE"}),
        "ON DELETE EXPLODE of posts.before_id: expected one of CASCADE",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_it_refuses(shared: Database, what: str) -> None:
    revision, message = REFUSED[what]
    before = shared.schema(), shared.rows()
    with shared.operations() as op, pytest.raises(MultisiteError, match=message):
        revision(op)
    assert (shared.schema(), shared.rows()) == before


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The library, for tests that leave it as it is."""
    with fresh_database(request, tmp_path_factory) as url:
        engine = enforcing(sa.create_engine(url))
        database = Database(engine)
        database.execute(*LIBRARY)
        yield database
        engine.dispose()
