"""Names that are written as they are given, by `quoted_name(…, quote=False)`: any SQL may stand in place of one."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from multisite.scoping.errors import UnscopedStatement

__all__ = ["SQL_IN_PLACE_OF_A_NAME", "checked_names"]

_Preparer: Any = object
"""What the class below derives from: it is mixed in front of a dialect's preparer of names."""

SQL_IN_PLACE_OF_A_NAME = "SQL in place of a name"

_SCHEMA_TO_COME = re.compile(r"__\[SCHEMA_[^\[\]]*\]").fullmatch
"""Matches what SQLAlchemy itself writes so: the place of a schema that is looked up when a statement is executed."""


class _CheckedNames(_Preparer):
    """Takes note of SQL in place of a name while a statement is compiled, and refuses it afterwards.

    Every name passes here: those of tables, columns, aliases, labels, functions, collations, constraints, and the
    schemas of a `schema_translate_map`, which are put in when the statement is executed, and has been read.
    """

    has_sql: bool
    is_finished: bool

    def quote(self, ident: Any, *args: Any) -> str:
        if getattr(ident, "quote", None) is False and not (ident.isidentifier() or _SCHEMA_TO_COME(ident)):
            self.has_sql = True
            if self.is_finished:
                raise UnscopedStatement(f"{SQL_IN_PLACE_OF_A_NAME} cannot be limited to a site: let it be quoted")
        return super().quote(ident, *args)


def checked_names(preparer: Any) -> Any:
    """Return a copy of a dialect's preparer of names that has `has_sql` and `is_finished`, both False."""
    # SQLAlchemy makes one with a `schema_translate_map` of one that is watched already.
    own: Any = type(preparer)
    cls = own if issubclass(own, _CheckedNames) else _checked_class(own)
    copy = cls.__new__(cls)
    copy.__dict__.update(preparer.__dict__, has_sql=False, is_finished=False)
    return copy


@cache
def _checked_class(preparer: Any) -> Any:
    return type(preparer.__name__, (_CheckedNames, preparer), {})
