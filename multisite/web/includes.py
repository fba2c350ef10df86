"""Include multisite for its parts: they may be included before it, as in `pyramid.includes`, or without it."""

from __future__ import annotations

from collections.abc import Callable

from pyramid.config import PHASE0_CONFIG, Configurator

from multisite.core.keys import SETTINGS

__all__ = ["with_multisite"]


def with_multisite(config: Configurator, configure: Callable[[Configurator], object] = lambda _config: None) -> None:
    """Call `configure(config)` once multisite is included: now if it is, else when the configuration is committed.

    It is not included right away, because the application may still add settings, which multisite reads when it is
    included. At commit, this includes it if nothing else has. An exception in `configure` then reaches the caller
    wrapped in Pyramid's `ConfigurationExecutionError`.
    """
    if SETTINGS in config.registry:
        configure(config)
        return

    def include() -> None:
        config.include("multisite")
        configure(config)

    config.action(None, include, order=PHASE0_CONFIG)
