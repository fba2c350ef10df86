"""Faults: rows of `sites` and `domains` that the tables refuse, and may hold all the same.

A constraint can be dropped, a dump restored without one, and SQLite takes any type in any column. What is not as it has
to be is left out of the directory, so that nothing is served by half, and the rest goes on; the log says which row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from multisite import domains, program
from multisite.directory.themes import is_theme_name
from multisite.domains import Domain
from multisite.errors import InvalidHost, escape_for_message

__all__ = ["AVAILABILITIES", "KINDS", "STATUSES", "domain_row_error", "log_once", "site_row_error"]

log = logging.getLogger(__name__)

STATUSES = frozenset({"pending", "active"})
AVAILABILITIES = frozenset({"open", "maintenance", "disabled", "removing", "removed"})
KINDS = frozenset({"canonical", "alias", "redirect"})

MAX_REPORTED = 1000
"""How many rows are remembered as reported; after that, some are reported again."""

_reported: dict[str, None] = {}


def domain_row_error(host: Any, port: Any, path: Any, kind: Any) -> str | None:
    """Return what is wrong with these columns of a row of `domains`, None for nothing."""
    return next(_domain_row_errors(host, port, path, kind), None)


def _domain_row_errors(host: Any, port: Any, path: Any, kind: Any) -> Iterator[str]:
    if kind not in KINDS:
        yield f"its kind is '{escape_for_message(kind)}'"
    if not isinstance(port, int) or not 0 <= port <= 65535:
        yield f"its port is '{escape_for_message(port)}'"
    if not isinstance(host, str) or not isinstance(path, str):
        yield "its host or its path is no text"
    written = Domain(host, port or None, path)
    try:
        parsed = domains.parse(str(written), underscores=True)
    except InvalidHost as error:
        yield str(error)
        return
    if parsed != written:
        yield f"'{escape_for_message(written)}' is spelt '{parsed}'"
    if kind == "canonical" and written.is_wildcard:
        yield "a wildcard cannot be canonical"


def site_row_error(status: Any, availability: Any, theme: Any, until: Any, texts: tuple[Any, ...]) -> str | None:
    """Return what is wrong with these columns of a row of `sites`, None for nothing.

    `texts` are its name, folder, locale and time zone; `until` is what the driver gives for `maintenance_until`.
    """
    return next(_site_row_errors(status, availability, theme, until, texts), None)


def _site_row_errors(status: Any, availability: Any, theme: Any, until: Any, texts: tuple[Any, ...]) -> Iterator[str]:
    if status not in STATUSES:
        yield f"its status is '{escape_for_message(status)}'"
    if availability not in AVAILABILITIES:
        yield f"its availability is '{escape_for_message(availability)}'"
    if not all(isinstance(text, str) and text for text in texts):
        yield "its name, folder, locale or timezone is no text"
    folder = str(texts[1])
    if folder.startswith(".") or any(sign in folder for sign in "/\\\0"):
        yield f"its folder is '{escape_for_message(folder)}'"
    if theme is not None and not (isinstance(theme, str) and is_theme_name(theme)):
        yield f"its theme is '{escape_for_message(theme)}'"
    if not _is_time(until):
        yield f"its maintenance_until is '{escape_for_message(until)}'"


def _is_time(value: Any) -> bool:
    if value is None or isinstance(value, datetime):
        return True
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def log_once(row: str, fault: str) -> None:
    """Log that `row`, such as "row 7 of domains", is left out; once for each fault, however often it is read."""
    line = f"{row} is left out: {fault}"
    if line in _reported:
        return
    if len(_reported) >= MAX_REPORTED:
        _reported.clear()
    _reported[line] = None
    refresh = program.command("refresh")
    log.error("the directory of sites is faulty: %s; correct it in the table, then run: %s", line, refresh)
