"""Names that a package offers and imports only when they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for `package` (PEP 562).

    Args:
        package: the `__name__` of the package.
        names: the module in which each name is defined.
    """

    def find(name: str) -> Any:
        if name in names:
            return getattr(import_module(names[name]), name)
        raise AttributeError(f"module '{package}' has no attribute '{name}'")

    return find
