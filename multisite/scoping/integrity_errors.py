"""What a violated constraint says: PostgreSQL adds a DETAIL with values, which may be those of another site's row.

The values of a unique key that holds `site_id` are one's own. Those of any other key say that another site has them;
an exclusion constraint and a CHECK that fails in a cascade even print the other row. So where a session or connection
is limited to a site, the DETAIL is kept only if it is one's own; kind, message, constraint, table and SQLSTATE always
are. SQLite names columns, never values. Nothing here runs unless a statement has failed.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from sqlalchemy.engine import Connection

from multisite.errors import CrossSiteError
from multisite.scoping.pin import scope_of
from multisite.scoping.tables import tables

__all__ = ["NOT_SHOWN", "install"]

NOT_SHOWN = "not shown, since it may hold values of another site"
"""What stands in place of a DETAIL."""

_CLASSES = ("23", "44")
"""The SQLSTATE classes of violated constraints, and of views WITH CHECK OPTION."""

_OWN = re.compile(
    r'Key \((?:[^()]+, )?site_id(?:, [^()]+)?\)=\(.*\) (?:already exists|is not present in table "[^"]*")\.', re.DOTALL
).fullmatch
"""Matches a DETAIL about values that were given for the own site. In another language than English none does."""

_handle_dbapi_exception = Connection._handle_dbapi_exception


def handle_dbapi_exception(self: Connection, e: BaseException, *args: Any, **kw: Any) -> NoReturn:
    """Conceal what is not for this site before SQLAlchemy makes its own error of `e`."""
    # Psycopg and psycopg2 have `diag`; SQLAlchemy's error for asyncpg is caused by asyncpg's, which has the fields.
    fields: Any = getattr(e, "diag", None) or e.__cause__
    detail = getattr(fields, "message_detail", None) or getattr(fields, "detail", None)
    if detail and _is_violation(fields) and not _OWN(detail) and _is_limited(self):
        e = _strip_detail(e, detail)
    _handle_dbapi_exception(self, e, *args, **kw)


def _is_violation(fields: Any) -> bool:
    """Return whether a constraint of a scoped table was violated, or one of a table that is not named."""
    table = fields.table_name
    return str(fields.sqlstate)[:2] in _CLASSES and (table is None or table.lower() in tables.scoped)


def _is_limited(connection: Connection) -> bool:
    try:
        scope = scope_of(connection)
    except CrossSiteError:
        return True
    return scope is not None and scope.site is not None


def _strip_detail(error: BaseException, detail: str) -> BaseException:
    """Return the error without `detail`: the same one, or for psycopg2, whose fields cannot be changed, a like one."""
    args = tuple(each.replace(detail, NOT_SHOWN) if isinstance(each, str) else each for each in error.args)
    result = getattr(error, "pgresult", None)
    if result is not None:
        # Psycopg reads `error.diag` out of the result, or out of a dictionary where the error has been pickled.
        from psycopg.pq import DiagnosticField  # Only an application that uses it has it.

        fields = {field: result.error_field(field) for field in DiagnosticField}
        error._info = {**fields, DiagnosticField.MESSAGE_DETAIL: NOT_SHOWN.encode()}  # type: ignore[attr-defined]
    elif hasattr(error, "diag"):
        like = type(error)(*args)
        # This is how psycopg2 makes an error out of a pickled one; `diag` of such an error is empty.
        like.__setstate__({"pgcode": error.pgcode, "pgerror": "".join(args)})  # type: ignore[attr-defined]
        return like
    else:
        error.detail = error.__cause__.detail = NOT_SHOWN  # type: ignore[attr-defined, union-attr]
    error.args = args
    return error


def install() -> None:
    """Put `handle_dbapi_exception` in front of SQLAlchemy's. Safe to repeat.

    Of all places that learn of an error this one costs a statement that succeeds nothing; an event `handle_error` of
    the dialect would have every execution look for listeners.
    """
    Connection._handle_dbapi_exception = handle_dbapi_exception  # type: ignore[method-assign]
