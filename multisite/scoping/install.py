"""Install scoping in SQLAlchemy, and run the self-test.

Two places in SQLAlchemy are replaced that every engine and dialect uses: the creation of a statement's compiler, and
the creation of its execution context. So are `Session.merge` and the lookup in the identity map, which may work without
a statement, and the method with which a session begins to use a connection. An application calls nothing: importing
`multisite.scoping`, which `SiteScoped` needs, installs scoping, also for engines that already exist.
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
"""Methods that scoping replaces and that no statement of the self-test reaches: that they are called is checked."""

_REQUIRED = (
    (Connection, "_autobegin"),
    (NestedTransaction, "_previous_nested"),
    (ForeignKey, "_set_parent"),
    (SQLCompiler, "_compose_select_body"),
    (SQLCompiler, "_process_numeric"),
)
"""Names that the self-test checks for presence only. Some are used with row-level security or numbered parameters,
which an in-memory database does not have; without `_compose_select_body`, each table becomes a derived table."""


def _new_compiler(cls: Any, *args: Any, **kwargs: Any) -> Any:
    # Return an instance of a subclass of `cls`: Python then calls its __init__ too.
    return object.__new__(cls if issubclass(cls, (ScopedCompiler, PlainCompiler)) else scoped_class(cls))


def install() -> None:
    """Install scoping for every engine of this process and run the self-test. Safe to repeat."""
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
    """Run the self-test and raise `MultisiteError` if it fails."""
    try:
        for owner, name in _HOOKED:
            self_test.check_hook(owner, name)
        for there, name in _REQUIRED:
            self_test.check_attribute(there, name)
        self_test.check_overrides(ScopedCompiler)
        self_test.check_compiled_sql()
        self_test.check_execution()
    except Exception as error:
        # With a supported release, none of this raises anything.
        raise MultisiteError(
            f"SQLAlchemy {sqlalchemy.__version__} does not let multisite limit statements to a site: {error}"
        ) from error
