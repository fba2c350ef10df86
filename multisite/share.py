"""A fair share: how many requests of one site a process works on at the same time.

A server has a fixed number of threads. Without a limit the first site whose pages are slow takes all of them, and every
other site waits. This counts, and does nothing else: how often a visitor may ask is for the proxy to say.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from pyramid.response import Response

from multisite.in_progress import RETRY_AFTER_SECONDS, ConcurrencyLimit
from multisite.keys import RELEASES

__all__ = ["RETRY_AFTER_SECONDS", "ConcurrencyLimit", "release_after_send", "release_held", "too_busy_response"]


def too_busy_response() -> Response:
    """Return the answer to a request that is one too many: it costs no template and no query."""
    response = Response("This site is busy: please try again in a moment.\n", 503, content_type="text/plain")
    response.headers.update({"Retry-After": str(RETRY_AFTER_SECONDS), "Cache-Control": "no-store"})
    return response


def release_after_send(environ: MutableMapping[str, Any], response: Response, release: Callable[[], None]) -> None:
    """Call `release` once the request has been answered: now if the body of `response` is made already.

    A body that is made as it goes out occupies its thread until then. A subrequest is of the thread of another request,
    which has a slot of its own: it holds none beyond its response.
    """
    held = environ.get(RELEASES)
    if held is None or isinstance(response.app_iter, (list, tuple)):
        release()
    else:
        held.append(release)


def release_held(environ: MutableMapping[str, Any]) -> None:
    """Give back all slots that the request of `environ` still holds. May be called again."""
    held = environ.get(RELEASES)
    while held:
        held.pop()()
