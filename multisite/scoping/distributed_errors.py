"""Bring errors of a distributed PostgreSQL (Citus) into the form that errors of one server have.

A worker reports the names of its shards (`uq_tags_site_id_slug_102136`), and the coordinator neither table nor
constraint in the fields of the error; a constraint violated by an INSERT … SELECT is an internal error (XX000). An
application that catches `IntegrityError` would miss it, and one that reads the name of the constraint would not know
it. A statement that Citus cannot plan gets a sentence that says what to write instead.

Nothing here runs unless a statement has failed, with psycopg as its driver.
"""

from __future__ import annotations

from typing import Any

from multisite.core.lazy import lazy_pattern

__all__ = ["as_on_one_server"]

_FROM_WORKER = "while executing command on "
"""Citus adds this context to what a worker reports."""

_INTERNAL = {
    "duplicate key value violates unique constraint": ("UniqueViolation", "23505"),
    "violates foreign key constraint": ("ForeignKeyViolation", "23503"),
    "violates check constraint": ("CheckViolation", "23514"),
    "violates not-null constraint": ("NotNullViolation", "23502"),
    # The shard was divided since the coordinator planned the statement. The transaction changes nothing, and
    # pyramid_retry repeats it.
    "could not find valid entry for shard": ("SerializationFailure", "40001"),
}
"""What the coordinator reports as an internal error: the class in psycopg and the SQLSTATE, by words of the message."""

_SHARD = lazy_pattern(r'"(\w+)_\d{6,}"')
"""Matches the name of a shard, or of a constraint of one: Citus numbers shards from 102008."""

_CONSTRAINT = lazy_pattern(r'constraint "([^"]+)"')

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
    violated = None
    if diag.sqlstate == "XX000":
        violated = next((kind for words, kind in _INTERNAL.items() if words in message), None)
    if violated is not None or _FROM_WORKER in (diag.context or ""):
        error = _without_shards(error, diag, violated)
    if diag.sqlstate in ("XX000", "0A000", "42P10"):
        instead = next((text for words, text in _WRITE_INSTEAD.items() if words in message), None)
        if instead is not None and (diag.sqlstate != "42P10" or _FROM_WORKER in (diag.context or "")):
            error.args = (f"{error.args[0]}\nThis database is distributed by site_id: {instead}",)
    return error


def _without_shards(error: BaseException, diag: Any, violated: tuple[str, str] | None) -> BaseException:
    from psycopg import errors  # Installed, since it has raised the error.
    from psycopg.pq import DiagnosticField

    args = tuple(_SHARD.sub(r'"\1"', each) if isinstance(each, str) else each for each in error.args)
    found = _CONSTRAINT.search(_SHARD.sub(r'"\1"', diag.message_primary))
    fields = {
        DiagnosticField.SQLSTATE: diag.sqlstate if violated is None else violated[1],
        DiagnosticField.MESSAGE_PRIMARY: _SHARD.sub(r'"\1"', diag.message_primary),
        DiagnosticField.MESSAGE_DETAIL: _SHARD.sub(r'"\1"', diag.message_detail) if diag.message_detail else None,
        DiagnosticField.SEVERITY: diag.severity,
        DiagnosticField.CONTEXT: diag.context,
        DiagnosticField.CONSTRAINT_NAME: found[1] if found else diag.constraint_name,
    }
    info = {field: None if text is None else text.encode() for field, text in fields.items()}
    kind: Any = type(error) if violated is None else getattr(errors, violated[0])
    translated: BaseException = kind(*args, info=info)
    return translated.with_traceback(error.__traceback__)
