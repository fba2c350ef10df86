"""Load errors: describe why an application could not be loaded, and watch its files for changes."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from multisite.vhosts.application import LazyApplication

__all__ = ["describe_load_error", "watch_files"]

_DUPLICATE_TABLE = re.compile(r"Table '([^']+)' is already defined for this MetaData instance")


def describe_load_error(
    application: LazyApplication, error: BaseException, applications: Iterable[LazyApplication]
) -> str:
    """Return why `application` could not be loaded, in one line.

    `applications` are all of this process: if another one declared the same table, the message names it.
    """
    for each in _chain(error):
        found = _DUPLICATE_TABLE.search(_text_of(each))
        if found and type(each).__name__ == "InvalidRequestError":
            return _describe_duplicate_table(found[1], each, application, applications)
    return f"{type(error).__name__}: {' '.join(_text_of(error).split())}".removesuffix(": ")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        # The exception is the application's own, and its `__str__` may be broken too.
        return "its message cannot be formatted"


def _describe_duplicate_table(
    table: str, error: BaseException, application: LazyApplication, applications: Iterable[LazyApplication]
) -> str:
    metadata = _metadata_of(error.__traceback__)
    for other in applications:
        owner = _find_declaration(table, metadata, other.modules) if other is not application else None
        if owner is not None:
            return (
                f"it declares the table '{table}', which {other.title} has declared on the same MetaData ({owner}): "
                "give each application a declarative Base of its own, or let both import one model"
            )
    if application.last_load is not None:
        return f"it declares the table '{table}', which its previous attempt declared already: restart the process"
    return f"it declares the table '{table}' twice on the same MetaData"


def _metadata_of(trace: TracebackType | None) -> Any:
    """Return the MetaData that rejected the table, from SQLAlchemy's frame, or None if it is not found."""
    metadata = None
    for frame, _line in traceback.walk_tb(trace):
        found = frame.f_locals.get("metadata")
        if type(found).__name__ == "MetaData":
            metadata = found
    return metadata


def _find_declaration(table: str, metadata: Any, modules: Iterable[str]) -> str | None:
    """Return where one of `modules` declares `table` on `metadata`, as `module.name`, or None."""
    # Read the dictionaries: reading attributes of arbitrary objects may run arbitrary code.
    for module in sorted(modules):
        for name, value in list(getattr(sys.modules.get(module), "__dict__", {}).items()):
            found: Any = value.__dict__.get("__table__") if isinstance(value, type) else value
            if type(found).__name__ == "Table" and found.key == table and found.metadata is metadata:
                return f"{module}.{name}"
    return None


def watch_files(error: BaseException) -> None:
    """Under `pserve --reload`, let the process restart when a file related to `error` changes.

    hupper watches imported modules, and a module that failed to import is not one of them.
    """
    hupper = sys.modules.get("hupper")
    if hupper is not None and hupper.is_active():
        hupper.get_reloader().watch_files(sorted(_files_of(error)))


def _files_of(error: BaseException) -> set[str]:
    names = set()
    for each in _chain(error):
        names |= {frame.filename for frame in traceback.extract_tb(each.__traceback__)}
        names.add(str(getattr(each, "filename", None)))  # That of a SyntaxError, which has no frame there.
    return {str(Path(name).absolute()) for name in names if Path(name).is_file()}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and its causes, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
