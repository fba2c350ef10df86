"""Put up the wall, and check that it stands.

Two places of SQLAlchemy are taken, both of which every engine and dialect passes: the making of a statement's
compiler, and the making of its execution context. `Session.merge` and the look-up in the identity map can do without
a statement, and are taken too; so is the place where a session takes up a connection.
There is nothing to call for an application: importing `multisite.scoping`, which `SiteScoped` needs, does it, also
for engines that already exist.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy import ForeignKey
from sqlalchemy.engine import Connection, NestedTransaction
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import Join

from multisite.errors import MultisiteError
from multisite.scoping import execution, foreign_key, integrity_errors, self_test
from multisite.scoping.compiler import PlainCompiler, ScopedCompiler, scoped_class
from multisite.scoping.identity_map import identity_lookup, merge_checked
from multisite.scoping.pin import connection_for_bind, init_connection

__all__ = ["install", "run_self_test"]

_HOOKED = (
    (Session, "_merge"),
    (Session, "_identity_lookup"),
    (SessionTransaction, "_connection_for_bind"),
    (DefaultExecutionContext, "_exec_default_clause_element"),
    (Connection, "_handle_dbapi_exception"),
    (Join, "get_referent"),
)
"""What the wall stands in front of, and no statement of the trial comes by."""

_REQUIRED = (
    (Connection, "_autobegin"),
    (NestedTransaction, "_previous_nested"),
    (ForeignKey, "_set_parent"),
    (SQLCompiler, "_compose_select_body"),
    (SQLCompiler, "_process_numeric"),
)
"""What is used only with row-level security or with numbered parameters, which a database in memory has not; or stands
in for SQLAlchemy's and is not missed: without claims each table is limited in brackets of its own."""


def _new_compiler(cls: Any, *args: Any, **kwargs: Any) -> Any:
    # An instance of a subclass: Python then calls its __init__ as if it had been asked for.
    return object.__new__(cls if issubclass(cls, (ScopedCompiler, PlainCompiler)) else scoped_class(cls))


def install() -> None:
    """Put the wall in front of every engine of this process and check it. Safe to repeat."""
    SQLCompiler.__new__ = staticmethod(_new_compiler)  # type: ignore[method-assign]
    execution.install()
    foreign_key.install()
    integrity_errors.install()
    Session._merge = merge_checked  # type: ignore[method-assign, assignment]
    Session._identity_lookup = identity_lookup  # type: ignore[method-assign, assignment]
    SessionTransaction._connection_for_bind = connection_for_bind  # type: ignore[method-assign, assignment]
    Connection.__init__ = init_connection  # type: ignore[method-assign, assignment]
    run_self_test()


def run_self_test() -> None:
    """Put the wall on trial and raise `MultisiteError` if it does not stand."""
    try:
        for owner, name in _HOOKED:
            self_test.check_hook(owner, name)
        for there, name in _REQUIRED:
            self_test.check_attribute(there, name)
        self_test.check_overrides(ScopedCompiler)
        self_test.check_compiled_sql()
        self_test.check_execution()
    except Exception as error:
        # Whatever it is: in a release that fits, none of this raises.
        raise MultisiteError(
            f"SQLAlchemy {sqlalchemy.__version__} does not let multisite limit statements to a site: {error}"
        ) from error
