"""The WSGI application over all others: finds the one that a request is for, and hands the request on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from multisite.application import current_application
from multisite.errors import InvalidHost
from multisite.host_header import DEFAULT_PORTS, requested_host
from multisite.in_progress import RETRY_AFTER_SECONDS, ClosingIterator, ConcurrencyLimit
from multisite.vhosts.answers import Environ, StartResponse, answer
from multisite.vhosts.applications import Application, Unavailable
from multisite.vhosts.table import Table

__all__ = ["Vhosts"]


class Vhosts:
    """Several applications behind one table of domains.

    `applications` are by the name that the lines of the table give them. Of each, at most `max_requests` are worked on
    at the same time; 0 for no limit. `allow_underscores` says whether the names of hosts may have them.
    """

    def __init__(
        self,
        table: Table,
        applications: Mapping[str, Application],
        *,
        max_requests: int = 0,
        allow_underscores: bool = False,
    ) -> None:
        self.table = table
        self.allow_underscores = allow_underscores
        self.applications = applications
        self._share = ConcurrencyLimit(max_requests) if max_requests else None

    def load_all(self) -> None:
        """Load every application that is not loaded yet, one after the other."""
        for application in self.applications.values():
            try:
                application.get()
            except Unavailable:
                continue  # It has been logged, and the others serve.

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            host = requested_host(environ, underscores=self.allow_underscores)
        except InvalidHost:
            return answer(environ, start_response, 400)
        port = host.port or DEFAULT_PORTS.get(environ["wsgi.url_scheme"])
        route = self.table.find(host.name, port, environ.get("PATH_INFO", ""))
        if route is None:
            return answer(environ, start_response, 404)
        application, share = self.applications[route.application], self._share
        name = application.name
        if share is not None and not share.acquire(name):
            return answer(environ, start_response, 503, retry_after_seconds=RETRY_AFTER_SECONDS)
        give_back = _nothing if share is None else partial(share.release, name)
        try:
            body = _hand_on(application, route.path, environ, start_response)
        except BaseException:
            give_back()
            raise
        if isinstance(body, (list, tuple)):
            give_back()
            return body
        if share is None and _is_file(body, environ):
            return body
        return _NamedBody(body, give_back, name)


def _hand_on(application: Application, path: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Let `application` answer a request that came to it by a route of this `path`."""
    try:
        wsgi = application.get()
    except Unavailable as unavailable:
        return answer(environ, start_response, 503, retry_after_seconds=unavailable.retry_after_seconds)
    if path:
        # WSGI has the path as bytes in Latin-1, and that of a route is ASCII: no character is cut in two.
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + path
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(path)
    token = current_application.set(application.name)
    try:
        return wsgi(environ, start_response)
    finally:
        current_application.reset(token)


def _nothing() -> None:
    """Give nothing back."""


def _is_file(body: object, environ: Environ) -> bool:
    """Tell whether `body` is a file that the server sends by itself: no code of the application runs for it."""
    wrapper: Callable[..., object] | None = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


class _NamedBody(ClosingIterator):
    """A body that is made while it is sent, whose application is the current one for each piece of it."""

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
