"""The door of responses: Pyramid's router, with somebody who reads every body, header and cookie that it gives."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pyramid.router import Router

from multisite.current import current_scope
from multisite.testing.seeding import CANARY_HOST

if TYPE_CHECKING:
    from multisite.testing.leaks import Detector

__all__ = ["watch_responses"]

_TAIL = 200
"""How much of a piece of a body is looked at again with the next one: a canary may lie across both."""


def watch_responses(detector: Detector, stack: ExitStack) -> None:
    """Let `detector` look at what applications answer, and ask for each page as the canaries' site first."""
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
        return _watched_response(detector, router, plain, environ, start_response)

    Router.__call__ = call
    stack.callback(setattr, Router, "__call__", plain)


def _host(environ: dict[str, Any]) -> str:
    return str(environ.get("HTTP_HOST", "")).partition(":")[0]


def _watched_response(detector: Detector, router: Any, plain: Any, environ: dict[str, Any], start_response: Any) -> Any:
    """Let the application answer, and look at what it says."""
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
    """Looks at a body, piece by piece, compressed or not."""

    def __init__(self, detector: Detector, headers: list[tuple[str, str]], request: str) -> None:
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
    """A body that is looked at while it is sent."""

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
_KEPT = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SERVER_", "REMOTE_", "HTTP_", "wsgi.")


def _request_as_canary(detector: Detector, router: Any, plain: Any, environ: dict[str, Any]) -> None:
    """Ask for the same page as the canaries' site: what it leaves behind is there for the request proper."""
    shadow = {
        key: value for key, value in environ.items() if key.startswith(_KEPT) and not key.startswith(_DROPPED)
    } | {"HTTP_HOST": CANARY_HOST, "SCRIPT_NAME": "", "wsgi.input": BytesIO(), "CONTENT_LENGTH": "0"}
    # What answers is nobody's business, and neither is whether it does.
    with detector.paused(), suppress(Exception):
        body = plain(router, shadow, lambda *_args: lambda _data: None)
        try:
            for _piece in body:
                pass
        finally:
            if hasattr(body, "close"):
                body.close()
