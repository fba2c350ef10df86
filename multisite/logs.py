"""Logging: the site and the request id of each record.

`SiteFormatter` works in any logging configuration; its `format` may contain `%(site)s` and `%(request_id)s`. An ini
file can name the class of a formatter, but no filter before Python 3.12. `SiteFilter` does the same for other
formatters, such as those that write JSON.

`config.include("multisite.logs")` gives each request an id, in its records and in the X-Request-ID of its response.
Without the include, the id is `-`; the site works without it.
"""

from __future__ import annotations

import logging
import re
import secrets
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from multisite.core import current_site
from multisite.core.current_site import Scope, current_scope
from multisite.core.keys import SETTINGS

if TYPE_CHECKING:  # Logging is configured before anything else is imported, and by commands without Pyramid.
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
"""Longer messages are truncated: many contain text sent by clients, which may be of any length."""

REQUEST_ID = "multisite.request_id"
"""WSGI environ key of the request's id, which pyramid_retry's further attempts keep."""

NONE, ALL = "-", "*"
"""Values of `site` without a site, and within `all_sites`."""

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}").fullmatch
"""Matches the ids that are accepted from a proxy; none of them can end a field or a line."""

_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that may end or change a displayed line, except newlines; and lone surrogates, which cannot be encoded and
would lose the record."""


def current_request_id() -> str | None:
    """Return the id of the current request, or None outside of a request and without the tween."""
    return current_site.request_id.get()


def annotate_record(record: logging.LogRecord) -> None:
    """Set the attributes `site` and `request_id` of `record` from the current thread, unless they are set already."""
    if not hasattr(record, "site"):
        record.site = _format_scope(_scope_of(record))
    if not hasattr(record, "request_id"):
        record.request_id = current_site.request_id.get() or NONE


def _format_scope(scope: Scope | None) -> str:
    if scope is None:
        return NONE
    return ALL if scope.site is None else str(scope.site)


def _scope_of(record: logging.LogRecord) -> Scope | None:
    """Return the scope of a record; for a statement that of its session, which may differ from the current site."""
    if record.name.startswith("sqlalchemy.engine") and (pin := _pin_of_statement()) is not None:
        scope: Scope | None = pin.scope
        return scope
    return current_scope()


def _pin_of_statement() -> Any:
    """Return the pin of the connection that is logging, or None."""
    frame = sys._getframe()
    for _ in range(20):
        if frame.f_back is None:
            return None
        frame = frame.f_back
        if frame.f_code.co_name in {"_log_info", "_log_debug"}:
            # PINNED of multisite.scoping.pin, which is not imported here: a process may need only the logs.
            return getattr(frame.f_locals.get("self"), "multisite_pin", None)
    return None


class SiteFilter(logging.Filter):
    """A filter for handlers that sets `site` and `request_id` on each record, and lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the attributes of `record`, and return True."""
        annotate_record(record)
        return True


class SiteFormatter(logging.Formatter):
    """A formatter that supports `%(site)s` and `%(request_id)s`.

    Text from outside cannot imitate a record: control characters in messages and tracebacks are escaped, and newlines
    are indented. Messages longer than `MAX_MESSAGE_CHARACTERS` are truncated.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of `record`, with the attributes set and control characters escaped."""
        annotate_record(record)
        # Formatters cache the traceback here for the next one; a plain formatter has cached it unescaped.
        left = record.exc_text
        record.exc_text = None if record.exc_info or not left else f"    {_escape_control_characters(left)}"
        try:
            return super().format(record)
        finally:
            record.exc_text = left or record.exc_text

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - Named by logging.
        """Return the message of `record` within the format, truncated and escaped."""
        message = record.message
        if len(message) > MAX_MESSAGE_CHARACTERS:
            message = f"{message[:MAX_MESSAGE_CHARACTERS]}... ({len(message):,} characters)"
        record.message = _escape_control_characters(message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return the traceback of `ei`, escaped and indented."""
        # Not truncated, since the error is at the end. It is escaped, since it may repeat text sent by a client.
        return f"    {_escape_control_characters(super().formatException(ei))}"


def _escape_control_characters(message: str) -> str:
    escaped = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), message)
    return escaped.replace("\n", "\n    ")


def request_id_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """Return a tween that gives each request an id: a valid one from the configured header, or a new one."""
    header: str | None = registry[SETTINGS].request_id_header
    key = None if header is None else f"HTTP_{header.upper().replace('-', '_')}"

    def request_id_tween(request: Request) -> Response:
        environ = request.environ
        found = environ.get(REQUEST_ID)
        if found is None:
            sent = environ.get(key, "") if key is not None else ""
            found = environ[REQUEST_ID] = sent if _ID(sent) else secrets.token_hex(8)
        token = current_site.request_id.set(found)
        try:
            response = handler(request)
        finally:
            current_site.request_id.reset(token)
        response.headers["X-Request-ID"] = found
        return response

    return request_id_tween


def includeme(config: Configurator) -> None:
    """Add a tween above the one that finds the site, which gives each request an id. Includes multisite."""
    from pyramid.tweens import INGRESS

    from multisite.web.includes import with_multisite

    with_multisite(config)
    config.add_tween(
        "multisite.logs.request_id_tween_factory", under=INGRESS, over="multisite.web.tween.site_tween_factory"
    )
