"""A fair share: how many requests of one site a process works on at the same time.

A server has a fixed number of threads. Without a limit the first site whose pages are slow takes all of them, and every
other site waits. This counts, and does nothing else: how often a visitor may ask is for the proxy to say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from pyramid.request import Request
from pyramid.response import Response

from multisite.in_progress import RETRY_AFTER_SECONDS, Body, Share

__all__ = ["RETRY_AFTER_SECONDS", "Share", "busy", "until_sent"]


def busy() -> Response:
    """Return the answer to a request that is one too many: it costs no template and no query."""
    response = Response("This site is busy: please try again in a moment.\n", 503, content_type="text/plain")
    response.headers.update({"Retry-After": str(RETRY_AFTER_SECONDS), "Cache-Control": "no-store"})
    return response


def until_sent(request: Request, response: Response, give_back: Callable[[], None]) -> None:
    """Call `give_back` once `response` has been sent: now if its body is made already, else when the server closes it.

    A body that is made as it goes out occupies its thread until then (PEP 3333 wants every server to call `close`).
    """
    body = response.app_iter
    if isinstance(body, (list, tuple)):
        give_back()
        return
    length = response.content_length
    response.app_iter = sent = Body(body, give_back)
    # WebOb forgets the length with the body that it belonged to.
    response.content_length = length
    request.add_finished_callback(partial(_close_if_dropped, sent, sys.exception()))


def _close_if_dropped(body: Body, handled: BaseException | None, request: Request) -> None:
    """Close `body` if it will never be sent: what a callback, a subscriber or another tween raises goes out instead.

    `handled` is what was being handled before. The router calls this while it still handles what was raised.
    """
    if sys.exception() is not handled:
        body.close()
