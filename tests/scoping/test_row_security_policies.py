"""What could bypass the policies, or leave a table without them: prevented, and reported by `multisite check`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from databases import closing_engine
from row_security import (
    SCOPED,
    Secured,
    faults,
    faults_of,
    invoke,
    raw,
    raw_after,
    raw_command,
    secured,
    setting,
    write_ini,
)
from scoped_models import ONE, TWO, Book, build_library
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from multisite import all_sites, using_site
from multisite.scoping.policies import SETTING
from multisite.scoping.row_security import ROW_SECURITY


@pytest.fixture(params=["role", "setting"])
def library(request: pytest.FixtureRequest, postgresql_database_url: str) -> Iterator[Secured]:
    """A library in its own database, with policies of either form."""
    with closing_engine(postgresql_database_url) as admin:
        build_library(admin)
        with secured(admin, SCOPED, form=request.param) as made:
            yield made


BOTH = {"secret-1", "secret-2"}


# Policies of the application


OWN_POLICY = "CREATE POLICY in_stock ON books USING (stock > 0)"


def test_a_policy_of_the_application_does_not_widen_ours(library: Secured) -> None:
    with library.admin.begin() as connection:
        raw_command(connection, OWN_POLICY)
    assert faults(library.engine) == {}
    with Session(library.engine, info={"site": ONE}) as session:
        assert raw_after(session) == {"secret-1"}
        raw_command(session.connection(), "UPDATE books SET secret = 'changed' WHERE id = 21")
        session.commit()
    with all_sites("a test"), Session(library.engine) as session:
        assert raw_after(session) == BOTH
    with library.operations() as op:
        op.execute("UPDATE books SET stock = 3")
    with library.admin.connect() as connection:
        assert raw(connection, "SELECT (secret, stock) FROM books") == {("secret-1", "3"), ("secret-2", "3")}


def test_negative_control_without_the_restrictive_policy_it_widens_ours_and_is_reported(library: Secured) -> None:
    with library.admin.begin() as connection:
        raw_command(connection, f"DROP POLICY multisite_limit ON books; {OWN_POLICY}")
    with Session(library.engine, info={"site": ONE}) as session:
        assert raw_after(session) == BOTH
    found = faults(library.engine)
    assert list(found) == ["row-security-bypassed books"]
    assert "in_stock" in found["row-security-bypassed books"].message


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER POLICY multisite_limit ON books USING (true) WITH CHECK (true)",
        "ALTER POLICY multisite_limit ON books TO {owner}",
        "ALTER POLICY multisite_limit ON books USING (stock > 0)",
        """DROP POLICY multisite_limit ON books;
        CREATE POLICY multisite_limit ON books AS RESTRICTIVE FOR INSERT WITH CHECK (site_id = 1)""",
    ],
)
def test_a_changed_restrictive_policy_does_not_count(library: Secured, sql: str) -> None:
    with library.admin.connect() as connection:
        raw_command(connection, sql.format(owner=library.owner_role))
        assert list(faults_of(connection, library)) == ["row-security-limit books"]
        raw_command(connection, f"RESET SESSION AUTHORIZATION; {OWN_POLICY}")
        assert list(faults_of(connection, library)) == ["row-security-bypassed books"]


def test_policies_of_an_earlier_release_are_a_notice_unless_something_widens_them(library: Secured) -> None:
    with library.admin.connect() as connection:
        raw_command(connection, "DROP POLICY multisite_limit ON books")
        found = faults_of(connection, library)
    assert {key: finding.severity for key, finding in found.items()} == {"row-security-limit books": "notice"}


def test_a_restrictive_policy_of_the_application_is_not_reported(library: Secured) -> None:
    with library.admin.connect() as connection:
        raw_command(connection, "DROP POLICY multisite_limit ON books")
        raw_command(connection, "CREATE POLICY in_stock ON books AS RESTRICTIVE USING (stock > 0)")
        assert list(faults_of(connection, library)) == ["row-security-limit books"]


DISTRIBUTED = """
    CREATE FUNCTION citus_truncate_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER truncate_trigger_1 AFTER TRUNCATE ON books EXECUTE FUNCTION citus_truncate_trigger();
