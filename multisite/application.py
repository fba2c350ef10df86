"""Which application of the process is running, where there are several (`multisite.vhosts`); pure.

It is held in a context variable, as the current site is: threads start without one, asyncio tasks inherit their
parent's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["current_application", "using_application"]

current_application: ContextVar[str | None] = ContextVar("multisite_application", default=None)
"""The name of the application that is being loaded or answers a request; None in a process that has only one."""


@contextmanager
def using_application(name: str) -> Iterator[None]:
    """Work for the application `name`, as the ini file calls it, inside the block: for scripts.

    `using_site` then asks the directory of that application alone, and log records name it.
    """
    token = current_application.set(name)
    try:
        yield
    finally:
        current_application.reset(token)
