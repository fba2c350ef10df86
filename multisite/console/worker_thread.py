"""Do the jobs in a thread of the process that serves the console (`multisite.console_worker`), as in the demo.

The thread begins with the first request for the console: commands load the application too, and must not do jobs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

from multisite import check
from multisite.sites.worker import Worker
from multisite.web.site_archive import site_contents

__all__ = ["WORKER", "worker_tween_factory"]

WORKER = "multisite.console.worker"
"""Registry key of the worker of the thread, in the application of the sites."""

POLL_SECONDS = 0.5
"""How often the thread looks for new jobs: somebody looks at the page of one."""


def worker_tween_factory(handler: Callable[[Request], Response], _registry: Registry) -> Any:
    """Return a tween that starts the thread once."""
    lock, started = threading.Lock(), False

    def worker_tween(request: Request) -> Response:
        nonlocal started
        with lock:
            if not started:
                started = True
                _start(request.console)
        return handler(request)

    return worker_tween


def _start(console: Any) -> None:
    registry = console.registry
    worker = Worker(
        console.engine, console.settings, site_contents(registry), console.declared,
        check=lambda tell: check.run(registry, progress=tell),
    )  # fmt: skip
    # A job that the end of the process interrupts is begun again by the next process.
    thread = threading.Thread(
        target=worker.run, kwargs={"poll_seconds": POLL_SECONDS}, name="multisite-worker", daemon=True
    )
    console.registry[WORKER] = worker
    thread.start()
