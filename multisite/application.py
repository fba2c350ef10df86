"""Which application of the process is running, where there are several (`multisite.vhosts`); pure.

It is held in a context variable, as the current site is: threads start without one, asyncio tasks inherit their
parent's.
"""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["current_application"]

current_application: ContextVar[str | None] = ContextVar("multisite_application", default=None)
"""The name of the application that is being loaded or answers a request; None in a process that has only one."""
