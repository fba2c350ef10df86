"""`scoped_text`: raw SQL that limits itself to one site by a parameter."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from multisite.scoping.column import SITE_PARAMETER

__all__ = ["ScopedText", "scoped_text"]

_PARAMETER = re.compile(r"(?<![:\w\\]):site_id(?!\w)")

_RESERVED = {"site_id", SITE_PARAMETER.key}


class ScopedText(sa.TextClause):
    """A `text()` that the compiler accepts; a class of its own gives it its own cache key."""

    inherit_cache = True

    def bindparams(self, *binds: Any, **names_to_values: Any) -> ScopedText:
        """Return a copy with values for parameters, as `TextClause.bindparams` does.

        Raises:
            ValueError: a value is given for `site_id`.
        """
        if _RESERVED & {*names_to_values, *(getattr(bind, "key", None) for bind in binds)}:
            raise ValueError("site_id is bound from the session's site and cannot be given")
        return super().bindparams(*binds, **names_to_values)


def scoped_text(sql: str) -> sa.TextClause:
    """Return raw SQL as a statement that may name scoped tables; its author is responsible for limiting it to one site.

    Args:
        sql: SQL that contains the parameter `:site_id`. It is bound to the site in scope at execution and cannot be
            overridden. Other parameters work as in `sqlalchemy.text`.

    Raises:
        ValueError: `:site_id` is missing.
    """
    if not _PARAMETER.search(sql):
        raise ValueError("scoped_text needs the parameter :site_id, such as in WHERE site_id = :site_id")
    text = ScopedText(_PARAMETER.sub(f":{SITE_PARAMETER.key}", sql))
    text._bindparams[SITE_PARAMETER.key] = SITE_PARAMETER
    return text
