"""Forms: the query and the posted form of a request. One that cannot be read is a 400, and none takes quadratic time.

WebOb raises for a query that is not UTF-8 and for several kinds of bodies, which an application would answer with 500.
It reads a body of `multipart/form-data` by Python's cgi module. That takes each part for a mail: it reads headers
without a limit, and splits their parameters in a time that grows with the square of their length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.exceptions import URLDecodeError
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request
from webob.request import BaseRequest

__all__ = ["MAX_PART_HEADER_BYTES", "MAX_PART_PARAMETERS", "readable"]

MAX_PART_HEADER_BYTES = 4_096
"""The longest headers of one part of a form; browsers send the names of a field and of a file, and a media type."""

MAX_PART_PARAMETERS = 32
"""How many semicolons, at most, the headers of one part have: of two parameters, and of the name of a file."""

_PARSED = "webob._parsed_post_vars"
"""The key in the WSGI environ under which WebOb remembers a form, with the body that it has read it from."""

Get = Callable[[Any], Any]


def readable(cls: type) -> dict[str, property]:
    """Return the properties `GET` and `POST` for requests of the class `cls`, over its own; none if it is not WebOb's.

    `GET` raises Pyramid's `URLDecodeError` for a query that is not UTF-8, `POST` raises `HTTPBadRequest` for a body
    that is not the form that its Content-Type says. So does `params`, which is made of both.
    """
    if not issubclass(cls, BaseRequest):
        return {}
    return {
        name: property(_with(read, own.fget), own.fset, own.fdel, own.__doc__)
        for name, read in (("GET", _query), ("POST", _form))
        if isinstance(own := getattr(cls, name), property) and own.fget is not None
    }


def _with(read: Callable[[Get, Request], Any], get: Get) -> Get:
    return lambda request: read(get, request)


def _query(get: Get, request: Request) -> Any:
    try:
        return get(request)
    except UnicodeDecodeError as error:
        # What Pyramid raises for a path that is not.
        raise URLDecodeError(error.encoding, error.object, error.start, error.end, error.reason) from error


def _form(get: Get, request: Request) -> Any:
    try:
        if request.content_type == "multipart/form-data":
            return _read_parts(get, request)
        return get(request)
    except (ValueError, RecursionError, DeprecationWarning) as error:
        # No boundary, one within another without end, or a charset that is not UTF-8, for which WebOb raises a warning.
        raise HTTPBadRequest("The form of this request cannot be read.") from error


def _read_parts(get: Get, request: Request) -> Any:
    environ = request.environ
    if _PARSED in environ and environ[_PARSED][1] is environ["wsgi.input"]:
        return get(request)
    request.make_body_seekable()
    body = environ["wsgi.input"]
    environ["wsgi.input"] = _Parts(body)
    try:
        form = get(request)
    finally:
        environ["wsgi.input"] = body
    if _PARSED in environ:
        environ[_PARSED] = form, body
    return form


class _Parts:
    """The body of a form, whose parts have headers of limited length: more raises `ValueError`.

    The cgi module reads a line of headers, and what comes before the first part, by `readline()`, and all else by
    calls that say how much it wants.
    """

    def __init__(self, body: Any) -> None:
        self._body = body
        self.seek = body.seek
        self._begin_part()

    def _begin_part(self) -> None:
        self._bytes = self._parameters = 0

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
        self._bytes += len(line)
        self._parameters += line.count(b";")
        if self._bytes > MAX_PART_HEADER_BYTES or self._parameters > MAX_PART_PARAMETERS:
            raise ValueError("the headers of a part are too long")
        return line
