"""The alternatives of the comparison: applications that serve the page, with different numbers of sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

__all__ = ["ALTERNATIVES", "BASELINE", "Alternative"]


@dataclass(frozen=True)
class Alternative:
    """An application that serves the page. `factory` is `module:function`; `sites` is the number of sites."""

    key: str
    title: str
    factory: str
    sites: int

    def make_app(self, settings: dict[str, Any]) -> Callable[..., Any]:
        """Return the WSGI application. The module is imported here, because importing multisite installs scoping."""
        module, _, function = self.factory.partition(":")
        app: Callable[..., Any] = getattr(import_module(module), function)(settings)
        return app

    @property
    def models(self) -> Any:
        """Return the module with the model `Entry`."""
        return import_module(self.factory.partition(":")[0])


def _sites(count: int) -> str:
    return "1 site" if count == 1 else f"{count:,} sites"


BASELINE = Alternative("bare", "bare Pyramid, hand-written for one site", "benchmarks.baseline:main", 1)

ALTERNATIVES = (
    BASELINE,
    *(
        Alternative(
            f"own-{sites}", f"multisite's session, {_sites(sites)}", "benchmarks.served:with_own_session", sites
        )
        for sites in (1, 1_000, 100_000)
    ),
    Alternative("own-environment", "  and the rest a site can own, 1 site", "benchmarks.served:with_environment", 1),
    Alternative("own-metrics", "  and metrics, 1 site", "benchmarks.served:with_environment_and_metrics", 1),
    Alternative("own-retry", "  and pyramid_retry, 1 site", "benchmarks.served:with_own_session_and_retry", 1),
    *(
        Alternative(
            f"cookiecutter-{sites}",
            f"cookiecutter's session, {_sites(sites)}",
            "benchmarks.served:with_cookiecutter_session",
            sites,
        )
        for sites in (1, 1_000, 100_000)
    ),
)
