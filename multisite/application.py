"""Which application of the process is running, where there are several (`multisite.vhosts`); pure.

It is held in a context variable, as the current site is: threads start without one, asyncio tasks inherit their
parent's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["ApplicationName", "current_application", "using_application"]


class ApplicationName(str):
    """The name of an application that this process has, equal to itself and to its plain text alone.

    Two ini files may each have an application of the same name; what is of the one is not of the other. A copy, as in
    another process, is the plain text.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other if isinstance(other, ApplicationName) else super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


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
