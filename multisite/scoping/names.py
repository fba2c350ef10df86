"""Check names that are rendered unquoted, from `quoted_name(…, quote=False)`: such a name may be any SQL."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from multisite.scoping.errors import UnscopedStatement
from multisite.scoping.lexical import NUL

__all__ = ["SQL_IN_PLACE_OF_A_NAME", "checked_names"]

_Preparer: Any = object
"""The base of the class below, which is mixed in before a dialect's `IdentifierPreparer`."""

SQL_IN_PLACE_OF_A_NAME = "SQL in place of a name"

_SCHEMA_TO_COME = re.compile(r"__\[SCHEMA_[^\[\]]*\]").fullmatch
"""Matches SQLAlchemy's own placeholder for a schema that is looked up when a statement is executed."""


class _CheckedNames(_Preparer):
    """Records SQL in place of a name while a statement is compiled, and rejects it afterwards.

    SQLAlchemy renders every name here: those of tables, columns, aliases, labels, functions, collations, constraints,
    and the schemas of a `schema_translate_map`, which are inserted at execution, after the statement was scanned.
    """

    has_sql: bool
    is_finished: bool

    def quote(self, ident: Any, *args: Any) -> str:
        """Quote a name if necessary, and check one that must not be quoted.

        Returns:
            The name as it is rendered.

        Raises:
            UnscopedStatement: it is SQL, and the statement has already been scanned.
        """
        is_sql = getattr(ident, "quote", None) is False and not (ident.isidentifier() or _SCHEMA_TO_COME(ident))
        # At a NUL, a driver may cut the statement off, also inside quotes.
        if is_sql or NUL in ident:
            self.has_sql = True
            if self.is_finished:
                raise UnscopedStatement(f"{SQL_IN_PLACE_OF_A_NAME} cannot be limited to a site: let it be quoted")
        return super().quote(ident, *args)


def checked_names(preparer: Any) -> Any:
    """Return a copy of a dialect's `IdentifierPreparer` with checks; `has_sql` and `is_finished` are False."""
    # With a `schema_translate_map`, SQLAlchemy copies a preparer that is already checked.
    own: Any = type(preparer)
    cls = own if issubclass(own, _CheckedNames) else _checked_class(own)
    copy = cls.__new__(cls)
    copy.__dict__.update(preparer.__dict__, has_sql=False, is_finished=False)
    return copy


@cache
def _checked_class(preparer: Any) -> Any:
    return type(preparer.__name__, (_CheckedNames, preparer), {})
