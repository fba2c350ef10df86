"""`op.add_site_scope` and `op.drop_site_scope` on tables with rows, on SQLite and PostgreSQL."""

from __future__ import annotations

import logging
import os
import tracemalloc
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from databases import fresh_database, migrate_own
from scope_database import HOST, Database, Revision, enforcing
from sqlalchemy.exc import IntegrityError

import multisite.alembic.site_scope
from multisite.errors import MultisiteError

# SQLAlchemy does not reflect SQLite's indexes on expressions: the tests compare the database's own DDL too.
pytestmark = pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")

OTHER = "second.example.com"
CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    engine = enforcing(sa.create_engine(database_url))
    migrate_own(engine)
    yield Database(engine)
    engine.dispose()


@pytest.fixture
def sqlite(sqlite_database_url: str) -> Iterator[Database]:
    engine = enforcing(sa.create_engine(sqlite_database_url))
    migrate_own(engine)
    yield Database(engine)
    engine.dispose()


@pytest.fixture
def postgresql(postgresql_database_url: str) -> Iterator[Database]:
    engine = sa.create_engine(postgresql_database_url)
    migrate_own(engine)
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
    "INSERT INTO posts (id, slug, author_id) VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 1)",
    "UPDATE posts SET before_id = id / 2 * 2 - 1 WHERE id > 1",
    "DELETE FROM log",
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


def test_upgrade_and_downgrade_restore_rows_and_schema(database_url: str) -> None:
    """In a database without multisite's own tables, which the first revision creates; other tests begin with them."""
    library = Database(enforcing(sa.create_engine(database_url)))
    library.execute(*LIBRARY)
    before = library.schema(), library.rows()
    library.run(scope_library)
    scoped = library.schema()
    library.run(scope_library)
    assert library.schema() == scoped, "a second time does nothing"
    assert all("site_id" in repr(scoped[name]["columns"]) for name in ("authors", "posts", "comments", "posts_authors"))
    library.run(drop_library)
    assert (library.schema(), library.rows()) == before
    library.run(drop_library)
    assert (library.schema(), library.rows()) == before, "a second time does nothing"
    library.engine.dispose()


def references(database: Database, table: str) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """Return the target, its columns and the actions of each reference of `table`, by its columns."""
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


def test_keys_and_references_include_the_site(library: Database) -> None:
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
    # An unscoped table refers to the primary key, which is still unique by itself.
    assert references(library, "likes")[("post_id",)][:2] == ("posts", ("id",))
    assert uniques(library, "authors") == {("site_id", "name"), ("site_id", "id")}
    assert uniques(library, "posts") == {("site_id", "slug"), ("site_id", "year", "slug"), ("site_id", "id")}
    assert uniques(library, "posts_authors") == {("site_id", "post_id", "author_id")}
    assert sa.inspect(library.engine).get_pk_constraint("posts_authors")["constrained_columns"] == [
        "post_id",
        "author_id",
    ]
    (email,) = (text for *_, name, text in library.own_ddl() if name == "ix_authors_email")
    assert "(site_id, lower(" in email
    assert "WHERE" in email


def test_rows_keep_their_values_and_get_a_site(library: Database) -> None:
    before = library.rows()
    library.run(scope_library)
    site_id = library.site_id(HOST)
    after = library.rows()
    for name in ("authors", "posts", "comments", "posts_authors"):
        assert after[name] == [(*row, site_id) for row in before[name]]
    # No trigger has fired, and no referring row was lost.
    assert after["log"] == []
    assert after["likes"] == before["likes"]


def test_the_database_enforces_isolation_afterwards(library: Database) -> None:
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


def test_no_site_is_added_without_rows(library: Database) -> None:
    library.execute(*(f"DELETE FROM {name}" for name in ("likes", "posts_authors", "comments", "posts", "authors")))
    library.run(scope_library)
    assert library.query("SELECT id FROM sites") == []
    assert references(library, "authors") == {("site_id",): ("sites", ("id",), {})}


