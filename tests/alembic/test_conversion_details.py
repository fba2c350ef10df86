"""What `op.add_site_scope` keeps, or refuses before any change, besides plain keys; mostly on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from databases import migrate_own
from scope_database import HOST, Database, enforcing, quoted
from sqlalchemy.exc import IntegrityError

from multisite.errors import MultisiteError


@pytest.fixture
def database(postgresql_database_url: str) -> Iterator[Database]:
    engine = sa.create_engine(postgresql_database_url)
    migrate_own(engine)
    yield Database(engine)
    engine.dispose()


@pytest.fixture
def sqlite(sqlite_database_url: str) -> Iterator[Database]:
    engine = enforcing(sa.create_engine(sqlite_database_url))
    migrate_own(engine)
    yield Database(engine)
    engine.dispose()


def up(database: Database, table: str = "things", **arguments: object) -> None:
    database.run(lambda op: op.add_site_scope(table, **{"site": HOST, **arguments}))


def down(database: Database, table: str = "things", **arguments: object) -> None:
    database.run(lambda op: op.drop_site_scope(table, **arguments))


def refused(database: Database, match: str, table: str = "things", **arguments: object) -> None:
    """Assert that the operation is refused and changes nothing."""
    before = everything(database)
    with pytest.raises(MultisiteError, match=match):
        up(database, table, **arguments)
    assert everything(database) == before


def everything(database: Database) -> object:
    return database.schema(), database.rows()


THINGS = "CREATE TABLE things (id serial PRIMARY KEY, slug text NOT NULL, n int NOT NULL)"
ROWS = "INSERT INTO things (slug, n) VALUES ('a', 1), ('b', 2)"
PARENTS = ("CREATE TABLE parents (id serial PRIMARY KEY)", "INSERT INTO parents VALUES (1)")


# Details of recreated indexes


DETAILS = """
    SELECT i.relname::text, i.reloptions::text, x.indisreplident, x.indisclustered, x.indisvalid,
           obj_description(i.oid, 'pg_class'),
           (SELECT obj_description(c.oid, 'pg_constraint') FROM pg_constraint c WHERE c.conindid = i.oid
              AND c.contype <> 'f'),
           ARRAY(SELECT pg_get_indexdef(i.oid, a.attnum, true) || ' ' || coalesce(a.attstattarget, -1)::text
                 FROM pg_attribute a WHERE a.attrelid = i.oid AND pg_get_indexdef(i.oid, a.attnum, true) <> 'site_id'
                 ORDER BY a.attnum)
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
    WHERE t.relname = '{}' AND NOT x.indisprimary AND i.relname NOT LIKE 'uq_%_site_id_id' ORDER BY i.relname
"""
REFERENCES = """
    SELECT conname::text, convalidated, obj_description(oid, 'pg_constraint')
    FROM pg_constraint WHERE conrelid = '{}'::regclass AND contype = 'f' AND conname !~ '^[a-z]+_site_id_fkey$'
