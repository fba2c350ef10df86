"""Bring errors of a distributed PostgreSQL (Citus) into the form that errors of one server have.

A worker reports the names of its shards (`uq_tags_site_id_slug_102136`), and the coordinator neither table nor
constraint in the fields of the error; a duplicate key in an INSERT … SELECT is an internal error (XX000) there. An
application that catches `IntegrityError` would miss it, and one that reads the name of the constraint would not know
it. A statement that Citus cannot plan gets a sentence that says what to write instead.

Nothing here runs unless a statement has failed, with psycopg as its driver.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["as_on_one_server"]

_FROM_WORKER = "while executing command on "
"""Citus adds this context to what a worker reports."""

_DUPLICATE = re.compile(r'duplicate key value violates unique constraint "').match

_SHARD = re.compile(r'"(\w+)_\d{6,}"')
"""Matches the name of a shard, or of a constraint of one: Citus numbers shards from 102008."""

_CONSTRAINT = re.compile(r'constraint "([^"]+)"')

_JOIN = "compare site_id of both tables too: .where(a.site_id == b.site_id)"

_WRITE_INSTEAD = {
    "requires repartitioning": _JOIN,
    "complex joins are only supported when all distributed tables are": _JOIN,
    "subqueries are not supported within INSERT": "read the value first, or write INSERT ... SELECT",
    "no unique or exclusion constraint matching the ON CONFLICT": "name site_id as well: ON CONFLICT (site_id, id)",
}
"""What to write instead, by words of the server's message."""


def as_on_one_server(error: BaseException) -> BaseException:
    """Return `error` as PostgreSQL would raise it without shards; the same object if it is no error of Citus."""
    diag = getattr(error, "diag", None)
    if not hasattr(error, "pgresult") or diag is None or not diag.message_primary:
        return error
    message = diag.message_primary
    is_duplicate = diag.sqlstate == "XX000" and _DUPLICATE(message) is not None
    if is_duplicate or _FROM_WORKER in (diag.context or ""):
        error = _without_shards(error, diag, is_duplicate=is_duplicate)
    if diag.sqlstate in ("XX000", "0A000", "42P10"):
        instead = next((text for words, text in _WRITE_INSTEAD.items() if words in message), None)
        if instead is not None and (diag.sqlstate != "42P10" or _FROM_WORKER in (diag.context or "")):
            error.args = (f"{error.args[0]}\nThis database is distributed by site_id: {instead}",)
    return error


def _without_shards(error: BaseException, diag: Any, *, is_duplicate: bool) -> BaseException:
    from psycopg.errors import UniqueViolation  # Installed, since it has raised the error.
    from psycopg.pq import DiagnosticField

    args = tuple(_SHARD.sub(r'"\1"', each) if isinstance(each, str) else each for each in error.args)
    found = _CONSTRAINT.search(_SHARD.sub(r'"\1"', diag.message_primary))
    fields = {
        DiagnosticField.SQLSTATE: "23505" if is_duplicate else diag.sqlstate,
        DiagnosticField.MESSAGE_PRIMARY: _SHARD.sub(r'"\1"', diag.message_primary),
        DiagnosticField.MESSAGE_DETAIL: _SHARD.sub(r'"\1"', diag.message_detail) if diag.message_detail else None,
        DiagnosticField.SEVERITY: diag.severity,
        DiagnosticField.CONTEXT: diag.context,
        DiagnosticField.CONSTRAINT_NAME: found[1] if found else diag.constraint_name,
    }
    info = {field: None if text is None else text.encode() for field, text in fields.items()}
    kind: Any = UniqueViolation if is_duplicate else type(error)
    translated: BaseException = kind(*args, info=info)
    return translated.with_traceback(error.__traceback__)