"""
"""By this trigger a table is known to be distributed; Citus creates it."""


@pytest.mark.parametrize("kind", ["PERMISSIVE", "RESTRICTIVE"])
def test_any_other_policy_of_a_distributed_table_is_reported(library: Secured, kind: str) -> None:
    """Citus creates restrictive policies as permissive on its workers: neither ours nor another narrows anything."""
    with library.admin.connect() as connection:
        raw_command(connection, DISTRIBUTED)
        assert faults_of(connection, library) == {}
        raw_command(connection, f"RESET SESSION AUTHORIZATION; {OWN_POLICY.replace(' USING', f' AS {kind} USING')}")
        found = faults_of(connection, library)
    assert list(found) == ["row-security-bypassed books"]
    assert "in_stock" in found["row-security-bypassed books"].message
    assert found["row-security-bypassed books"].remedy.startswith("drop")


def test_a_distributed_table_needs_no_restrictive_policy(library: Secured) -> None:
    with library.admin.connect() as connection:
        raw_command(connection, f"{DISTRIBUTED}; DROP POLICY multisite_limit ON books")
        assert faults_of(connection, library) == {}


# Partitions, children and names


CHILDREN = """
    CREATE TABLE pages (id int, site_id bigint NOT NULL REFERENCES sites, secret text) PARTITION BY LIST (site_id);
    CREATE TABLE pages_1 PARTITION OF pages FOR VALUES IN (1);
    CREATE TABLE pages_2 PARTITION OF pages FOR VALUES IN (2) PARTITION BY RANGE (id);
    CREATE TABLE pages_2a PARTITION OF pages_2 FOR VALUES FROM (0) TO (100);
    INSERT INTO pages VALUES (1, 1, 'secret-1'), (2, 2, 'secret-2');
    CREATE TABLE archive () INHERITS (books);
    INSERT INTO archive (id, site_id, slug, secret, stock)
        VALUES (91, 1, 'x', 'secret-1', 1), (92, 2, 'x', 'secret-2', 1);
