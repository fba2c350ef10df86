"""The databases of the tests on PostgreSQL: one that is used again has the tables and rows of a new one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from content_sites import make_sites
from databases import closing_engine, fill_database, fresh_postgresql, make_own_tables, sql_runner
from postgresql_databases import read_rows, sequences_of

psycopg = pytest.importorskip("psycopg")

SCHEMA = """
CREATE SCHEMA other;
CREATE TABLE shelves (id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY, label TEXT, size INTEGER
    GENERATED ALWAYS AS (length(label)) STORED);
CREATE TABLE "other"."Books" (id SERIAL PRIMARY KEY, shelf INTEGER NOT NULL REFERENCES shelves, at TIMESTAMP);
CREATE INDEX books_at ON "other"."Books" (at);
CREATE TABLE log (what TEXT);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (TG_OP); RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT OR DELETE ON shelves EXECUTE FUNCTION note();
INSERT INTO shelves (label) VALUES ('top'), (E'tab\\there'), (NULL);
INSERT INTO "other"."Books" (shelf, at) VALUES (1, '2024-05-05 12:00'), (2, NULL)
"""


def fill(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for statement in SCHEMA.split(";\n"):
            connection.exec_driver_sql(statement)


def fill_with_schema(engine: sa.Engine) -> None:
    fill_database(engine, fill)


def fill_with_sites(engine: sa.Engine) -> None:
    fill_database(engine, make_sites)


Content = tuple[int, dict[str, bytes], str]
"""Which database it is, its rows, and the state of its sequences."""


def content_after(server: str, prepare: Callable[[sa.Engine], object], *changes: str) -> Content:
    """Return the content of a database after `prepare`; then run `changes`, and return the database."""
    with fresh_postgresql(server) as url:
        with closing_engine(url) as engine:
            prepare(engine)
        with sql_runner(url) as run:
            (which,) = run("SELECT oid::int FROM pg_database WHERE datname = current_database()")
            found = which, read_rows(url), sequences_of(run)
            for change in changes:
                run(change)
        return found


CHANGES_OF_ROWS = (
    "INSERT INTO shelves (label) VALUES ('new')",
    'DELETE FROM "other"."Books"',
    "DELETE FROM shelves WHERE label = 'top'",
    "UPDATE shelves SET label = 'changed'",
    'SELECT setval(\'"other"."Books_id_seq"\', 500)',
    "CREATE TEMPORARY TABLE short (id INTEGER)",
)


def test_rows_and_sequences_are_as_at_first(postgresql_url: str) -> None:
    first = content_after(postgresql_url, fill_with_schema, *CHANGES_OF_ROWS)
    assert {name: content.count(b"\n") for name, content in first[1].items()} == {
        "shelves": 3, "other.\"Books\"": 2, "log": 1,
    }  # fmt: skip
    assert content_after(postgresql_url, fill_with_schema) == first
    assert content_after(postgresql_url, fill_with_schema) == first


CHANGES_OF_THE_SCHEMA = {
    "column": ("ALTER TABLE log ADD n INTEGER", "SELECT n FROM log"),
    "index": ('DROP INDEX "other".books_at', 'CREATE INDEX books_at ON "other"."Books" (at)'),
    "trigger": ("ALTER TABLE shelves DISABLE TRIGGER note", "SELECT 1 FROM pg_trigger WHERE tgenabled = 'D'"),
    "function": ("CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT one()"),
    "view": ("CREATE VIEW v AS SELECT 1", "SELECT 1 FROM v"),
    "type": ("CREATE TYPE mood AS ENUM ('sad')", "SELECT 'sad'::mood"),
    "schema": ("CREATE SCHEMA third", "CREATE TABLE third.t (id INTEGER)"),
    "row security": ("ALTER TABLE log ENABLE ROW LEVEL SECURITY", "SELECT 1 FROM pg_class WHERE relrowsecurity"),
    "right": ("GRANT SELECT ON log TO PUBLIC", "SELECT 1 FROM pg_class WHERE relname = 'log' AND relacl IS NOT NULL"),
    "comment": ("COMMENT ON TABLE log IS 'x'", "SELECT 1 FROM pg_description WHERE description = 'x'"),
    "sequence": ("ALTER SEQUENCE shelves_id_seq INCREMENT 5", "SELECT 1 FROM pg_sequences WHERE increment_by = 5"),
    "table for a table": (
        "DROP TABLE log; CREATE TABLE log (what TEXT, PRIMARY KEY (what))",
        "SELECT 1 FROM pg_constraint WHERE conname = 'log_pkey'",
    ),
    "large object": ("SELECT lo_create(77777)", "SELECT 1 FROM pg_largeobject_metadata"),
    "setting": (
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET statement_timeout = 9000'; END $$",
        "SELECT 1 FROM pg_settings WHERE name = 'statement_timeout' AND setting = '9000'",
    ),
}
"""Changes, each with a statement that afterwards returns a row, or does not fail."""


@pytest.mark.parametrize("name", CHANGES_OF_THE_SCHEMA)
def test_a_database_whose_schema_has_changed_is_not_used_again(postgresql_url: str, name: str) -> None:
    change, sees = CHANGES_OF_THE_SCHEMA[name]

    def is_changed(*changes: str) -> bool:
        with fresh_postgresql(postgresql_url) as url:
            with closing_engine(url) as engine:
                fill_with_schema(engine)
            with sql_runner(url) as run:
                for each in changes:
                    run(each)
            with sql_runner(url) as run:
                try:
                    return bool(run(sees)) if sees.startswith("SELECT") else run(sees) == []
                except psycopg.Error:
                    return False

    assert is_changed(change)
    assert not is_changed()
    assert not is_changed()


@pytest.mark.parametrize("prepare", [make_own_tables, fill_with_sites])
def test_the_databases_of_most_tests_are_used_again(
    postgresql_url: str, prepare: Callable[[sa.Engine], object]
) -> None:
    first = content_after(postgresql_url, prepare, "DELETE FROM multisite_version")
    assert b"1\t" in first[1]["multisite_version"]
    assert content_after(postgresql_url, prepare) == first
