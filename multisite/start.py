"""The start of an application: what is done when it is complete, and before anybody asks it for anything.

Pyramid's own event for this, `ApplicationCreated`, is not free. As soon as there is one subscriber, to whatever event,
Pyramid announces four events at every request, and looks for their subscribers each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.interfaces import IApplicationCreated

__all__ = ["at_start", "start", "with_application"]

AT_START = "multisite.at_start"
"""The key in the registry of what is called at the start."""

WITH_APPLICATION = "multisite.with_application"
"""The key in the registry of what is called with the application itself."""


def at_start(registry: Any, call: Callable[[Any], object]) -> None:
    """Call `call` with the registry once the configuration is complete; what it raises reaches who starts it as it is.

    It is called for each application that is made of the registry.
    """
    registry.setdefault(AT_START, []).append(call)


def with_application(registry: Any, call: Callable[[Any], object]) -> None:
    """Call `call` with each application that is made of the registry, Pyramid's router, before anybody else has it."""
    registry.setdefault(WITH_APPLICATION, []).append(call)


def start(registry: Any) -> None:
    """Do what is done at the start: called where the tweens are made, the first place that Pyramid comes to."""
    for call in registry.get(AT_START, ()):
        call(registry)
    had_listeners = registry.has_listeners

    def created(event: Any) -> None:
        registry.unregisterHandler(created, (IApplicationCreated,))
        # Where nobody else listens, the requests are to know that nobody does.
        registry.has_listeners = had_listeners or any(registry.registeredHandlers())
        for call in registry.get(WITH_APPLICATION, ()):
            call(event.app)

    # By its interface it comes before the application's own subscribers, which name the class.
    registry.registerHandler(created, (IApplicationCreated,))
