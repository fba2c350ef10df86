"""Import zope.sqlalchemy, by which a session joins its request's transaction, without drivers that nothing uses.

To know which errors are worth a retry, its module `datamanager` imports each driver of a database that is installed:
with those of PostgreSQL, a seventh of the start of an application on SQLite. Imported by `import_datamanager`, it sees
only the drivers that the process has imported already. The others are looked for again whenever there is an error of a
database to judge, which only a driver that is imported by then can have raised.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

__all__ = ["import_datamanager"]

_NAME = "zope.sqlalchemy.datamanager"

_DRIVERS = frozenset({"psycopg2", "psycopg", "cx_Oracle", "pymysql"})

_ERRORS = "_retryable_errors"
"""The module's list of the types of errors that are worth a retry, each with a test or None."""


def import_datamanager() -> None:
    """Import `zope.sqlalchemy.datamanager` unless the application has done so; with all drivers if it has changed."""
    if _NAME in sys.modules:
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        import_module(_NAME)
    finally:
        sys.meta_path.remove(finder)


def _import(name: str, *arguments: Any) -> ModuleType:
    """Import as `__import__` does, except for drivers that are not imported yet."""
    driver = name.partition(".")[0]
    if driver in _DRIVERS and driver not in sys.modules:
        raise ImportError(f"{driver} is not imported yet", name=driver)
    return __import__(name, *arguments)


class _Loader(SourceFileLoader):
    """Loads the module with other builtins, so that only its own imports are affected, in no other thread."""

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import}
        super().exec_module(module)


class _Finder:
    """Finds this one module, so that it cannot disturb other imports."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == _NAME else None
        if spec is None or type(spec.loader) is not SourceFileLoader or spec.origin is None:
            return None
        spec.loader = _LoaderOfRequests(name, spec.origin)
        return spec


class _LoaderOfRequests(_Loader):
    """Loads the module that all use."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if isinstance(getattr(module, _ERRORS, None), list):
            setattr(module, _ERRORS, _ErrorsOfImportedDrivers(self.path))
        else:
            vars(module)["__builtins__"] = vars(builtins)
            SourceFileLoader.exec_module(self, module)


class _ErrorsOfImportedDrivers:
    """In place of the list: those of the drivers that are imported when it is read."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Any]:
        return iter(_errors(self._path, _DRIVERS.intersection(sys.modules)))


@cache
def _errors(path: str, _imported: frozenset[str]) -> list[Any]:
    """Return the list that the module makes where these drivers are imported, by executing it once more."""
    module = ModuleType(_NAME)
    module.__package__ = _NAME.rpartition(".")[0]
    _Loader(_NAME, path).exec_module(module)
    found: list[Any] = getattr(module, _ERRORS)
    return found
