"""Remove values of other sites from integrity errors.

PostgreSQL adds a DETAIL with values to the error of a violated constraint. If the unique key contains `site_id`, the
values are the site's own. With any other key they reveal that another site has them; exclusion constraints, and a CHECK
that fails in a cascade, even print the other row. If a session or connection is limited to a site, the DETAIL is
therefore kept only if its values are the site's own; kind, message, constraint, table and SQLSTATE are always kept.
SQLite names columns, never values. Nothing here runs unless a statement has failed.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from sqlalchemy.engine import Connection

from multisite.core.lazy import lazy_pattern
from multisite.errors import CrossSiteError
from multisite.scoping.distributed_errors import as_on_one_server
from multisite.scoping.pin import scope_of
from multisite.scoping.tables import tables

__all__ = ["NOT_SHOWN", "install"]

NOT_SHOWN = "not shown, since it may hold values of another site"
"""Replaces a DETAIL that is removed."""

_CLASSES = ("23", "44")
"""The SQLSTATE classes of violated constraints, and of views WITH CHECK OPTION."""

_OWN = lazy_pattern(
    r'Key \((?:[^()]+, )?site_id(?:, [^()]+)?\)=\(.*\) (?:already exists|is not present in table "[^"]*")\.', re.DOTALL
)
"""Matches a DETAIL with values of the own site only. It matches English messages; others are always removed."""

_handle_dbapi_exception = Connection._handle_dbapi_exception


def handle_dbapi_exception(self: Connection, e: BaseException, *args: Any, **kw: Any) -> NoReturn:
    """Remove values of other sites from `e` before SQLAlchemy wraps it."""
    e = as_on_one_server(e)
    # Psycopg and psycopg2 have `diag`; SQLAlchemy's error for asyncpg is caused by asyncpg's, which has the fields.
    fields: Any = getattr(e, "diag", None) or e.__cause__
    detail = getattr(fields, "message_detail", None) or getattr(fields, "detail", None)
    if detail and _is_violation(fields) and not _OWN.fullmatch(detail) and _is_limited(self):
        e = _strip_detail(e, detail)
    _handle_dbapi_exception(self, e, *args, **kw)


def _is_violation(fields: Any) -> bool:
    """Return whether a constraint of a scoped table, or of an unnamed table, was violated."""
    table = fields.table_name
    return str(fields.sqlstate)[:2] in _CLASSES and (table is None or table.lower() in tables.scoped)


def _is_limited(connection: Connection) -> bool:
    try:
        scope = scope_of(connection)
    except CrossSiteError:
        return True
    return scope is not None and scope.site is not None


def _strip_detail(error: BaseException, detail: str) -> BaseException:
    """Return the error without `detail`: the same object, or a new one for psycopg2, whose fields are read-only."""
    args = tuple(each.replace(detail, NOT_SHOWN) if isinstance(each, str) else each for each in error.args)
    result = getattr(error, "pgresult", None)
    info: Any = getattr(error, "_info", None)
    if result is not None or isinstance(info, dict):
        # psycopg reads `error.diag` from the result, or from a dictionary if the error was pickled or made here.
        from psycopg.pq import DiagnosticField  # Installed only if the application uses psycopg.

        fields = dict(info) if result is None else {field: result.error_field(field) for field in DiagnosticField}
        error._info = {**fields, DiagnosticField.MESSAGE_DETAIL: NOT_SHOWN.encode()}  # type: ignore[attr-defined]
    elif hasattr(error, "diag"):
        like = type(error)(*args)
        # psycopg2 restores a pickled error like this; `diag` of such an error is empty.
        like.__setstate__({"pgcode": error.pgcode, "pgerror": "".join(args)})  # type: ignore[attr-defined]
        return like
    else:
        error.detail = error.__cause__.detail = NOT_SHOWN  # type: ignore[attr-defined, union-attr]
    error.args = args
    return error


def install() -> None:
    """Replace `Connection._handle_dbapi_exception`. Safe to repeat.

    This costs successful statements nothing. With the event `handle_error`, every execution would look for listeners.
    """
    Connection._handle_dbapi_exception = handle_dbapi_exception  # type: ignore[method-assign]
