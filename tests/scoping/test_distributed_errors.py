"""Errors of a distributed PostgreSQL, as Citus 13.2.2 has sent them, are told as those of one server."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine
from zope.sqlalchemy.datamanager import SessionDataManager

from multisite import all_sites, using_site
from multisite.core.site import Site
from multisite.scoping.distributed_errors import as_on_one_server
from multisite.scoping.integrity_errors import NOT_SHOWN

psycopg = pytest.importorskip("psycopg")

WORKER = "while executing command on 127.0.0.1:56433"


def error(kind: str, state: str, message: str, detail: str | None = None, context: str | None = None) -> Any:
    """Return an error with these fields; `kind` is its class in psycopg."""
    from psycopg.pq import DiagnosticField

    fields = {
        DiagnosticField.SEVERITY: "ERROR",
        DiagnosticField.SQLSTATE: state,
        DiagnosticField.MESSAGE_PRIMARY: message,
        DiagnosticField.MESSAGE_DETAIL: detail,
        DiagnosticField.CONTEXT: context,
    }
    parts = [message, *(f"DETAIL:  {detail}" for _ in [1] if detail), *(f"CONTEXT:  {context}" for _ in [1] if context)]
    info = {field: text.encode() if text else None for field, text in fields.items()}
    return getattr(psycopg.errors, kind)("\n".join(parts), info=info)


DUPLICATE = 'duplicate key value violates unique constraint "uq_tags_site_id_slug_102539"'
KEY = "Key (site_id, slug)=(2, one) already exists."


@pytest.mark.parametrize(
    ("kind", "state", "context"), [("UniqueViolation", "23505", WORKER), ("InternalError_", "XX000", None)]
)
def test_a_duplicate_key_is_a_unique_violation_of_the_constraint(kind: str, state: str, context: str | None) -> None:
    found = as_on_one_server(error(kind, state, DUPLICATE, KEY, context))
    assert isinstance(found, psycopg.errors.UniqueViolation)
    assert found.diag.sqlstate == "23505"
    assert found.diag.constraint_name == "uq_tags_site_id_slug"
    assert found.diag.message_detail == KEY
    assert "102539" not in str(found)
    again = pickle.loads(pickle.dumps(found))
    assert (str(again), again.diag.constraint_name) == (str(found), "uq_tags_site_id_slug")


def test_a_shard_that_was_divided_meanwhile_is_a_reason_to_repeat_the_transaction() -> None:
    raised = error("InternalError_", "XX000", "could not find valid entry for shard 102130")
    found = as_on_one_server(raised)
    assert isinstance(found, psycopg.errors.SerializationFailure)
    manager = SessionDataManager.__new__(SessionDataManager)
    for each, is_retried in ((found, True), (raised, False)):
        assert bool(manager.should_retry(sa.exc.DBAPIError.instance("", {}, each, psycopg.Error))) is is_retried


@pytest.mark.parametrize(
    ("kind", "state", "message"),
    [
        ("ForeignKeyViolation", "23503",
         'insert or update on table "books_102029" violates foreign key constraint "c_102029"'),
        ("CheckViolation", "23514", 'new row for relation "books_102029" violates check constraint "c_102029"'),
        ("NotNullViolation", "23502",
         'null value in column "title" of relation "books_102029" violates not-null constraint'),
    ],
)  # fmt: skip
def test_another_violation_in_an_insert_from_select_is_no_internal_error(kind: str, state: str, message: str) -> None:
    found = as_on_one_server(error("InternalError_", "XX000", message))
    assert type(found) is getattr(psycopg.errors, kind)
    assert found.diag.sqlstate == state
    assert "102029" not in str(found)


def test_tables_lose_the_number_of_their_shard() -> None:
    message = 'insert or update on table "entry_tags_102704" violates foreign key constraint "fk_entry_102704"'
    detail = 'Key (site_id, entry_id)=(2, 999) is not present in table "entries_102308".'
    found = as_on_one_server(error("ForeignKeyViolation", "23503", message, detail, WORKER))
    assert type(found) is psycopg.errors.ForeignKeyViolation
    assert found.diag.constraint_name == "fk_entry"
    assert 'present in table "entries".' in str(found)
    assert "_102" not in str(found).replace(WORKER, "")


@pytest.mark.parametrize("message", ['unique constraint "log_202401"', 'relation "entries_102308" does not exist'])
def test_errors_of_one_server_are_unchanged(message: str) -> None:
    own = error("UniqueViolation", "23505", message, KEY)
    assert as_on_one_server(own) is own
    assert str(own) == f"{message}\nDETAIL:  {KEY}"
    internal = error("InternalError_", "XX000", "could not open file")
    assert as_on_one_server(internal) is internal
    assert as_on_one_server(ValueError("x")).args == ("x",)


@pytest.mark.parametrize(
    ("kind", "state", "message", "instead"),
    [
        ("InternalError_", "XX000", "the query contains a join that requires repartitioning", "a.site_id == b.site_id"),
        (
            "FeatureNotSupported",
            "0A000",
            "complex joins are only supported when all distributed tables are co-located and joined",
            "a.site_id == b.site_id",
        ),
        ("FeatureNotSupported", "0A000", "subqueries are not supported within INSERT queries", "read the value first"),
    ],
)
def test_what_cannot_be_planned_says_what_to_write(kind: str, state: str, message: str, instead: str) -> None:
    found = as_on_one_server(error(kind, state, message))
    assert str(found).startswith(message)
    assert instead in str(found)


def test_a_conflict_on_the_id_says_so_only_on_a_worker() -> None:
    message = "there is no unique or exclusion constraint matching the ON CONFLICT specification"
    assert "(site_id, id)" in str(as_on_one_server(error("InvalidColumnReference", "42P10", message, None, WORKER)))
    assert str(as_on_one_server(error("InvalidColumnReference", "42P10", message))) == message


def test_values_of_another_site_are_removed_from_them_too(postgresql_database_url: str) -> None:
    """An internal error has no table in its fields, so its values are only kept if they are of the own site."""
    raises = """CREATE FUNCTION refuse(detail text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        RAISE 'duplicate key value violates unique constraint "uq_tags_site_id_slug_102539"'
        USING ERRCODE = 'XX000', DETAIL = detail;
    END $$"""
    with closing_engine(postgresql_database_url) as engine:
        with engine.begin() as connection, all_sites("a test"):
            connection.exec_driver_sql(raises)
        for detail, shown in ((KEY, KEY), ("Key (email)=(secret) already exists.", NOT_SHOWN)):
            with using_site(Site(2, "two.example", "Two", "two")), engine.connect() as connection:
                with pytest.raises(sa.exc.IntegrityError) as raised:
                    connection.execute(sa.select(sa.func.refuse(sa.bindparam("detail", detail))))
                assert shown in str(raised.value.orig)
                assert raised.value.orig.diag.message_detail == shown
                assert "secret" not in str(raised.value.orig)
