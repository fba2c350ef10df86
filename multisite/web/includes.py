"""Include multisite from its optional includes, such as `multisite.static`.

An application may include those before multisite, as in `pyramid.includes`, or alone.
"""

from __future__ import annotations

from collections.abc import Callable

from pyramid.config import PHASE0_CONFIG, Configurator

from multisite.core.keys import SETTINGS

__all__ = ["with_multisite"]


def with_multisite(config: Configurator, configure: Callable[[Configurator], object] = lambda _config: None) -> None:
    """Call `configure(config)` once multisite is included: now if it is already, else when `config` is committed.

    Multisite is not included right away, because it reads its settings when it is included, and the application may
    still add some. At commit, this includes multisite unless the application has done so. An exception in `configure`
    then reaches the caller wrapped in Pyramid's `ConfigurationExecutionError`.
    """
    if SETTINGS in config.registry:
        configure(config)
        return

    def include() -> None:
        config.include("multisite")
        configure(config)

    config.action(None, include, order=PHASE0_CONFIG)