"""


def test_indexes_keep_comments_options_statistics_and_roles(database: Database) -> None:
    database.execute(
        THINGS,
        "ALTER TABLE things ADD CONSTRAINT unique_slug UNIQUE (slug) WITH (fillfactor = 60)",
        "CREATE UNIQUE INDEX unique_n ON things (n) WITH (fillfactor = 70)",
        "CREATE UNIQUE INDEX unique_lower ON things (lower(slug), (n + 1))",
        "ALTER INDEX unique_lower ALTER COLUMN 2 SET STATISTICS 500",
        "COMMENT ON CONSTRAINT unique_slug ON things IS 'why: 50%''s'",
        "COMMENT ON INDEX unique_n IS 'too'",
        "COMMENT ON INDEX unique_slug IS 'of the index'",
        "ALTER TABLE things REPLICA IDENTITY USING INDEX unique_n",
        "ALTER TABLE things CLUSTER ON unique_slug",
        ROWS,
    )
    before = database.query(DETAILS.format("things"))
    up(database)
    assert database.query(DETAILS.format("things")) == before
    assert database.query("SELECT relreplident FROM pg_class WHERE relname = 'things'") == [("i",)]
    down(database)
    assert database.query(DETAILS.format("things")) == before


def test_references_keep_comments_and_stay_unvalidated(database: Database) -> None:
    database.execute(
        *PARENTS,
        "CREATE TABLE things (id serial PRIMARY KEY, parent_id int)",
        "INSERT INTO things (parent_id) VALUES (1)",
        "ALTER TABLE things ADD CONSTRAINT of_parent FOREIGN KEY (parent_id) REFERENCES parents NOT VALID",
        "COMMENT ON CONSTRAINT of_parent ON things IS 'why'",
    )
    before = database.query(REFERENCES.format("things"))
    assert before == [("of_parent", False, "why")]
    up(database, "parents")
    up(database)
    assert database.query(REFERENCES.format("things")) == before


def test_a_tablespace_is_kept(database: Database, tmp_path: object) -> None:
    """With the default tablespace, since another one needs a folder on the server."""
    database.execute(THINGS, ROWS, "CREATE UNIQUE INDEX unique_n ON things (n) TABLESPACE pg_default")
    up(database)
    assert database.query("SELECT reltablespace FROM pg_class WHERE relname = 'unique_n'") == [(0,)]


# References


def family(database: Database, reference: str, rows: str = "(1)") -> None:
    database.execute(
        *PARENTS,
        f"CREATE TABLE things (id serial PRIMARY KEY, parent_id int {reference})",
        f"INSERT INTO things (parent_id) VALUES {rows}",
    )
    up(database, "parents")


def definition(database: Database) -> str:
    (found,) = database.query(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'things'::regclass AND contype = 'f' "
        "AND cardinality(conkey) > 1"
    )
    return str(found[0])


@pytest.mark.parametrize("rows", ["(1)", "(1), (NULL)"])
def test_match_full_on_one_column_still_accepts_nulls(database: Database, rows: str) -> None:
    family(database, "REFERENCES parents MATCH FULL", rows)
    up(database, parent="parents")
    database.execute("INSERT INTO things (parent_id, site_id) SELECT NULL, id FROM sites")
    assert "MATCH FULL" not in definition(database)
    with pytest.raises(IntegrityError):
        database.execute("INSERT INTO things (parent_id, site_id) SELECT 99, id FROM sites")


PAIRS = (
    "CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b))",
    "CREATE TABLE things (id serial PRIMARY KEY, a int {0}, b int {0}, FOREIGN KEY (a, b) REFERENCES pairs MATCH FULL)",
)


def test_match_full_on_several_columns_is_kept_or_refused(database: Database) -> None:
    database.execute(*(statement.format("NOT NULL") for statement in PAIRS))
    up(database, "pairs")
    up(database)
    assert "MATCH FULL" not in definition(database)
    down(database)
    down(database, "pairs")
    database.execute("ALTER TABLE things ALTER COLUMN b DROP NOT NULL")
    up(database, "pairs")
    database.execute("ALTER TABLE things DROP CONSTRAINT things_a_b_fkey")
    database.execute("ALTER TABLE things ADD FOREIGN KEY (a, b) REFERENCES pairs MATCH FULL")
    refused(database, "MATCH FULL.*one of a, b", keep=[])


def test_set_null_of_a_column_is_kept_or_replaced(database: Database) -> None:
    family(database, "REFERENCES parents ON DELETE SET NULL (parent_id)")
    up(database, parent="parents")
    assert definition(database).endswith("ON DELETE SET NULL (parent_id)")
    database.execute("DELETE FROM parents")
    assert database.query("SELECT parent_id, site_id IS NULL FROM things") == [(None, False)]
    down(database)
    database.execute("INSERT INTO parents (id, site_id) SELECT 1, id FROM sites", "UPDATE things SET parent_id = 1")
    up(database, parent="parents", ondelete={"parent_id": "RESTRICT"})
    assert definition(database).endswith("ON DELETE RESTRICT")


def test_set_default_of_a_column_is_kept(database: Database) -> None:
    family(database, "DEFAULT 1 REFERENCES parents ON DELETE SET DEFAULT (parent_id) ON UPDATE CASCADE")
    up(database, parent="parents")
    assert "SET DEFAULT (parent_id)" in definition(database)
    assert "ON UPDATE CASCADE" in definition(database)


def test_on_update_that_clears_site_id_is_refused_with_advice(database: Database) -> None:
    family(database, "REFERENCES parents ON UPDATE SET NULL")
    refused(database, "ON UPDATE SET NULL.*keep=", parent="parents")
    up(database, parent="parents", keep=["parent_id"])


def test_a_duplicate_reference_is_not_ambiguous(database: Database) -> None:
    family(database, "REFERENCES parents")
    database.execute("ALTER TABLE things ADD FOREIGN KEY (parent_id) REFERENCES parents")
    up(database, parent="parents")
    found = "SELECT count(*) FROM pg_constraint WHERE conrelid = 'things'::regclass AND contype = 'f' AND {} > 1"
    assert database.query(found.format("cardinality(conkey)")) == [(2,)]
    down(database)
    assert database.query(found.format("1 + cardinality(conkey)")) == [(2,)]


# Exclusion constraints, rules and policies


EXCLUDING = (
    "CREATE TABLE things (id serial PRIMARY KEY, during tsrange, CONSTRAINT apart EXCLUDE USING gist (during WITH &&))",
    "INSERT INTO things (during) VALUES ('[2020-01-01, 2020-01-02)')",
)


def test_an_exclusion_across_sites_is_refused_unless_kept(database: Database) -> None:
    database.execute(*EXCLUDING)
    refused(database, r"apart.*EXCLUDE.*across sites.*keep=\['apart'\]")
    up(database, keep=["apart"])
    down(database)
    database.execute("ALTER TABLE things DROP CONSTRAINT apart")
    up(database)
    database.execute("ALTER TABLE things ADD CONSTRAINT apart EXCLUDE (site_id WITH =, during WITH =)")
    up(database)


RULES = (
    THINGS,
    "CREATE TABLE log (slug text)",
    "CREATE RULE note AS ON UPDATE TO things DO ALSO INSERT INTO log VALUES (old.slug)",
    "CREATE RULE off AS ON UPDATE TO things DO ALSO INSERT INTO log VALUES ('never')",
    "ALTER TABLE things DISABLE RULE off",
    "CREATE RULE instead AS ON UPDATE TO things WHERE old.n = 2 DO INSTEAD NOTHING",
    "ALTER TABLE things ENABLE ALWAYS RULE instead",
    ROWS,
)


def test_rules_do_not_fire_for_the_backfill(database: Database) -> None:
    database.execute(
        *PARENTS, *RULES, "ALTER TABLE things ADD parent_id int DEFAULT 1 REFERENCES parents", "DELETE FROM log"
    )
    rules = "SELECT rulename::text, ev_enabled::text FROM pg_rewrite WHERE ev_class = 'things'::regclass ORDER BY 1"
    before = database.query(rules)
    up(database, "parents")
    up(database, parent="parents")
    assert database.query("SELECT * FROM log") == []
    assert database.query(rules) == before == [("instead", "A"), ("note", "O"), ("off", "D")]
    assert database.query("SELECT count(*) FROM things WHERE site_id IS NOT NULL") == [(2,)]
    database.execute("UPDATE things SET slug = 'c' WHERE n = 1")
    assert database.query("SELECT * FROM log") == [("a",)]


def test_policies_of_the_application_are_kept(database: Database) -> None:
    database.execute(
        THINGS, ROWS, "ALTER TABLE things ENABLE ROW LEVEL SECURITY", "CREATE POLICY mine ON things USING (n > 0)"
    )
    up(database)
    down(database)
    assert database.query("SELECT polname::text FROM pg_policy") == [("mine",)]


def test_policies_that_depend_on_site_id_prevent_a_downgrade(database: Database) -> None:
    database.execute(THINGS, ROWS)
    up(database)
    database.execute("CREATE POLICY mine ON things USING (site_id > 0)")
    with pytest.raises(MultisiteError, match=r"mine.*DROP POLICY mine ON things"):
        down(database)
    database.execute("DROP POLICY mine ON things")
    database.run(lambda op: op.enable_row_security("things"))
    with pytest.raises(MultisiteError, match=r"multisite_limit.*op.disable_row_security"):
        down(database)
    database.run(lambda op: op.disable_row_security("things"))
    down(database)
    # A policy of another table is refused beforehand too, and not by the database halfway.
    up(database)
    database.execute(
        "CREATE TABLE others (thing_id int)",
        "CREATE POLICY theirs ON others USING (EXISTS (SELECT FROM things t WHERE t.id = thing_id AND t.site_id > 0))",
    )
    with pytest.raises(MultisiteError, match="DROP POLICY theirs ON others"):
        down(database)


# Names, types and keys


NAMES = ["rate%", "a:b", "100% :sure", 'say "it"', "select", "%(x)s", "Größe"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["database", "sqlite"])
def test_names_may_contain_any_character(request: pytest.FixtureRequest, kind: str, name: str) -> None:
    database: Database = request.getfixturevalue(kind)
    column, table, keyed = quoted(name), quoted(f"t {name}"), quoted(f"k {name}")
    database.execute(
        f"CREATE TABLE {table} (id int PRIMARY KEY, {column} int UNIQUE)",
        f"INSERT INTO {table} VALUES (1, 2), (2, 3), (3, 4)",
        f"CREATE TABLE of_it (id int PRIMARY KEY, {column} int REFERENCES {table} ({column}))",
        "INSERT INTO of_it VALUES (1, 2), (2, 3), (3, 4)",
        f"CREATE TABLE {keyed} ({column} int PRIMARY KEY, site_id bigint)",
        f"INSERT INTO {keyed} ({column}) VALUES (1), (2), (3)",
    )
    before = database.rows()
    up(database, f"t {name}", keep=[f"UNIQUE ({name})" if kind == "sqlite" else f"t {name}_{name}_key"], batch_size=1)
    up(database, "of_it", parent=f"t {name}", through=name, batch_size=1)
    up(database, f"k {name}", batch_size=2)
    down(database, f"k {name}")
    down(database, "of_it")
    down(database, f"t {name}")
    before[f"k {name}"] = [(key,) for key, _ in before[f"k {name}"]]
    assert database.rows() == before


@pytest.mark.parametrize("name", NAMES)
def test_policies_for_names_with_any_character(database: Database, name: str) -> None:
    database.execute(f"CREATE TABLE {quoted(name)} (site_id bigint)")
    for _ in range(2):
        database.run(lambda op: op.enable_row_security(name))
    assert database.query("SELECT DISTINCT relname::text FROM pg_policy JOIN pg_class c ON c.oid = polrelid") == [
        (name,)
    ]
    database.run(lambda op: op.disable_row_security(name))
    assert database.query("SELECT polname FROM pg_policy") == []


@pytest.mark.parametrize("declared", ["text", "numeric", "uuid", "boolean", "bigint[]"])
def test_a_site_id_of_another_type_is_refused(database: Database, declared: str) -> None:
    database.execute(f"CREATE TABLE things (id serial PRIMARY KEY, site_id {declared})")
    refused(database, "site_id, of type .*expected bigint")


@pytest.mark.parametrize("declared", ["smallint", "integer", "bigint"])
def test_a_site_id_of_an_integer_type_is_used(database: Database, declared: str) -> None:
    database.execute(
        f"CREATE TABLE things (id serial PRIMARY KEY, site_id {declared})", "INSERT INTO things VALUES (1)"
    )
    up(database)
    assert database.query("SELECT count(*) FROM things WHERE site_id IS NULL") == [(0,)]


@pytest.mark.parametrize("declared", ["TEXT", "BLOB", "VARCHAR(9)"])
def test_site_id_of_a_numeric_type_on_sqlite(sqlite: Database, declared: str) -> None:
    sqlite.execute(f"CREATE TABLE things (id INTEGER PRIMARY KEY, site_id {declared})")
    refused(sqlite, "site_id, of type .*expected bigint")


KEY_TYPES = {
    "jsonb": ['{"a": 1}', '{"a": 2}', "[3]", '"x: 5%"'],
    "numeric": ["1.5", "2.25", "NaN", "3"],
    "double precision": ["0.1", "0.30000000000000004", "1e300", "-0.5"],
    "timestamptz": ["2020-01-01 00:00:00.000001+02", "2021-01-01", "2022-01-01", "2023-01-01"],
    "bytea": ["\\x00ff", "\\x01", "\\x02", "\\x03"],
    "uuid": [f"00000000-0000-0000-0000-00000000000{n}" for n in range(4)],
    "text": ["a:b", "50%", "'", "ü"],
    "character(5)": ["a", "b", "c", "d"],
    "int[]": ["{1,2}", "{2}", "{3,NULL}", "{}"],
    "interval": ["1 day", "2 days", "1 month", "1 year"],
    "int4range": ["[1,2)", "[2,3)", "[3,4)", "empty"],
    "bit varying": ["101", "11", "0", "1"],
    "inet": ["10.0.0.1", "10.0.0.0/8", "::1", "10.0.0.2"],
}


@pytest.mark.parametrize("declared", KEY_TYPES)
def test_keys_of_any_type_in_batches(database: Database, declared: str) -> None:
    rows = ", ".join(f"({number}, $q${value}$q$)" for number, value in enumerate(KEY_TYPES[declared]))
    database.execute(
        f"CREATE TABLE things (n int, k {declared}, site_id bigint, PRIMARY KEY (k, n))",
        f"INSERT INTO things (n, k) VALUES {rows}",
    )
    up(database, batch_size=1)
    assert database.query("SELECT count(*), count(site_id) FROM things") == [(4, 4)]
