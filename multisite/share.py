"""A fair share: how many requests of one site a process works on at the same time.

A server has a fixed number of threads. Without a limit the first site whose pages are slow takes all of them, and every
other site waits. This counts, and does nothing else: how often a visitor may ask is for the proxy to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Lock

from pyramid.response import Response

__all__ = ["RETRY_AFTER_SECONDS", "Share", "busy", "until_sent"]

RETRY_AFTER_SECONDS = 1
"""What a refused visitor is told: the requests before theirs are a matter of a moment, or the site is broken."""


class Share:
    """The requests in progress, by site, of which there may be `limit` each. Safe in threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = Lock()
        self._in_progress: dict[int, int] = {}

    def take(self, site_id: int) -> bool:
        """Take a place for a request of this site; return False, and take none, if all of its places are taken."""
        with self._lock:
            taken = self._in_progress.get(site_id, 0)
            if taken >= self.limit:
                return False
            self._in_progress[site_id] = taken + 1
            return True

    def give_back(self, site_id: int) -> None:
        """Give back the place that one successful `take` has taken."""
        with self._lock:
            taken = self._in_progress[site_id] - 1
            if taken:
                self._in_progress[site_id] = taken
            else:
                # What is not in use costs nothing: there may be a million sites.
                del self._in_progress[site_id]

    def in_progress(self, site_id: int) -> int:
        """Return how many requests of this site are in progress."""
        return self._in_progress.get(site_id, 0)


def busy() -> Response:
    """Return the answer to a request that is one too many: it costs no template and no query."""
    response = Response("This site is busy: please try again in a moment.\n", 503, content_type="text/plain")
    response.headers.update({"Retry-After": str(RETRY_AFTER_SECONDS), "Cache-Control": "no-store"})
    return response


def until_sent(response: Response, give_back: Callable[[], None]) -> None:
    """Call `give_back` once `response` has been sent: now if its body is made already, else when the server closes it.

    A body that is made as it goes out occupies its thread until then (PEP 3333 wants every server to call `close`).
    """
    body = response.app_iter
    if isinstance(body, (list, tuple)):
        give_back()
    else:
        length = response.content_length
        response.app_iter = _Body(body, give_back)
        # WebOb forgets the length with the body that it belonged to.
        response.content_length = length


class _Body:
    """A body that is made while it is sent, and says when it is closed or over.

    It is its own iterator: WebOb takes that for a piece of it (`Range`), and closes nothing else. It says so at its end
    too, since what stands in between, such as WebOb's compression, may close nothing at all.
    """

    def __init__(self, body: Iterable[bytes], closed: Callable[[], None]) -> None:
        self._body = body
        self._pieces = iter(body)
        self._closed: Callable[[], None] | None = closed

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except BaseException:
            self._say()
            raise

    def close(self) -> None:
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        finally:
            self._say()

    def _say(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()
