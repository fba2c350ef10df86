"""The start of an application: what is done when it is complete, and before anybody asks it for anything.

Pyramid's own event for this, `ApplicationCreated`, is not free. As soon as there is one subscriber, to whatever event,
Pyramid announces four events at every request, and looks for their subscribers each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.interfaces import IApplicationCreated

__all__ = ["on_app_created", "on_startup", "run_startup"]

ON_STARTUP = "multisite.on_startup"
"""The key in the registry of what is called at the start."""

ON_APP_CREATED = "multisite.on_app_created"
"""The key in the registry of what is called with the application itself."""


def on_startup(registry: Any, call: Callable[[Any], object]) -> None:
    """Call `call` with the registry once the configuration is complete; what it raises reaches who starts it as it is.

    It is called for each application that is made of the registry.
    """
    registry.setdefault(ON_STARTUP, []).append(call)


def on_app_created(registry: Any, call: Callable[[Any], object]) -> None:
    """Call `call` with each application that is made of the registry, Pyramid's router, before anybody else has it."""
    registry.setdefault(ON_APP_CREATED, []).append(call)


def run_startup(registry: Any) -> None:
    """Do what is done at the start: called where the tweens are made, the first place that Pyramid comes to."""
    for call in registry.get(ON_STARTUP, ()):
        call(registry)
    had_listeners = registry.has_listeners

    def created(event: Any) -> None:
        registry.unregisterHandler(created, (IApplicationCreated,))
        # Where nobody else listens, the requests are to know that nobody does.
        registry.has_listeners = had_listeners or any(registry.registeredHandlers())
        for call in registry.get(ON_APP_CREATED, ()):
            call(event.app)

    # By its interface it comes before the application's own subscribers, which name the class.
    registry.registerHandler(created, (IApplicationCreated,))
