"""Responses without an application: a line of plain text that reveals no host, path or application."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

__all__ = ["Environ", "StartResponse", "WSGIApplication", "respond"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApplication = Callable[[Environ, StartResponse], Iterable[bytes]]

_TEXTS = {
    400: "Bad Request: the Host of this request is not a host.\n",
    404: "There is nothing here.\n",
    503: "Service Unavailable: please try again in a moment.\n",
}


def respond(
    environ: Environ, start_response: StartResponse, status: int, *, retry_after_seconds: int | None = None
) -> Iterable[bytes]:
    """Respond with 400, 404 or 503, marked as not cacheable."""
    text = _TEXTS[status].encode("ascii")
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(text))),
        ("Cache-Control", "no-store"),
    ]
    if retry_after_seconds is not None:
        headers.append(("Retry-After", str(retry_after_seconds)))
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [text]
