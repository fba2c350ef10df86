"""Validation of rows of `sites` and `domains` that the constraints of the tables should have rejected.

A constraint can be dropped, a dump restored without one, and SQLite accepts any type in any column. The directory skips
an invalid row, logs it, and serves the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from multisite.core import domains, program
from multisite.core.domains import Domain
from multisite.core.lazy import lazy_pattern
from multisite.errors import InvalidHost, escape_for_message

__all__ = ["AVAILABILITIES", "KINDS", "STATUSES", "domain_row_error", "is_theme_name", "log_once", "site_row_error"]

log = logging.getLogger(__name__)

STATUSES = frozenset({"pending", "active"})
AVAILABILITIES = frozenset({"open", "maintenance", "disabled", "removing", "removed"})
KINDS = frozenset({"canonical", "alias", "redirect"})
"""The values of `sites.status`, `sites.availability` and `domains.kind`, as in the CHECKs of `models`."""

MAX_LOGGED = 1000
"""How many errors are remembered as logged; after that, some are logged again."""

_logged: dict[str, None] = {}

_THEME_NAME = lazy_pattern(r"[a-z0-9][a-z0-9_-]{0,63}")
"""The same rule as the CHECK of the column `theme`."""


def is_theme_name(name: str) -> bool:
    """Return whether a theme can have this name, whether or not it exists."""
    return _THEME_NAME.fullmatch(name) is not None


def domain_row_error(host: Any, port: Any, path: Any, kind: Any) -> str | None:
    """Return what is wrong with these columns of a row of `domains`, or None if they are valid."""
    return next(_domain_row_errors(host, port, path, kind), None)


def _domain_row_errors(host: Any, port: Any, path: Any, kind: Any) -> Iterator[str]:
    if kind not in KINDS:
        yield f"its kind is '{escape_for_message(kind)}'"
    if not isinstance(port, int) or not 0 <= port <= 65535:
        yield f"its port is '{escape_for_message(port)}'"
    if not isinstance(host, str) or not isinstance(path, str):
        yield "its host or its path is not text"
    stored = Domain(host, port or None, path)
    try:
        parsed = domains.parse(str(stored), underscores=True)
    except InvalidHost as error:
        yield str(error)
        return
    if parsed != stored:
        yield f"'{escape_for_message(stored)}' should be '{parsed}'"
    if kind == "canonical" and stored.is_wildcard:
        yield "a wildcard cannot be canonical"


def site_row_error(
    status: Any, availability: Any, theme: Any, until: Any, copy_of: Any, texts: tuple[Any, ...]
) -> str | None:
    """Return what is wrong with these columns of a row of `sites`, or None if they are valid.

    `texts` are its name, folder, locale and time zone; `until` is `maintenance_until` as the driver returns it.
    """
    return next(_site_row_errors(status, availability, theme, until, copy_of, texts), None)


def _site_row_errors(
    status: Any, availability: Any, theme: Any, until: Any, copy_of: Any, texts: tuple[Any, ...]
) -> Iterator[str]:
    if status not in STATUSES:
        yield f"its status is '{escape_for_message(status)}'"
    if availability not in AVAILABILITIES:
        yield f"its availability is '{escape_for_message(availability)}'"
    if not all(isinstance(text, str) and text for text in texts):
        yield "its name, folder, locale or timezone is not text, or empty"
    folder = str(texts[1])
    if folder.startswith(".") or any(sign in folder for sign in "/\\\0"):
        yield f"its folder is '{escape_for_message(folder)}'"
    if theme is not None and not (isinstance(theme, str) and is_theme_name(theme)):
        yield f"its theme is '{escape_for_message(theme)}'"
    if not _is_time(until):
        yield f"its maintenance_until is '{escape_for_message(until)}'"
    if copy_of is not None and not (isinstance(copy_of, str) and copy_of):
        # An application that holds back the mail of copies would take an empty text for an original.
        yield f"its copy_of is '{escape_for_message(copy_of)}'"


def _is_time(value: Any) -> bool:
    if value is None or isinstance(value, datetime):
        return True
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def log_once(row: str, error: str) -> None:
    """Log that `row`, such as "row 7 of domains", is skipped; once per error, however often the row is read."""
    line = f"{row} is skipped: {error}"
    if line in _logged:
        return
    if len(_logged) >= MAX_LOGGED:
        _logged.clear()
    _logged[line] = None
    refresh = program.command("refresh")
    log.error("invalid row in the directory of sites: %s; correct it in the table, then run: %s", line, refresh)