"""
NAMES = ("pages", "pages_1", "pages_2", "pages_2a", "archive")


@pytest.fixture
def children(library: Secured) -> Secured:
    """The library with a partitioned table and a child, for which row-level security is not enabled."""
    with library.owner.begin() as connection:
        raw_command(connection, f"{CHILDREN} GRANT SELECT, UPDATE ON {', '.join(NAMES)} TO {library.app_role}")
    return library


def seen(made: Secured, table: str) -> set[str]:
    with Session(made.engine, info={"site": ONE}) as session:
        session.execute(sa.select(1))
        return raw(session, f"SELECT secret FROM {table}")


def test_partitions_and_children_without_policies_are_reported(children: Secured) -> None:
    assert set(faults(children.engine)) == {f"row-security-missing {name}" for name in NAMES}
    assert seen(children, "pages_2a") == {"secret-2"}  # The negative control.


def test_an_operation_covers_partitions_and_children_too(children: Secured) -> None:
    form = form_of(children)
    with children.operations() as op:
        for table in ("pages", "books"):
            op.enable_row_security(table, all_sites_role=children.all_sites_role, form=form)
    assert faults(children.engine) == {}
    shown = {"pages_2": set(), "pages_2a": set()}
    for name in NAMES:
        assert seen(children, name) == shown.get(name, {"secret-1"}), name
    with children.operations() as op:
        for table in ("pages", "books"):
            op.disable_row_security(table)
        flags = raw(op.get_bind(), "SELECT relrowsecurity FROM pg_class WHERE relname ~ '^(pages|archive|books)'")
    assert flags == {False}


def form_of(made: Secured) -> str:
    """Return the form of the policies of the table `books`."""
    query = "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polname = 'multisite_site' AND polrelid = {}"
    with made.admin.connect() as connection:
        (condition,) = raw(connection, query.format("'books'::regclass"))
        return "role" if "SELECT" in condition else "setting"


def test_a_foreign_table_among_the_children_is_reported(children: Secured) -> None:
    with children.admin.connect() as connection:
        raw_command(
            connection,
            "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere;"
            "CREATE FOREIGN TABLE far () INHERITS (books) SERVER elsewhere; GRANT SELECT ON far TO PUBLIC",
        )
        found = faults_of(connection, children)
        assert "foreign table" in found["row-security-bypassed far"].message
        raw_command(connection, "RESET SESSION AUTHORIZATION; REVOKE SELECT ON far FROM PUBLIC")
        assert "row-security-bypassed far" not in faults_of(connection, children)


def test_a_table_named_like_one_of_ours_in_another_schema_is_found(library: Secured) -> None:
    with library.admin.connect() as connection:
        raw_command(
            connection,
            "CREATE SCHEMA shop; CREATE TABLE shop.domains (id int, site_id bigint REFERENCES sites);"
            # And a table that refers to another table `sites`.
            "CREATE SCHEMA crm; CREATE TABLE crm.sites (id int PRIMARY KEY);"
            "CREATE TABLE crm.visits (site_id int REFERENCES crm.sites)",
        )
        assert list(faults_of(connection, library)) == ["row-security-missing shop.domains"]


# A preset site


@pytest.mark.parametrize(
    ("preset", "remedy"),
    [
        ("ALTER ROLE {app} SET multisite.site_id = '2'", "ALTER ROLE {app} RESET multisite.site_id"),
        ("ALTER DATABASE {db} SET multisite.site_id = '2'", "ALTER DATABASE {db} RESET multisite.site_id"),
        (
            "ALTER ROLE {app} IN DATABASE {db} SET multisite.site_id = '2'",
            "ALTER ROLE {app} IN DATABASE {db} RESET multisite.site_id",
        ),
    ],
)
def test_a_site_preset_for_a_role_or_database_is_an_error(library: Secured, preset: str, remedy: str) -> None:
    names = {"app": library.app_role, "db": library.admin.url.database}
    with library.admin.begin() as connection:
        raw_command(connection, preset.format(**names))
    try:
        library.engine.dispose()
        with closing_engine(library.url(library.app_role)) as engine:
            check_nothing_is_seen_without_a_site(engine)
            found = faults(engine)
        assert list(found) == [f"row-security-preset {library.app_role}"]
        assert found[f"row-security-preset {library.app_role}"].remedy == remedy.format(**names)
    finally:
        with library.admin.begin() as connection:
            raw_command(connection, remedy.format(**names))


def check_nothing_is_seen_without_a_site(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(sa.select(1))
        assert setting(connection)[0] == ""
        with pytest.raises(psycopg.Error, match=r"multisite.site_id|bigint"):
            raw(connection)
        connection.connection.rollback()
    with using_site(ONE), engine.connect() as connection:
        connection.execute(sa.select(1))
        assert raw(connection) == {"secret-1"}


def test_a_site_preset_in_the_options_of_a_url_is_an_error(library: Secured) -> None:
    url = sa.make_url(library.url(library.app_role)).update_query_dict({"options": "-c multisite.site_id=2"})
    with closing_engine(url.render_as_string(hide_password=False)) as engine:
        check_nothing_is_seen_without_a_site(engine)
        assert "PGOPTIONS" in faults(engine)[f"row-security-preset {library.app_role}"].remedy


def test_negative_control_a_cursor_before_any_statement_sees_the_preset_site(library: Secured) -> None:
    """Therefore it is a fault: only statements of SQLAlchemy reset it."""
    url = sa.make_url(library.url(library.app_role)).update_query_dict({"options": "-c multisite.site_id=2"})
    with closing_engine(url.render_as_string(hide_password=False)) as engine, engine.connect() as connection:
        assert raw(connection) == {"secret-2"}


# Defaults that run before the statement


def test_a_default_that_runs_first_gets_the_site(library: Secured) -> None:
    with Session(library.engine, info={"site": TWO}) as session:
        largest = sa.ColumnDefault(sa.select(sa.func.max(Book.secret)).scalar_subquery())
        assert session.connection().scalar(largest) == "secret-2"
        session.rollback()
        # What a function reads is unknown.
        named = sa.ColumnDefault(sa.func.current_setting(SETTING))
        assert session.connection().scalar(named) == "2"


# The two forms


def test_either_form_reads_and_writes_correctly(library: Secured) -> None:
    with all_sites("a test"), Session(library.engine) as session:
        assert raw_after(session) == BOTH
        session.execute(sa.update(Book).values(stock=9))
        session.commit()
    with Session(library.engine, info={"site": ONE}) as session:
        assert raw_after(session) == {"secret-1"}
        with pytest.raises(psycopg.Error, match="row-level security policy"):
            raw_command(session.connection(), "UPDATE books SET site_id = 2")
    with library.engine.connect() as connection, pytest.raises(psycopg.Error, match=r"multisite.site_id|bigint"):
        raw(connection)


def test_the_setting_form_never_changes_the_role(library: Secured) -> None:
    with library.engine.connect() as connection:
        with using_site(ONE):
            connection.execute(sa.select(1))
            assert setting(connection) == ("1", library.app_role)
        with all_sites("a test"):
            connection.execute(sa.select(Book.id))
            told = setting(connection)
        is_setting = form_of(library) == "setting"
        assert told == (("all", library.app_role) if is_setting else ("1", library.all_sites_role))
        with using_site(TWO):
            connection.execute(sa.select(1))
            assert setting(connection) == ("2", library.app_role)
            assert raw(connection) == {"secret-2"}


def test_a_role_that_is_not_a_member_sees_nothing_for_all_sites(library: Secured) -> None:
    with library.admin.begin() as connection:
        raw_command(connection, f"REVOKE {library.all_sites_role} FROM {library.app_role}")
    with library.engine.connect() as connection:
        raw_command(connection, "SET LOCAL multisite.site_id = 'all'")
        if form_of(library) == "setting":
            assert raw(connection) == set()
        else:
            with pytest.raises(psycopg.Error, match="bigint"):
                raw(connection)


def test_no_role_sees_all_sites_if_none_was_given(library: Secured) -> None:
    form = form_of(library)
    with library.operations() as op:
        for table in SCOPED:
            op.enable_row_security(table.name, form=form)
    with library.engine.connect() as connection:
        raw_command(connection, "SET LOCAL multisite.site_id = 'all'")
        with pytest.raises(psycopg.Error, match="bigint"):
            raw(connection)


def test_a_running_process_continues_with_the_other_form(library: Secured) -> None:
    form = form_of(library)
    other = {"role": "setting", "setting": "role"}[form]
    with all_sites("a test"), Session(library.engine) as session:
        assert raw_after(session) == BOTH
    with library.operations() as op:
        for table in SCOPED:
            op.enable_row_security(table.name, all_sites_role=library.all_sites_role, form=other)
    assert form_of(library) == other
    with all_sites("a test"), Session(library.engine) as session:
        if other == "role":
            # Policies of the form `setting` also accept the role; these do not accept the setting, so it asks again.
            with pytest.raises(DBAPIError, match=r"multisite.site_id|bigint"):
                raw_after(session)
            session.rollback()
        assert raw_after(session) == BOTH
    with Session(library.engine, info={"site": ONE}) as session:
        assert raw_after(session) == {"secret-1"}


def test_a_database_with_both_forms(library: Secured) -> None:
    with library.operations() as op:
        op.enable_row_security("shelves", all_sites_role=library.all_sites_role, form="role")
        op.enable_row_security("books", all_sites_role=library.all_sites_role, form="setting")
    with closing_engine(library.url(library.app_role)) as engine:
        with Session(engine, info={"site": ONE}) as session:
            session.execute(sa.select(1))
            assert raw(session) == raw(session, "SELECT secret FROM shelves") == {"secret-1"}
        with all_sites("a test"), Session(engine) as session:
            assert raw_after(session) == raw(session, "SELECT secret FROM shelves") == BOTH
        assert faults(engine) == {}


def test_the_command_converts_one_form_to_the_other(library: Secured, tmp_path: Path) -> None:
    ini = write_ini(tmp_path, library, role=library.all_sites_role)
    text = ini.read_text("utf-8")
    for form in ("setting", "role", "setting"):
        ini.write_text(text.replace("[server:", f"multisite.row_security_form = {form}\n[server:"), "utf-8")
        result = invoke(ini, "row-security", "enable")
        assert result.exit_code == 0, result.output
        assert (form_of(library), faults(library.engine)) == (form, {})
    ini.write_text(text, "utf-8")
    assert invoke(ini, "row-security", "enable").exit_code == 0
    assert form_of(library) == "role"
    # With the extension, it is the form that can be propagated to other servers.
    with library.admin.begin() as connection:
        raw_command(
            connection,
            "SET LOCAL allow_system_table_mods = on; INSERT INTO pg_extension SELECT 99999, 'citus', 10, "
            "'public'::regnamespace, false, '13', NULL, NULL",
        )
    assert invoke(ini, "row-security", "enable").exit_code == 0
    assert form_of(library) == "setting"


def test_an_unknown_form_is_refused(library: Secured, tmp_path: Path) -> None:
    with library.operations() as op, pytest.raises(ValueError, match="'role' or 'setting', not 'other'"):
        op.enable_row_security("books", form="other")
    ini = write_ini(tmp_path, library)
    text = ini.read_text("utf-8")
    ini.write_text(text.replace("[server:", "multisite.row_security_form = other\n[server:"), "utf-8")
    assert "role or setting" in invoke(ini, "row-security", "enable").output


def test_a_check_within_a_transaction_reports_nothing(library: Secured) -> None:
    """The site of the transaction is not a preset: the check queries the role for all sites again."""
    with closing_engine(library.url(library.app_role)) as engine:
        with engine.connect() as connection:
            with using_site(ONE):
                connection.execute(sa.select(1))
            del engine.dialect.__dict__[ROW_SECURITY]
            with using_site(TWO):
                connection.execute(sa.select(1))
                assert raw(connection) == {"secret-2"}
        assert faults(engine) == {}
        check_nothing_is_seen_without_a_site(engine)
