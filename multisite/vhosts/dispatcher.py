"""The WSGI application in front of all others: finds the application of a request and dispatches to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from multisite.core.application import current_application
from multisite.core.concurrency import RETRY_AFTER_SECONDS, ClosingIterator, ConcurrencyLimit
from multisite.core.host_header import DEFAULT_PORTS, requested_host
from multisite.errors import InvalidHost
from multisite.vhosts.application import LazyApplication, Unavailable
from multisite.vhosts.responses import Environ, StartResponse, respond
from multisite.vhosts.routes import RouteTable

__all__ = ["Vhosts"]


class Vhosts:
    """Several applications behind one routing table.

    Args:
        applications: By the name that the lines of the table use.
        max_requests: How many requests each of them may work on at the same time; 0 for no limit.
        allow_underscores: Whether host names may contain underscores.
    """

    def __init__(
        self,
        table: RouteTable,
        applications: Mapping[str, LazyApplication],
        *,
        max_requests: int = 0,
        allow_underscores: bool = False,
    ) -> None:
        self.table = table
        self.allow_underscores = allow_underscores
        self.applications = applications
        self._limit = ConcurrencyLimit(max_requests) if max_requests else None

    def load_all(self) -> None:
        """Load the applications that are not loaded yet, one after the other."""
        for application in self.applications.values():
            try:
                application.get()
            except Unavailable:
                continue  # It has been logged; the others can still serve.

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Pass a request to the application of its domain; respond with 400 or 404 if there is none."""
        try:
            host = requested_host(environ, underscores=self.allow_underscores)
        except InvalidHost:
            return respond(environ, start_response, 400)
        port = host.port or DEFAULT_PORTS.get(environ["wsgi.url_scheme"])
        route = self.table.find(host.name, port, environ.get("PATH_INFO", ""))
        if route is None:
            return respond(environ, start_response, 404)
        application, limit = self.applications[route.application], self._limit
        name = application.name
        if limit is not None and not limit.acquire(name):
            return respond(environ, start_response, 503, retry_after_seconds=RETRY_AFTER_SECONDS)
        release = _no_release if limit is None else partial(limit.release, name)
        try:
            body = _dispatch(application, route.path, environ, start_response)
        except BaseException:
            release()
            raise
        if isinstance(body, (list, tuple)):
            release()
            return body
        if limit is None and _is_file(body, environ):
            return body
        return _NamedBody(body, release, name)


def _dispatch(
    application: LazyApplication, path: str, environ: Environ, start_response: StartResponse
) -> Iterable[bytes]:
    """Call `application` for a request that matched a route with this `path`."""
    try:
        wsgi = application.get()
    except Unavailable as unavailable:
        return respond(environ, start_response, 503, retry_after_seconds=unavailable.retry_after_seconds)
    if path:
        # WSGI paths are bytes decoded as Latin-1, and a route's path is ASCII, so no character is split.
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + path
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(path)
    token = current_application.set(application.name)
    try:
        return wsgi(environ, start_response)
    finally:
        current_application.reset(token)


def _no_release() -> None:
    """Release nothing."""


def _is_file(body: object, environ: Environ) -> bool:
    """Return whether the server itself sends `body` as a file, so that no code of the application runs for it."""
    wrapper: Callable[..., object] | None = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


class _NamedBody(ClosingIterator):
    """A streaming body whose application is the current one while each piece is produced."""

    def __init__(self, body: Iterable[bytes], closed: Callable[[], None], application: str) -> None:
        self._application = application
        super().__init__(body, closed)

    def __next__(self) -> bytes:
        token = current_application.set(self._application)
        try:
            return super().__next__()
        finally:
            current_application.reset(token)

    def close(self) -> None:
        token = current_application.set(self._application)
        try:
            super().close()
        finally:
            current_application.reset(token)
