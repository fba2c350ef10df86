"""Escape for HTML as MarkupSafe does, in two thirds of the time, for the compiled templates.

`markupsafe.escape` is a Python function around a function in C, and creates its result by another Python function. A
page of ten entries escapes some 200 texts.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import markupsafe
from mako import filters
from markupsafe import Markup

# A private name, as old as MarkupSafe 3; without it, nothing is faster.
_escape_inner: Callable[[str], str] | None = getattr(markupsafe, "_escape_inner", None)

__all__ = ["html_escape", "use_fast_escape"]

_new_text = str.__new__


def html_escape(value: Any) -> Markup:
    """Return what `markupsafe.escape` returns."""
    if type(value) is str and _escape_inner is not None:
        return _new_text(Markup, _escape_inner(value))
    return markupsafe.escape(value)


_FILTERS = ModuleType(filters.__name__, filters.__doc__)
"""Mako's module of filters, with this function as its filter `h`."""
vars(_FILTERS).update(vars(filters))
if _escape_inner is not None:
    _FILTERS.html_escape = html_escape  # type: ignore[attr-defined]


def use_fast_escape(module: Any) -> None:
    """Make a compiled template, a module, use `html_escape` for the filter `h`."""
    # Unless the template's own code has given the name to something else.
    if getattr(module, "filters", None) is filters:
        module.filters = _FILTERS
