"""The current application, in a process that serves several of them (`multisite.vhosts`).

It is stored in a context variable, like the current site: threads start without one, asyncio tasks inherit their
parent's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["ApplicationName", "current_application", "using_application"]


class ApplicationName(str):
    """The name of an application of this process. It equals only itself and a plain `str` of the same text.

    Two ini files may each define an application of the same name, and the two must not share anything. A pickled copy
    is a plain `str`.
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
"""The name of the application that is being loaded or is handling a request; None in a process with only one."""


@contextmanager
def using_application(name: str) -> Iterator[None]:
    """Make the application that the ini file calls `name` current inside the block; for scripts.

    `using_site` then looks up sites only in the directory of that application, and log records carry its name.
    """
    token = current_application.set(name)
    try:
        yield
    finally:
        current_application.reset(token)
