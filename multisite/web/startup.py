"""Startup hooks: calls that run once the configuration is complete, and before the first request.

The factory of multisite's tween calls `run_startup`. Pyramid's own hooks are not suitable:

- An exception from a configuration action reaches the caller wrapped in `ConfigurationExecutionError`. An application
  that calls `config.commit()` itself would have its unfinished configuration checked, and a second application made
  from the same registry would not be checked at all.
- `ApplicationCreated` is not free. With one subscriber to any event, Pyramid notifies four events per request and looks
  up their subscribers each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pyramid.interfaces import IApplicationCreated

__all__ = ["gets_requests", "on_app_created", "on_startup", "run_startup", "without_requests"]

_gets_requests: ContextVar[bool] = ContextVar("multisite_gets_requests", default=True)

ON_STARTUP = "multisite.on_startup"
"""Registry key of the callables of `on_startup`."""

ON_APP_CREATED = "multisite.on_app_created"
"""Registry key of the callables of `on_app_created`."""


@contextmanager
def without_requests() -> Iterator[None]:
    """Start applications within the block for a command, which needs only their models and settings.

    What only requests need is imported by the first request, if there is one.
    """
    token = _gets_requests.set(False)
    try:
        yield
    finally:
        _gets_requests.reset(token)


def gets_requests() -> bool:
    """Return whether an application that starts now is to serve requests."""
    return _gets_requests.get()


def on_startup(registry: Any, call: Callable[[Any], object]) -> None:
    """Call `call(registry)` when an application is made from `registry`.

    Exceptions propagate unchanged to the caller of `make_wsgi_app`.
    """
    registry.setdefault(ON_STARTUP, []).append(call)


def on_app_created(registry: Any, call: Callable[[Any], object], *, first: bool = False) -> None:
    """Call `call(app)` with each application (Pyramid's router) made from `registry`, before all other subscribers.

    With `first`, it is called before those that were added until now.
    """
    calls = registry.setdefault(ON_APP_CREATED, [])
    calls.insert(0 if first else len(calls), call)


def run_startup(registry: Any) -> None:
    """Run the calls of `on_startup` now, and those of `on_app_created` once the application exists."""
    for call in registry.get(ON_STARTUP, ()):
        call(registry)
    had_listeners = registry.has_listeners

    def created(event: Any) -> None:
        registry.unregisterHandler(created, (IApplicationCreated,))
        # Without other subscribers, requests do not have to notify any event.
        registry.has_listeners = had_listeners or any(registry.registeredHandlers())
        for call in registry.get(ON_APP_CREATED, ()):
            call(event.app)

    # Registered for the interface, it runs before the application's own subscribers, which name the class.
    registry.registerHandler(created, (IApplicationCreated,))