def test_sqlite_keeps_the_rows_that_refer_to_a_rebuilt_table(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the same rebuild with foreign keys enforced deletes them."""
    sqlite.execute(*LIBRARY)
    sqlite.run(lambda op: op.add_site_scope("authors", site=HOST))
    assert [len(rows) for name, rows in sorted(sqlite.rows().items())] == [2, 3, 3, 0, 3, 3]
    monkeypatch.setattr(multisite.alembic.site_scope, "ddl_operation", lambda *_: nullcontext())
    sqlite.run(lambda op: op.drop_site_scope("authors"))
    assert [len(rows) for name, rows in sorted(sqlite.rows().items())] == [2, 0, 0, 0, 0, 0]


def test_sqlite_refuses_if_foreign_keys_can_no_longer_be_switched_off(sqlite: Database) -> None:
    sqlite.execute(*LIBRARY)
    before = sqlite.schema(), sqlite.rows()

    def revision(op: Any) -> None:
        op.execute("UPDATE authors SET email = 'x@y' WHERE id = 2")
        op.add_site_scope("authors", site=HOST)

    with pytest.raises(MultisiteError, match=r"'authors' needs PRAGMA foreign_keys to be off.*run 'multisite migrate'"):
        sqlite.run(revision)
    assert (sqlite.schema(), sqlite.rows()) == before
    # As `multisite migrate` does: disable, BEGIN, the revisions, check, COMMIT.
    sqlite.run_whole(revision)
    assert len(sqlite.rows()["posts"]) == 3
    with sqlite.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_sqlite_in_a_transaction_is_rolled_back_with_it(sqlite: Database) -> None:
    sqlite.execute(*LIBRARY)
    before = sqlite.schema(), sqlite.rows()

    def revision(op: Any) -> None:
        scope_library(op)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sqlite.run_whole(revision)
    assert (sqlite.schema(), sqlite.rows()) == before


# Less simple tables


def refused(database: Database, revision: Revision, message: str) -> None:
    """Assert that `revision` is refused with `message` and changes nothing."""
    before = database.schema(), database.rows()
    with pytest.raises(MultisiteError, match=message):
        database.run(revision)
    assert (database.schema(), database.rows()) == before


def test_rows_without_a_parent(database: Database) -> None:
    database.execute(
        "CREATE TABLE authors (id INTEGER PRIMARY KEY)",
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, author_id INTEGER REFERENCES authors (id))",
        "INSERT INTO authors VALUES (1)",
        "INSERT INTO posts VALUES (1, 1), " + ", ".join(f"({number}, NULL)" for number in range(2, 9)),
    )
    database.run(lambda op: op.add_site_scope("authors", site=HOST))
    refused(
        database,
        lambda op: op.add_site_scope("posts", parent="authors"),
        r"7 rows of 'posts' \(id 2, 3, 4, 5, 6, \.\.\.\) have no row in 'authors' to take the site from",
    )
    database.run(lambda op: op.add_site_scope("posts", parent="authors", site=OTHER))
    found = database.query("SELECT posts.id, host FROM posts JOIN domains USING (site_id) ORDER BY posts.id")
    assert found == [(1, HOST), *((number, OTHER) for number in range(2, 9))]


def test_sqlite_may_have_rows_that_refer_to_missing_ones(sqlite: Database) -> None:
    sqlite.execute(
        "CREATE TABLE authors (id INTEGER PRIMARY KEY)",
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, author_id INTEGER REFERENCES authors (id))",
        "PRAGMA foreign_keys = 0",
        "INSERT INTO posts VALUES (5, 77)",
    )
    sqlite.run(lambda op: op.add_site_scope("authors", site=HOST))
    message = (
        r"1 rows of 'posts' \(id 5\) refer by author_id to a row of 'authors' that does not exist: delete them first"
    )
    refused(sqlite, lambda op: op.add_site_scope("posts", parent="authors", site=HOST), message)


def test_rows_of_two_sites_that_refer_to_each_other(database: Database) -> None:
    database.execute(
        "CREATE TABLE authors (id INTEGER PRIMARY KEY)",
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, author_id INTEGER REFERENCES authors (id))",
        "INSERT INTO authors VALUES (1)",
        "INSERT INTO posts VALUES (1, 1)",
    )
    database.run(lambda op: op.add_site_scope("authors", site=HOST))
    refused(
        database,
        lambda op: op.add_site_scope("posts", site=OTHER),
        r"1 rows of 'posts' \(id 1\) would belong to a different site than the row of 'authors' that they refer to",
    )
    database.run(lambda op: op.drop_site_scope("authors"))
    database.run(lambda op: op.add_site_scope("posts", site=OTHER))
    refused(
        database,
        lambda op: op.add_site_scope("authors", site=HOST),
        r"1 rows of 'posts' \(id 1\) belong to a different site than the row of 'authors'",
    )


def test_tables_that_refer_to_each_other_in_a_cycle(database: Database) -> None:
    database.execute(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, b_id INTEGER)",
        "CREATE TABLE b (id INTEGER PRIMARY KEY, a_id INTEGER REFERENCES a (id))",
        "INSERT INTO a VALUES (1, 2)",
        "INSERT INTO b VALUES (2, 1)",
        "postgresql: ALTER TABLE a ADD FOREIGN KEY (b_id) REFERENCES b (id)",
        "sqlite: DROP TABLE b",
        "sqlite: DROP TABLE a",
        "sqlite: CREATE TABLE a (id INTEGER PRIMARY KEY, b_id INTEGER REFERENCES b)",
        "sqlite: CREATE TABLE b (id INTEGER PRIMARY KEY, a_id INTEGER REFERENCES a DEFERRABLE INITIALLY DEFERRED)",
        "sqlite: INSERT INTO b VALUES (2, 1)",
        "sqlite: INSERT INTO a VALUES (1, 2)",
    )
    before = database.schema(), database.rows()

    def up(op: Any) -> None:
        op.add_site_scope("a", site=HOST)
        op.add_site_scope("b", site=HOST)

    database.run(up)
    for table, other in (("a", "b"), ("b", "a")):
        assert references(database, table)[("site_id", f"{other}_id")][:2] == (other, ("site_id", "id"))

    def down(op: Any) -> None:
        op.drop_site_scope("b")
        op.drop_site_scope("a")

    database.run(down)
    assert (database.schema(), database.rows()) == before


def test_on_delete_set_null_needs_a_decision(database: Database) -> None:
    database.execute(
        "CREATE TABLE authors (id INTEGER PRIMARY KEY)",
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, author_id INTEGER, "
        "CONSTRAINT fk_author FOREIGN KEY (author_id) REFERENCES authors (id) ON DELETE SET NULL)",
        "INSERT INTO authors VALUES (1)",
        "INSERT INTO posts VALUES (1, 1)",
    )
    before = database.schema(), database.rows()
    database.run(lambda op: op.add_site_scope("authors", site=HOST))
    refused(
        database,
        lambda op: op.add_site_scope("posts", site=HOST),
        r"posts.author_id has ON DELETE SET NULL, which would clear site_id too.*ondelete=\{'author_id': 'NO ACTION'\}",
    )
    database.run(lambda op: op.add_site_scope("posts", site=HOST, ondelete={"author_id": "restrict"}))
    assert references(database, "posts")["site_id", "author_id"][2] == {"ondelete": "RESTRICT"}
    database.run(lambda op: op.drop_site_scope("posts", ondelete={"author_id": "SET NULL"}))
    database.run(lambda op: op.drop_site_scope("authors"))
    assert (database.schema(), database.rows()) == before
    # The same with the referring table scoped first.
    database.run(lambda op: op.add_site_scope("posts", site=HOST))
    refused(database, lambda op: op.add_site_scope("authors", site=HOST), "ondelete={'posts.author_id': 'NO ACTION'}")
    database.run(lambda op: op.add_site_scope("authors", site=HOST, ondelete={"posts.author_id": "NO ACTION"}))
    assert references(database, "posts")["site_id", "author_id"][2] == {}


def test_a_reference_to_a_key_other_than_the_primary_key(database: Database) -> None:
    database.execute(
        "CREATE TABLE authors (id INTEGER PRIMARY KEY, name VARCHAR(9), CONSTRAINT uq_name UNIQUE (name))",
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, author VARCHAR(9) REFERENCES authors (name))",
        "INSERT INTO authors VALUES (1, 'Ann')",
        "INSERT INTO posts VALUES (1, 'Ann')",
    )
    before = database.schema(), database.rows()
    refused(
        database,
        lambda op: op.add_site_scope("authors", site=HOST),
        r"posts.author refers to authors \(name\), which would only be unique within a site: make posts scoped first",
    )

    def up(op: Any) -> None:
        op.add_site_scope("posts", site=HOST)
        op.add_site_scope("authors", site=HOST)

    database.run(up)
    assert references(database, "posts")["site_id", "author"][:2] == ("authors", ("site_id", "name"))
    database.run(lambda op: (op.drop_site_scope("authors"), op.drop_site_scope("posts")))
    assert (database.schema(), database.rows()) == before
    database.run(lambda op: op.add_site_scope("authors", site=HOST, keep="uq_name"))
    assert ("name",) in uniques(database, "authors")


def test_names_follow_the_convention_or_are_given(database: Database) -> None:
    metadata = sa.MetaData(naming_convention=CONVENTION)
    database.execute(
        "CREATE TABLE authors (id INTEGER PRIMARY KEY, name VARCHAR(9), email VARCHAR(9), "
        "CONSTRAINT uq_authors_name UNIQUE (name), CONSTRAINT my_email UNIQUE (email))",
        "CREATE UNIQUE INDEX ix_both ON authors (name, email)",
    )
    before = database.schema()
    names = {"ix_both": "ix_site_both"}
    database.run(lambda op: op.add_site_scope("authors", site=HOST, names=names), target_metadata=metadata)
    inspector = sa.inspect(database.engine)
    constraints = {each["name"] for each in inspector.get_unique_constraints("authors")}
    assert constraints == {"uq_authors_site_id_name", "my_email", "uq_authors_site_id_id"}
    assert "ix_site_both" in {each["name"] for each in inspector.get_indexes("authors")}
    assert [each["name"] for each in inspector.get_foreign_keys("authors")] == ["fk_authors_site_id"]
    database.run(lambda op: op.drop_site_scope("authors", names={"ix_site_both": "ix_both"}), target_metadata=metadata)
    assert database.schema() == before


def test_a_short_convention_does_not_give_two_keys_one_name(database: Database) -> None:
    metadata = sa.MetaData(naming_convention={"uq": "uq_%(table_name)s_%(column_0_name)s"})
    database.execute(
        "CREATE TABLE authors (id INTEGER PRIMARY KEY, name VARCHAR(9), email VARCHAR(9), "
        "CONSTRAINT uq_authors_name UNIQUE (name), CONSTRAINT uq_authors_email UNIQUE (email))"
    )
    database.run(lambda op: op.add_site_scope("authors", site=HOST), target_metadata=metadata)
    found = {each["name"] for each in sa.inspect(database.engine).get_unique_constraints("authors")}
    assert found == {"uq_authors_name", "uq_authors_email", "uq_authors_site_id_id"}


@pytest.mark.parametrize("nullable", ["", "NOT NULL"])
def test_an_existing_column_is_used(database: Database, nullable: str) -> None:
    first, other = database.site_id(HOST), database.site_id(OTHER)
    database.execute(f"CREATE TABLE posts (id INTEGER PRIMARY KEY, site_id BIGINT {nullable}, slug VARCHAR(9) UNIQUE)")
    database.execute(f"INSERT INTO posts VALUES (1, {other}, 'one'), (2, {other}, 'two'), (3, 99, 'three')")
    if not nullable:
        database.execute("UPDATE posts SET site_id = NULL WHERE id = 1")
    message = r"1 rows of 'posts' \(id 3\) have a site_id that is not the id of any site"
    refused(database, lambda op: op.add_site_scope("posts", site=HOST, batch_size=1), message)
    database.execute("DELETE FROM posts WHERE id = 3")
    database.run(lambda op: op.add_site_scope("posts", site=first, batch_size=1))
    assert [row[:2] for row in database.rows()["posts"]] == [(1, other if nullable else first), (2, other)]
    assert uniques(database, "posts") == {("site_id", "id"), ("site_id", "slug")}
    (column,) = (each for each in sa.inspect(database.engine).get_columns("posts") if each["name"] == "site_id")
    assert column["nullable"] is False


def test_a_column_that_refers_to_another_table_is_not_used(database: Database) -> None:
    database.execute(
        "CREATE TABLE building_sites (id INTEGER PRIMARY KEY)",
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, site_id INTEGER REFERENCES building_sites (id))",
    )
    message = "'posts' already has a column site_id, which refers to building_sites: rename it first"
    refused(database, lambda op: op.add_site_scope("posts", site=HOST), message)


def test_rows_of_several_sites_are_not_mixed_by_accident(database: Database) -> None:
    database.execute("CREATE TABLE posts (id INTEGER PRIMARY KEY)", "INSERT INTO posts VALUES (1)")
    database.run(lambda op: op.add_site_scope("posts", site=HOST))
    database.execute(f"INSERT INTO posts VALUES (2, {database.site_id(OTHER)})")
    refused(database, lambda op: op.drop_site_scope("posts"), "'posts' has rows of several sites, which could not")
    database.run(lambda op: op.drop_site_scope("posts", mix_sites=True))
    assert database.rows()["posts"] == [(1,), (2,)]


def test_other_dependencies_on_site_id_are_refused(database: Database) -> None:
    database.execute("CREATE TABLE posts (id INTEGER PRIMARY KEY, a INTEGER)")
    database.run(lambda op: op.add_site_scope("posts", site=HOST))
    database.execute("CREATE UNIQUE INDEX ix_one ON posts (a) WHERE site_id = 1")
    refused(database, lambda op: op.drop_site_scope("posts"), "ix_one of 'posts' is about site_id")
    database.execute("DROP INDEX ix_one", "CREATE INDEX ix_site_a ON posts (site_id, a)")
    database.execute(
        "postgresql: ALTER TABLE posts ADD CONSTRAINT ck_site CHECK (site_id > 0)",
        "sqlite: CREATE TRIGGER ck_site AFTER UPDATE OF site_id ON posts BEGIN SELECT 1; END",
    )
    refused(
        database, lambda op: op.drop_site_scope("posts"), r"more than its keys and references depends on it.*ck_site"
    )
    database.execute("postgresql: ALTER TABLE posts DROP CONSTRAINT ck_site", "sqlite: DROP TRIGGER ck_site")
    database.run(lambda op: op.drop_site_scope("posts"))
    (index,) = sa.inspect(database.engine).get_indexes("posts")
    assert (index["name"], index["column_names"]) == ("ix_site_a", ["a"])


def test_many_rows_in_bounded_memory(database: Database) -> None:
    """100,000 rows with MULTISITE_SOAK=1, else a fiftieth of that."""
    rows = 100_000 if os.environ.get("MULTISITE_SOAK") else 2_000
    numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT"
    database.execute(
        "CREATE TABLE authors (id INTEGER PRIMARY KEY)",
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, author_id INTEGER NOT NULL REFERENCES authors (id), t VARCHAR)",
        f"INSERT INTO authors {numbers} i FROM n",
        f"INSERT INTO posts {numbers} i, i, '{'x' * 200}' FROM n",
    )
    before = database.query("SELECT count(*), sum(id), sum(author_id), min(t) FROM posts")
    database.run(lambda op: op.add_site_scope("authors", site=HOST))
    tracemalloc.start()
    try:
        database.run(lambda op: op.add_site_scope("posts", parent="authors", batch_size=rows // 20))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10_000_000, "a batch of rows is never in our memory"
    assert database.query("SELECT count(*), sum(id), sum(author_id), min(t) FROM posts") == before
    assert database.query("SELECT count(*) FROM posts WHERE site_id IS NULL") == [(0,)]
    database.run(lambda op: (op.drop_site_scope("posts"), op.drop_site_scope("authors")))
    assert database.query("SELECT count(*), sum(id), sum(author_id), min(t) FROM posts") == before


# SQLite


def test_sqlite_keeps_everything_else_of_a_table(sqlite: Database) -> None:
    sqlite.execute(
        """CREATE TABLE IF NOT EXISTS "odd ""one" (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            [the name] TEXT NOT NULL COLLATE NOCASE CONSTRAINT "the key" UNIQUE ON CONFLICT REPLACE DEFAULT 'x',
            `a` ANY CHECK (a IS NULL OR a <> 'UNIQUE (a)') REFERENCES "odd ""one" ON DELETE CASCADE, /* an end */
            v INT AS (length("the name")) VIRTUAL, s INT AS (length("the name") + 1) STORED UNIQUE,
            CHECK (v < 100) UNIQUE (a, [the name]), -- no comma is needed above
            CONSTRAINT "to itself" FOREIGN KEY (v) REFERENCES `odd "one` (s) MATCH SIMPLE NOT DEFERRABLE -- yes
        ) STRICT""",
        """CREATE UNIQUE INDEX "ix 1" ON "odd ""one" (a DESC, [the name] COLLATE RTRIM) WHERE a IS NOT NULL""",
        "CREATE TABLE flat (k TEXT, n INTEGER, v TEXT, PRIMARY KEY (k, n), UNIQUE (v)) WITHOUT ROWID",
        "CREATE TABLE plain (word TEXT)",
        "PRAGMA foreign_keys = 0",
        """INSERT INTO "odd ""one" (id, [the name], a) VALUES (1, 'x', NULL), (2, 'yy', 1), (90, 'zzz', NULL)""",
        """DELETE FROM "odd ""one" WHERE id = 90""",
        "INSERT INTO flat VALUES ('a', 1, 'x'), ('a', 2, 'y'), ('b', 1, NULL)",
        "INSERT INTO plain (rowid, word) VALUES (3, 'three'), (7, 'seven')",
    )
    before = sqlite.rows()
    names = ('odd "one', "flat", "plain")
    words = 'SELECT "the name", a, v, s FROM "odd ""one" ORDER BY id', "SELECT rowid, word FROM plain"
    shown = [sqlite.query(statement) for statement in words]

    def up(op: Any) -> None:
        for name in names:
            op.add_site_scope(name, site=HOST, batch_size=1)

    def down(op: Any) -> None:
        for name in reversed(names):
            op.drop_site_scope(name, batch_size=1)

    sqlite.run(up)
    assert [sqlite.query(statement) for statement in words] == shown
    scoped = dict(sqlite.query("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    for kept in ("AUTOINCREMENT", "COLLATE NOCASE", "CHECK (v < 100)", "STORED", "/* an end */", "STRICT"):
        assert kept in scoped['odd "one']
    assert scoped["flat"].endswith("WITHOUT ROWID")
    assert 'CONSTRAINT "the key" UNIQUE (site_id, "the name") ON CONFLICT REPLACE' in scoped['odd "one']
    ((index,),) = sqlite.query("SELECT sql FROM sqlite_master WHERE name = 'ix 1'")
    assert index.endswith("(site_id, a DESC, [the name] COLLATE RTRIM) WHERE a IS NOT NULL")
    sqlite.run(down)
    assert (sqlite.rows(), [sqlite.query(statement) for statement in words]) == (before, shown)
    sqlite.execute("""INSERT INTO "odd ""one" ([the name]) VALUES ('new')""")
    assert sqlite.query('SELECT max(id) FROM "odd ""one"') == [(91,)]


def test_sqlite_refuses_if_a_view_or_a_trigger_would_break(sqlite: Database) -> None:
    sqlite.site_id(HOST)
    sqlite.execute(
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, a INTEGER)",
        "CREATE TABLE old_posts (id INTEGER PRIMARY KEY, a INTEGER)",
        "CREATE VIEW broken_before AS SELECT * FROM nowhere",
        "CREATE VIEW every_post AS SELECT * FROM posts UNION SELECT * FROM old_posts",
    )
    refused(sqlite, lambda op: op.add_site_scope("posts", site=HOST), "the view every_post would no longer work")
    sqlite.execute(
        "DROP VIEW every_post",
        "CREATE TRIGGER copies AFTER INSERT ON old_posts BEGIN INSERT INTO posts VALUES (new.id, new.a); END",
    )
    refused(sqlite, lambda op: op.add_site_scope("posts", site=HOST), "the trigger copies would no longer work")
    sqlite.execute("DROP TRIGGER copies")
    sqlite.run(lambda op: op.add_site_scope("posts", site=HOST))


def test_sqlite_refuses_tables_without_a_column_list(sqlite: Database) -> None:
    sqlite.execute("CREATE VIRTUAL TABLE search USING fts5 (text)")
    with pytest.raises(MultisiteError, match="'search' cannot be scoped: not a table with columns of its own"):
        sqlite.run(lambda op: op.add_site_scope("search", site=HOST))


# PostgreSQL


def test_postgresql_changes_a_table_with_a_pending_check(postgresql: Database) -> None:
    """All revisions run in one transaction, and the checks of an earlier one may be deferred to its end."""

    def revision(op: Any) -> None:
        op.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
        op.execute("CREATE TABLE b (id INTEGER PRIMARY KEY, a_id INTEGER REFERENCES a DEFERRABLE INITIALLY DEFERRED)")
        op.execute("INSERT INTO a VALUES (1)")
        op.execute("INSERT INTO b VALUES (1, 1)")
        op.add_site_scope("a", site=HOST)
        op.add_site_scope("b", parent="a")
        # The check is deferred again.
        op.execute("INSERT INTO b (id, a_id, site_id) SELECT 2, 2, site_id FROM a")
        op.execute("INSERT INTO a (id, site_id) SELECT 2, site_id FROM a")

    postgresql.run(revision)
    assert len(postgresql.rows()["b"]) == 2


def test_postgresql_sees_all_rows_despite_forced_row_security(postgresql: Database) -> None:
    postgresql.execute(
        "CREATE TABLE authors (id INTEGER PRIMARY KEY)",
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, author_id INTEGER NOT NULL REFERENCES authors (id))",
        "INSERT INTO authors VALUES (1)",
        "INSERT INTO posts VALUES (1, 1)",
    )
    postgresql.run(lambda op: (op.add_site_scope("authors", site=HOST), op.enable_row_security("authors")))
    role = f"owner_{postgresql.engine.url.database}"
    postgresql.execute(f"CREATE ROLE {role}", f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
                       f"GRANT ALL ON SCHEMA public TO {role}", f"ALTER TABLE authors OWNER TO {role}",
                       f"ALTER TABLE posts OWNER TO {role}")  # fmt: skip

    def revision(op: Any) -> None:
        op.execute(f"SET LOCAL ROLE {role}")
        op.add_site_scope("posts", parent="authors")

    try:
        postgresql.run(revision)
        assert postgresql.rows()["posts"] == [(1, 1, 1)]
        forced = postgresql.query("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'authors'")
        assert forced == [(True,)]
        refused(
            postgresql,
            lambda op: op.drop_site_scope("authors"),
            r"more than its keys and references depends on it.*multisite_\w+ \(op.disable_row_security",
        )
    finally:
        postgresql.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER", f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_postgresql_tables_in_other_schemas(postgresql: Database) -> None:
    postgresql.execute(
        'CREATE SCHEMA "the shop"',
        'CREATE TABLE "the shop".items (id INTEGER PRIMARY KEY, sku VARCHAR UNIQUE)',
        'CREATE UNIQUE INDEX "ix lower" ON "the shop".items (lower(sku)) INCLUDE (id)',
        'CREATE TABLE "the shop".stock (item_id INTEGER PRIMARY KEY REFERENCES "the shop".items (id))',
        "CREATE TABLE items (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), at TIMESTAMPTZ)",
        'CREATE UNIQUE INDEX "ix lower" ON items (at)',
        """INSERT INTO "the shop".items VALUES (1, 'A'), (2, 'B')""",
        """INSERT INTO "the shop".stock VALUES (2), (1)""",
        "INSERT INTO items SELECT FROM generate_series(1, 5)",
    )
    shown = (
        """SELECT schemaname, tablename, indexdef FROM pg_indexes WHERE tablename IN ('items', 'stock') ORDER BY 3"""
    )
    before = postgresql.query(shown)

    def up(op: Any) -> None:
        op.add_site_scope("items", schema="the shop", site=HOST)
        op.add_site_scope("stock", schema="the shop", parent="items", batch_size=1)
        op.execute("ALTER TABLE items ADD COLUMN site_id bigint")
        op.add_site_scope("items", site=HOST, batch_size=2)

    postgresql.run(up)
    assert postgresql.query('SELECT count(*) FROM "the shop".stock WHERE site_id = 1') == [(2,)]
    assert postgresql.query("SELECT count(*) FROM items WHERE site_id = 1") == [(5,)]

    def down(op: Any) -> None:
        op.drop_site_scope("items")
        op.drop_site_scope("stock", schema="the shop")
        op.drop_site_scope("items", schema="the shop")

    postgresql.run(down)
    assert postgresql.query(shown) == before


def test_offline_mode_is_refused(database: Database) -> None:
    context = MigrationContext.configure(dialect_name=database.dialect, opts={"as_sql": True})
    with pytest.raises(MultisiteError, match="changing 'posts' needs a connection to the database"):
        Operations(context).add_site_scope("posts", site=HOST)  # type: ignore[attr-defined]


# Refused before anything is changed

REFUSED: dict[str, tuple[Revision, str]] = {
    "a host that is not filled in": (
        lambda op: op.add_site_scope("authors", site=multisite.alembic.site_scope.TODO), r"still says .*site='TODO"
    ),
    "no site at all": (lambda op: op.add_site_scope("authors"), "which site do the rows of 'authors' belong to"),
    "an id that no site has": (lambda op: op.add_site_scope("authors", site=77), "no site has the id 77"),
    "a table that is not there": (lambda op: op.add_site_scope("nowhere", site=HOST), "no table 'nowhere'"),
    "a view": (lambda op: op.add_site_scope("titles", site=HOST), "'titles' is (a view|not a table)"),
    "batches of nothing": (lambda op: op.add_site_scope("authors", site=HOST, batch_size=0), "batch_size=0: expected"),
    "a parent without a site": (
        lambda op: op.add_site_scope("posts", parent="authors"), "'authors' is not scoped yet"
    ),
    "a parent that is not referred to": (
        lambda op: op.add_site_scope("comments", parent="authors"), "'comments' has no reference to another"
    ),
    "a parent of itself": (
        lambda op: op.add_site_scope("posts", parent="posts"), "'posts' has no reference to another table 'posts'"
    ),
    "a column that does not refer": (
        lambda op: op.add_site_scope("comments", parent="posts", through="text"), "has no reference by text to another"
    ),
    "something to keep that is not there": (
        lambda op: op.add_site_scope("authors", site=HOST, keep=["uq_authors_nam"]),
        "has no key or reference named 'uq_authors_nam': it has .*uq_authors_name",
    ),
    "an action that there is not": (
        lambda op: op.add_site_scope("posts", site=HOST, ondelete={"before_id": "EXPLODE"}),
        "ON DELETE EXPLODE of posts.before_id: expected one of CASCADE",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_refusal(shared: Database, what: str) -> None:
    revision, message = REFUSED[what]
    before = shared.schema(), shared.rows()
    with shared.operations() as op, pytest.raises(MultisiteError, match=message):
        revision(op)
    assert (shared.schema(), shared.rows()) == before


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The library, for tests that do not change it."""
    with fresh_database(request, tmp_path_factory) as url:
        engine = enforcing(sa.create_engine(url))
        database = Database(engine)
        database.execute(*LIBRARY)
        yield database
        engine.dispose()
