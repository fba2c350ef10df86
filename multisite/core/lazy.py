"""What is made on first use, because most processes never use it: imports, and compiled regular expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

__all__ = ["lazy_names", "lazy_pattern"]


def lazy_names(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for `package` (PEP 562).

    Args:
        package: The `__name__` of the package.
        names: The module that defines each name.

    Returns:
        A function that imports the module of a name and returns the object.
    """

    def find(name: str) -> Any:
        if name in names:
            return getattr(import_module(names[name]), name)
        raise AttributeError(f"module '{package}' has no attribute '{name}'")

    return find


def lazy_pattern(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """Return what `re.compile` returns, but compile it on first use: a long pattern takes a millisecond."""
    return cast("re.Pattern[str]", _LazyPattern(pattern, flags))


class _LazyPattern:
    def __init__(self, pattern: str, flags: re.RegexFlag) -> None:
        self._arguments = pattern, flags

    def __getattr__(self, name: str) -> Any:
        # Called once for each name, since the instance has it afterwards. `re` keeps the compiled pattern.
        found = getattr(re.compile(*self._arguments), name)
        setattr(self, name, found)
        return found
