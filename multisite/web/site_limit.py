"""Limit the number of concurrent requests per site.

A server has a fixed number of threads. Without a limit, the first site with slow pages occupies all of them, and every
other site waits. Rate limits per visitor are left to the proxy.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from pyramid.response import Response

from multisite.core.concurrency import RETRY_AFTER_SECONDS
from multisite.core.keys import RELEASES

__all__ = ["release_after_send", "release_held", "too_busy_response"]


def too_busy_response() -> Response:
    """Return the 503 for a site over its limit, without rendering or querying."""
    response = Response("This site is busy: please try again in a moment.\n", 503, content_type="text/plain")
    response.headers.update({"Retry-After": str(RETRY_AFTER_SECONDS), "Cache-Control": "no-store"})
    return response


def release_after_send(environ: MutableMapping[str, Any], response: Response, release: Callable[[], None]) -> None:
    """Call `release` once the response has been sent; immediately, if its body is complete already.

    A streaming body occupies its thread until it has been sent. A subrequest runs in the thread of an outer request,
    which holds a slot of its own, and so releases its slot with its response.
    """
    held = environ.get(RELEASES)
    if held is None or isinstance(response.app_iter, (list, tuple)):
        release()
    else:
        held.append(release)


def release_held(environ: MutableMapping[str, Any]) -> None:
    """Release all slots that the request of `environ` still holds. Safe to call repeatedly."""
    held = environ.get(RELEASES)
    while held:
        held.pop()()
