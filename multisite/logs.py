"""Logs: the site and the request that each record is about.

`SiteFormatter` is a formatter for any logging configuration: its `format` may say `%(site)s` and `%(request_id)s`. An
ini can name the class of a formatter, and no filter before Python 3.12; elsewhere `SiteFilter` does the same for
formatters of other kinds, such as those that write JSON.

`config.include("multisite.logs")` gives each request an id, which is in its records and in its answer's X-Request-ID.
Without it the id is `-`; the site needs nothing.
"""

from __future__ import annotations

import logging
import re
import secrets
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from multisite import site as current
from multisite.site import Scope, current_scope

if TYPE_CHECKING:  # A logging configuration is read before anything is imported, and by commands without Pyramid.
    from pyramid.config import Configurator
    from pyramid.registry import Registry
    from pyramid.request import Request
    from pyramid.response import Response

__all__ = [
    "MAX_MESSAGE_CHARACTERS",
    "SiteFilter",
    "SiteFormatter",
    "current_request_id",
    "includeme",
    "request_id_tween_factory",
]

MAX_MESSAGE_CHARACTERS = 10_000
"""A longer message is cut: what visitors send is in many, and may be of any length."""

REQUEST_ID = "multisite.request_id"
"""The key in the WSGI environ of the id of a request, which stays the same when pyramid_retry tries it again."""

NONE, ALL = "-", "*"
"""What stands in the place of a site where there is none, and within `all_sites`."""

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}").fullmatch
"""Matches the ids that are taken over from a proxy. None of them ends a field or a line."""

_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What may end or change a line for whoever shows it, except for the end of a line itself; and halves of characters,
for which there are no bytes, so that the record would be lost."""


def current_request_id() -> str | None:
    """Return the id of the request that the running code works for; None outside of any, and without the tween."""
    return current.request_id.get()


def describe(record: logging.LogRecord) -> None:
    """Give `record` the attributes `site` and `request_id`, unless it has them: as of the thread that made it."""
    if not hasattr(record, "site"):
        record.site = _spell(_scope_of(record))
    if not hasattr(record, "request_id"):
        record.request_id = current.request_id.get() or NONE


def _spell(scope: Scope | None) -> str:
    if scope is None:
        return NONE
    return ALL if scope.site is None else str(scope.site)


def _scope_of(record: logging.LogRecord) -> Scope | None:
    """Return whom a record is about: for a statement its session's site, which may be another than is current."""
    if record.name.startswith("sqlalchemy.engine") and (pin := _pin_of_statement()) is not None:
        scope: Scope | None = pin.scope
        return scope
    return current_scope()


def _pin_of_statement() -> Any:
    """Return the pin of the connection that is writing its log, None if it has none."""
    frame = sys._getframe()
    for _ in range(20):
        if frame.f_back is None:
            return None
        frame = frame.f_back
        if frame.f_code.co_name in {"_log_info", "_log_debug"}:
            # The attribute is that of multisite.scoping.pin, which a process that only logs need not import.
            return getattr(frame.f_locals.get("self"), "_multisite_pin", None)
    return None


class SiteFilter(logging.Filter):
    """A filter, of a handler, that lets everything pass and puts `site` and `request_id` on it."""

    def filter(self, record: logging.LogRecord) -> bool:
        describe(record)
        return True


class SiteFormatter(logging.Formatter):
    """A formatter whose format may say `%(site)s` and `%(request_id)s`.

    What comes from outside cannot look like a record of its own: in messages and tracebacks control characters are
    escaped and new lines indented. A message that is longer than `MAX_MESSAGE_CHARACTERS` is cut.
    """

    def format(self, record: logging.LogRecord) -> str:
        describe(record)
        # Formatters leave the text of a traceback here for the next one: a plain one has left it as it came.
        left = record.exc_text
        record.exc_text = None if record.exc_info or not left else f"    {_tame(left)}"
        try:
            return super().format(record)
        finally:
            record.exc_text = left or record.exc_text

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - The name is that of logging.
        message = record.message
        if len(message) > MAX_MESSAGE_CHARACTERS:
            message = f"{message[:MAX_MESSAGE_CHARACTERS]}... ({len(message):,} characters)"
        record.message = _tame(message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        # In full, since what it is about stands at the end; an error may repeat what a visitor has sent.
        return f"    {_tame(super().formatException(ei))}"


def _tame(message: str) -> str:
    escaped = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), message)
    return escaped.replace("\n", "\n    ")


def request_id_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """Return a tween that gives each request an id: the one that a proxy has sent, where that is asked for."""
    header: str | None = registry["multisite.settings"].request_id_header
    key = None if header is None else f"HTTP_{header.upper().replace('-', '_')}"

    def request_id_tween(request: Request) -> Response:
        environ = request.environ
        found = environ.get(REQUEST_ID)
        if found is None:
            sent = environ.get(key, "") if key is not None else ""
            found = environ[REQUEST_ID] = sent if _ID(sent) else secrets.token_hex(8)
        token = current.request_id.set(found)
        try:
            response = handler(request)
        finally:
            current.request_id.reset(token)
        response.headers["X-Request-ID"] = found
        return response

    return request_id_tween


def includeme(config: Configurator) -> None:
    """Give each request an id: adds a tween over the one that finds the site. Includes multisite."""
    from pyramid.tweens import INGRESS

    from multisite.includes import with_multisite

    with_multisite(config)
    config.add_tween(
        "multisite.logs.request_id_tween_factory", under=INGRESS, over="multisite.tween.site_tween_factory"
    )
