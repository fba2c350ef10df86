"""Parse queries and forms safely: malformed ones are a 400, and none takes quadratic time.

WebOb raises errors for a query that is not valid UTF-8 and for several malformed bodies, which would become a 500.
It parses `multipart/form-data` with Python's cgi module, which treats each part as an e-mail message: the length of
the headers is unlimited, and splitting their parameters takes quadratic time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.exceptions import URLDecodeError
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request
from webob.request import BaseRequest

__all__ = ["MAX_PART_HEADER_BYTES", "MAX_PART_PARAMETERS", "safe_properties"]

MAX_PART_HEADER_BYTES = 4_096
"""Maximum size of the headers of a part. Browsers send the names of the field and the file, and a media type."""

MAX_PART_PARAMETERS = 32
"""Maximum number of semicolons in the headers of a part: one before each of two parameters, and some in a file name."""

_PARSED = "webob._parsed_post_vars"
"""WebOb's environ key of the parsed form, with the body that it was read from."""

Getter = Callable[[Any], Any]


def safe_properties(cls: type) -> dict[str, property]:
    """Return safe properties `GET` and `POST` for the request class `cls`; none if it is not a WebOb request.

    `GET` raises Pyramid's `URLDecodeError` for a query that is not valid UTF-8. `POST` raises `HTTPBadRequest` for a
    body that does not match its Content-Type. `params`, which combines both, raises either.
    """
    if not issubclass(cls, BaseRequest):
        return {}
    return {
        name: property(_getter(read, own.fget), own.fset, own.fdel, own.__doc__)
        for name, read in (("GET", _read_query), ("POST", _read_form))
        if isinstance(own := getattr(cls, name), property) and own.fget is not None
    }


def _getter(read: Callable[[Getter, Request], Any], get: Getter) -> Getter:
    return lambda request: read(get, request)


def _read_query(get: Getter, request: Request) -> Any:
    try:
        return get(request)
    except UnicodeDecodeError as error:
        # The exception that Pyramid raises for a path.
        raise URLDecodeError(error.encoding, error.object, error.start, error.end, error.reason) from error


def _read_form(get: Getter, request: Request) -> Any:
    try:
        if request.content_type == "multipart/form-data":
            return _read_parts(get, request)
        return get(request)
    except (ValueError, RecursionError, DeprecationWarning) as error:
        # A missing boundary, endless nesting, or a charset other than UTF-8, for which WebOb raises a warning.
        raise HTTPBadRequest("The form of this request cannot be read.") from error


def _read_parts(get: Getter, request: Request) -> Any:
    environ = request.environ
    if _PARSED in environ and environ[_PARSED][1] is environ["wsgi.input"]:
        return get(request)
    request.make_body_seekable()
    body = environ["wsgi.input"]
    environ["wsgi.input"] = _PartLimits(body)
    try:
        form = get(request)
    finally:
        environ["wsgi.input"] = body
    if _PARSED in environ:
        environ[_PARSED] = form, body
    return form


class _PartLimits:
    """The body of a form, which raises `ValueError` if the headers of a part are too long.

    The cgi module reads header lines, and the preamble before the first part, with `readline()` without a size. It
    passes a size for everything else.
    """

    def __init__(self, body: Any) -> None:
        self._body = body
        self.seek = body.seek
        self._begin_part()

    def _begin_part(self) -> None:
        self._header_bytes = self._parameters = 0

    def read(self, size: int = -1) -> bytes:
        self._begin_part()
        data: bytes = self._body.read(size)
        return data

    def readline(self, size: int = -1) -> bytes:
        if size >= 0:
            self._begin_part()
            line: bytes = self._body.readline(size)
            return line
        line = self._body.readline(MAX_PART_HEADER_BYTES + 1)
        self._header_bytes += len(line)
        self._parameters += line.count(b";")
        if self._header_bytes > MAX_PART_HEADER_BYTES or self._parameters > MAX_PART_PARAMETERS:
            raise ValueError("the headers of a part are too long")
        return line
