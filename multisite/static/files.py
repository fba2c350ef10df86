"""A static file that has been found and checked: its forms (compressed or not), their headers, and how to send it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from pyramid.request import Request
from pyramid.response import FileIter, Response
from webob.acceptparse import create_accept_encoding_header

from multisite.core.lru_cache import LRUCache
from multisite.templates.assets import HASH_DIGITS, OpenAsset, content_type
from multisite.templates.compiled import SETTLED_NS
from multisite.templates.real_file import FileVersion, reopen_real_file

__all__ = [
    "HASHED_SECONDS",
    "PLAIN_SECONDS",
    "FileResponse",
    "Sendable",
    "StaticFile",
    "describe",
    "respond",
    "respond_again",
    "sendable",
]

HASHED_SECONDS = 31_536_000
"""Cache lifetime of a file requested with the hash of its content: one year, the conventional maximum."""

PLAIN_SECONDS = 3600
"""Cache lifetime of a file requested without the hash of its content."""

_READ_BYTES = 262_144
"""Files up to this size are read into memory; larger ones are streamed."""

_KEPT_BYTES = 65_536
"""The content of files up to this size is kept for the next request."""

_contents: LRUCache[FileVersion, bytes] = LRUCache(256)
"""The content of small files by version, at most 16 MiB."""

_SHORT_CHARACTERS = 200
"""The longest `Accept-Encoding` that is remembered; those of browsers have fewer than 50 characters."""

Headers = list[tuple[str, str]]
Environ = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a file: the version that was hashed, its entity tag, and its headers.

    The headers are those for a URL with the hash of the content, and those for any other; all but Content-Length.
    `Content-Type` is the first of them.
    """

    version: FileVersion
    etag: str
    hashed_headers: tuple[tuple[str, str], ...]
    plain_headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file that may be served. `forms` are by content coding; None is the uncompressed one.

    `query` is the query of the URL with its hash: `v=5f2c0e1b9a77`.
    """

    query: str
    forms: Mapping[str | None, Form]


class Sendable(NamedTuple):
    """What the server is told to send."""

    status: str
    headers: Headers
    body: list[bytes]


class FileResponse(Response):  # type: ignore[misc]  # Pyramid has no types.
    """A response that answers the usual requests itself: without conditions, or with the entity tag of the file.

    WebOb answers all others; its general code takes four times as long for a 304.
    """

    default_conditional_response = True

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Send the response, or a 304 if the client has it."""
        headers, etag = self.headerlist, None
        for name, value in headers:
            if name == "ETag":
                etag = value
            elif name == "Location":  # Added by a tween; WebOb makes it absolute.
                etag = None
                break
        sent = environ.get("HTTP_IF_NONE_MATCH")
        is_plain = sent is None and "HTTP_RANGE" not in environ and "HTTP_IF_MODIFIED_SINCE" not in environ
        is_sent = self.status == "200 OK" and self.conditional_response
        if etag is None or not is_sent or not (is_plain or sent == etag) or environ["REQUEST_METHOD"] != "GET":
            found: Iterable[bytes] = super().__call__(environ, start_response)
            return found
        if is_plain:
            start_response("200 OK", list(headers))
            body: Iterable[bytes] = self.app_iter
            return body
        kept = [header for header in headers if header[0] not in ("Content-Type", "Content-Length")]
        start_response("304 Not Modified", kept)
        close = getattr(self.app_iter, "close", None)
        if close is not None:
            close()
        return ()


def describe(opened: Mapping[str | None, OpenAsset]) -> StaticFile:
    """Return the description of a file from its `opened` forms.

    Raises:
        OSError: It cannot be read.
    """
    plain = opened[None]
    # As a header, because WebOb's attribute adds a charset to all XML types, which declare their own.
    first = ("Content-Type", content_type(plain.path.name))
    # Hash before anything is sent, so that no older content is cached under a newer hash.
    query = f"v={plain.digest()[:HASH_DIGITS]}"
    forms = {}
    for coding, asset in opened.items():
        # No Last-Modified: once the site's own file is removed, the name is served from the theme or the shared layer
        # by a file that is often older, and a browser that revalidates by time would get a 304 for the wrong content.
        etag = f'"{asset.digest()[:32]}"'
        headers = [first, ("ETag", etag), ("Accept-Ranges", "bytes")]
        if coding is not None:
            headers.append(("Content-Encoding", coding))
        if len(opened) > 1:
            headers.append(("Vary", "Accept-Encoding"))
        headers.append(("X-Content-Type-Options", "nosniff"))
        forms[coding] = Form(
            asset.version,
            etag,
            (*headers, ("Cache-Control", f"public, max-age={HASHED_SECONDS}, immutable")),
            (*headers, ("Cache-Control", f"public, max-age={PLAIN_SECONDS}")),
        )
    return StaticFile(query, forms)


