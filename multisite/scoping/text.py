"""Raw SQL whose author vouches for it."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from multisite.scoping.column import SITE_PARAMETER

__all__ = ["ScopedText", "scoped_text"]

_PARAMETER = re.compile(r"(?<![:\w\\]):site_id(?!\w)")

_RESERVED = {"site_id", SITE_PARAMETER.key}


class ScopedText(sa.TextClause):
    """A `text()` that the compiler lets pass; its own class, so that it has a cache key of its own."""

    inherit_cache = True

    def bindparams(self, *binds: Any, **names_to_values: Any) -> ScopedText:
        if _RESERVED & {*names_to_values, *(getattr(bind, "key", None) for bind in binds)}:
            raise ValueError("site_id is bound from the session's site and cannot be given")
        return super().bindparams(*binds, **names_to_values)


def scoped_text(sql: str) -> sa.TextClause:
    """Return `sql` as a statement that may name scoped tables; its author vouches that it keeps to one site.

    It must hold the parameter `:site_id`, which is bound from the site in scope when it is executed and cannot be
    overridden; more parameters are given as with `sqlalchemy.text`. Raises `ValueError` if `:site_id` is missing.
    """
    if not _PARAMETER.search(sql):
        raise ValueError("scoped_text needs the parameter :site_id, such as in WHERE site_id = :site_id")
    text = ScopedText(_PARAMETER.sub(f":{SITE_PARAMETER.key}", sql))
    text._bindparams[SITE_PARAMETER.key] = SITE_PARAMETER
    return text
