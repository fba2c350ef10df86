"""Watch the responses of Pyramid's router: bodies, headers and cookies."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from io import BytesIO
from typing import Any

from pyramid.router import Router

from multisite.core.current_site import current_scope
from multisite.testing.leak import LeakDetector
from multisite.testing.seed import CANARY_HOST

__all__ = ["watch_responses"]

_TAIL = 200
"""How many characters of a chunk are searched again with the next one, since a canary may span both."""


def watch_responses(detector: LeakDetector, stack: ExitStack) -> None:
    """Let `detector` inspect every response, after requesting the same page for the canary site."""
    plain = Router.__call__

    def call(router: Any, environ: dict[str, Any], start_response: Any) -> Any:
        if _host(environ) == CANARY_HOST or detector.allows(current_scope()):
            return plain(router, environ, start_response)
        detector.watch(router.registry)
        if not detector.is_watched(router.registry):
            return plain(router, environ, start_response)
        detector.probe(router.registry, _host(environ))
        if detector.shadow and environ["REQUEST_METHOD"] == "GET":
            _request_as_canary(detector, router, plain, environ)
        return _inspected(detector, router, plain, environ, start_response)

    Router.__call__ = call
    stack.callback(setattr, Router, "__call__", plain)


def _host(environ: dict[str, Any]) -> str:
    return str(environ.get("HTTP_HOST", "")).partition(":")[0]


def _inspected(detector: LeakDetector, router: Any, plain: Any, environ: dict[str, Any], start_response: Any) -> Any:
    """Return the application's response, inspected."""
    request = f"{environ['REQUEST_METHOD']} {_host(environ)}{environ.get('PATH_INFO', '')}"
    headers: list[tuple[str, str]] = []

    def start(status: str, found: list[tuple[str, str]], *exc_info: Any) -> Any:
        headers[:] = found
        for name, value in found:
            is_cookie = name.lower() == "set-cookie"
            channel, what = ("cookie", value.partition("=")[0]) if is_cookie else ("header", name)
            detector.inspect(channel, value, f"{what} of {request}", encoded=True)
        return start_response(status, found, *exc_info)

    body = plain(router, environ, start)
    if isinstance(body, (list, tuple)):
        _BodyReader(detector, headers, request).inspect(b"".join(body), last=True)
        return body
    return _WatchedBody(body, _BodyReader(detector, headers, request))


class _BodyReader:
    """Inspects a body chunk by chunk, compressed or not."""

    def __init__(self, detector: LeakDetector, headers: list[tuple[str, str]], request: str) -> None:
        self._detector = detector
        self._headers = headers
        self._request = request
        self._tail = ""
        self._inflate: Any = None

    def inspect(self, piece: bytes, *, last: bool = False) -> None:
        encoding = next((value for name, value in self._headers if name.lower() == "content-encoding"), None)
        if encoding in {"gzip", "deflate"}:
            if self._inflate is None:
                self._inflate = zlib.decompressobj(47 if encoding == "gzip" else -15)
            with suppress(zlib.error):
                piece = self._inflate.decompress(piece)
        text = self._tail + piece.decode("utf-8", "replace")
        self._tail = "" if last else text[-_TAIL:]
        self._detector.inspect("body", text, self._request)


class _WatchedBody:
    """Wraps a streaming body and inspects it while it is sent."""

    def __init__(self, body: Any, reader: _BodyReader) -> None:
        self._body = body
        self._pieces = iter(body)
        self._reader = reader

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece: bytes = next(self._pieces)
        self._reader.inspect(piece)
        return piece

    def close(self) -> None:
        if hasattr(self._body, "close"):
            self._body.close()


_DROPPED = ("HTTP_COOKIE", "HTTP_AUTHORIZATION", "HTTP_IF_", "HTTP_RANGE")
_COPIED = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SERVER_", "REMOTE_", "HTTP_", "wsgi.")


def _request_as_canary(detector: LeakDetector, router: Any, plain: Any, environ: dict[str, Any]) -> None:
    """Request the same page for the canary site, so that what it leaves in the process can leak into the real one."""
    shadow = {
        key: value for key, value in environ.items() if key.startswith(_COPIED) and not key.startswith(_DROPPED)
    } | {"HTTP_HOST": CANARY_HOST, "SCRIPT_NAME": "", "wsgi.input": BytesIO(), "CONTENT_LENGTH": "0"}
    # Neither the response nor an error matters.
    with detector.paused(), suppress(Exception):
        body = plain(router, shadow, lambda *_args: lambda _data: None)
        try:
            for _piece in body:
                pass
        finally:
            if hasattr(body, "close"):
                body.close()