def respond(request: Request, file: StaticFile, opened: Mapping[str | None, OpenAsset]) -> Response:
    """Return the response with the best form of `file`, which the caller has `opened` and closes.

    Raises:
        OSError: It cannot be read.
    """
    environ = request.environ
    coding = _best_coding(environ, file)
    form, descriptor = file.forms[coding], opened[coding].file.fileno()
    if form.version.size_bytes > _READ_BYTES:
        return _streamed(environ, file, form, descriptor)
    return _response(environ, file, form, _read(form.version, descriptor))


def respond_again(request: Request, file: StaticFile) -> Response:
    """Return the response with the best form of `file`, which was described a moment ago.

    Raises:
        OSError: It is not the same file any more, or cannot be read.
    """
    environ = request.environ
    form = file.forms[_best_coding(environ, file)]
    version = form.version
    content = _contents.get(version)
    if content is not None:
        return _response(environ, file, form, content)
    descriptor = reopen_real_file(version)
    try:
        if version.size_bytes > _READ_BYTES:
            return _streamed(environ, file, form, descriptor)
        content = _read(version, descriptor)
    finally:
        os.close(descriptor)
    # A file that has just changed may change again with the same size and times.
    if 0 < len(content) <= _KEPT_BYTES and time.time_ns() - version.changed_ns > SETTLED_NS:
        _contents.set(version, content)
    return _response(environ, file, form, content)


def sendable(environ: Environ, file: StaticFile) -> Sendable | None:
    """Return what the response of `respond_again` sends, to a GET without conditions, or with the file's entity tag.

    Returns:
        None for other conditions, and if the content of the file is not in memory.
    """
    form = file.forms[_best_coding(environ, file)]
    content = _contents.get(form.version)
    if content is None:
        return None
    sent = environ.get("HTTP_IF_NONE_MATCH")
    if sent is None:
        if "HTTP_RANGE" in environ or "HTTP_IF_MODIFIED_SINCE" in environ:
            return None
        return Sendable("200 OK", _headers(environ, file, form, len(content)), [content])
    if sent != form.etag:
        return None
    return Sendable("304 Not Modified", list(_constant_headers(environ, file, form)[1:]), [])


def _best_coding(environ: Environ, file: StaticFile) -> str | None:
    """Return the content coding of the smallest form that the browser accepts; None for the uncompressed file."""
    forms = file.forms
    if len(forms) == 1:
        return None
    accepted = environ.get("HTTP_ACCEPT_ENCODING")
    if not accepted:
        return None
    find = _acceptable if len(accepted) <= _SHORT_CHARACTERS else _acceptable.__wrapped__
    codings = tuple(coding for coding in forms if coding is not None)
    choices: list[str | None] = [None, *find(accepted, codings)]
    return min(choices, key=lambda coding: forms[coding].version.size_bytes)


@lru_cache(maxsize=256)
def _acceptable(accepted: str, codings: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of `codings` that this `Accept-Encoding` accepts, the preferred ones first."""
    header = create_accept_encoding_header(accepted)
    # An invalid header is false.
    return tuple(coding for coding, _quality in header.acceptable_offers(codings)) if header else ()


def _read(version: FileVersion, descriptor: int) -> bytes:
    return os.pread(descriptor, version.size_bytes, 0) if version.size_bytes else b""


def _constant_headers(environ: Environ, file: StaticFile, form: Form) -> tuple[tuple[str, str], ...]:
    # Not request.GET, which raises if a parameter is not valid UTF-8.
    return form.hashed_headers if environ.get("QUERY_STRING") == file.query else form.plain_headers


def _headers(environ: Environ, file: StaticFile, form: Form, size_bytes: int) -> Headers:
    return [*_constant_headers(environ, file, form), ("Content-Length", str(size_bytes))]


def _response(environ: Environ, file: StaticFile, form: Form, content: bytes) -> Response:
    return FileResponse(headerlist=_headers(environ, file, form, len(content)), app_iter=[content])


def _streamed(environ: Environ, file: StaticFile, form: Form, descriptor: int) -> Response:
    # Duplicated, because the caller closes its own descriptor before this is sent.
    stream = os.fdopen(os.dup(descriptor), "rb")
    stream.seek(0)
    # A server that offers a wrapper sends the file by itself, unless only a part of it is wanted.
    wrap = environ.get("wsgi.file_wrapper") if "HTTP_RANGE" not in environ else None
    app_iter = FileIter(stream) if wrap is None else wrap(stream, _READ_BYTES)
    return FileResponse(headerlist=_headers(environ, file, form, form.version.size_bytes), app_iter=app_iter)
