"""Includes: a part of multisite may be included before multisite is, as in `pyramid.includes`, or without it."""

from __future__ import annotations

from collections.abc import Callable

from pyramid.config import PHASE0_CONFIG, Configurator

__all__ = ["with_multisite"]


def with_multisite(config: Configurator, configure: Callable[[Configurator], object] = lambda _config: None) -> None:
    """Call `configure` with `config` once multisite is included: now if it is, else when the configuration is complete.

    Not sooner, because an application may add settings up to the moment when it includes multisite, which reads them.
    Where nothing else includes multisite, this does. What `configure` raises reaches the caller unchanged if it is
    called now, else within Pyramid's `ConfigurationExecutionError`.
    """
    if "multisite.settings" in config.registry:
        configure(config)
        return

    def include() -> None:
        config.include("multisite")
        configure(config)

    config.action(None, include, order=PHASE0_CONFIG)
