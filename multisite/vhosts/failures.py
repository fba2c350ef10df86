"""Why an application could not be loaded, in words; and its files, watched until they change."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from multisite.vhosts.applications import Application

__all__ = ["reason", "watch_files"]

_DECLARED_TWICE = re.compile(r"Table '([^']+)' is already defined for this MetaData instance")


def reason(application: Application, error: BaseException, applications: Iterable[Application]) -> str:
    """Return why `application` could not be loaded, in one line.

    `applications` are all of the process: where two of them declare the same table, the other one is named.
    """
    for each in _chain(error):
        found = _DECLARED_TWICE.search(_text_of(each))
        if found and type(each).__name__ == "InvalidRequestError":
            return _explain_declared_twice(found[1], each, application, applications)
    return f"{type(error).__name__}: {' '.join(_text_of(error).split())}".removesuffix(": ")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        # It is the application's, and may be as broken as that is.
        return "its text cannot be made"


def _explain_declared_twice(
    table: str, error: BaseException, application: Application, applications: Iterable[Application]
) -> str:
    metadata = _metadata_of(error.__traceback__)
    for other in applications:
        owner = _declared_in(table, metadata, other.modules) if other is not application else None
        if owner is not None:
            return (
                f"it declares the table '{table}', which {other.title} has declared on the same MetaData ({owner}): "
                "give each application a declarative Base of its own, or let both import one model"
            )
    if application.last_load is not None:
        return f"it declares the table '{table}', which its attempt before has declared and left behind: restart"
    return f"it declares the table '{table}' twice on the same MetaData"


def _metadata_of(trace: TracebackType | None) -> Any:
    """Return the MetaData that refused a table, out of SQLAlchemy's own frame; None if it is not there."""
    metadata = None
    for frame, _line in traceback.walk_tb(trace):
        found = frame.f_locals.get("metadata")
        if type(found).__name__ == "MetaData":
            metadata = found
    return metadata


def _declared_in(table: str, metadata: Any, modules: Iterable[str]) -> str | None:
    """Return what declares `table` on `metadata` in one of `modules`, as `module.name`; None if nothing does."""
    # What modules hold may do anything when it is asked for an attribute, so its own dictionary is looked into.
    for module in sorted(modules):
        for name, value in list(getattr(sys.modules.get(module), "__dict__", {}).items()):
            found: Any = value.__dict__.get("__table__") if isinstance(value, type) else value
            if type(found).__name__ == "Table" and found.key == table and found.metadata is metadata:
                return f"{module}.{name}"
    return None


def watch_files(error: BaseException) -> None:
    """Under `pserve --reload`, let the process begin anew when a file changes that has to do with `error`.

    hupper watches what was imported, and a module that could not be imported is not among that.
    """
    hupper = sys.modules.get("hupper")
    if hupper is not None and hupper.is_active():
        hupper.get_reloader().watch_files(sorted(_files_of(error)))


def _files_of(error: BaseException) -> set[str]:
    names = set()
    for each in _chain(error):
        names |= {frame.filename for frame in traceback.extract_tb(each.__traceback__)}
        names.add(str(getattr(each, "filename", None)))  # of a SyntaxError, which has no frame there
    return {str(Path(name).absolute()) for name in names if Path(name).is_file()}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and what it came from, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
