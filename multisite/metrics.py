"""Prometheus metrics per site: request counts, durations, requests in flight; and cache hits.

`config.include("multisite.metrics")` collects them, and serves them at `multisite.metrics_path` if that is set, only to
`multisite.metrics_from`. Needs prometheus-client (`pyramid-multisite[metrics]`). The metrics are in its default
registry, so an application's own metrics are served as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from typing import Any

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter
    from prometheus_client.exposition import choose_encoder
except ModuleNotFoundError as error:
    if not str(error.name).startswith("prometheus_client"):
        raise
    raise ImportError("multisite.metrics needs prometheus-client: pip install 'pyramid-multisite[metrics]'") from error

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.tweens import INGRESS

from multisite.core.fork_safety import fork_safe_lock
from multisite.core.keys import DIRECTORY, OPEN_PATH, SETTINGS
from multisite.core.settings import Settings
from multisite.core.site import SettingsProvider, Site
from multisite.web.includes import with_multisite
from multisite.web.on_demand_tls import is_allowed_peer
from multisite.web.site_metrics import CompactMetrics, LibraryMetrics, SiteMetrics

__all__ = ["MAX_SITES", "NO_SITE", "OTHER_SITES", "includeme", "metric_label", "metrics_view"]

MAX_SITES = 1_000
"""At most this many sites have their own metrics: a server of Prometheus stores about fifteen time series for each."""

NO_SITE, OTHER_SITES = "-", "(other)"
"""Labels of requests without a site, regardless of their Host, and of all sites beyond `MAX_SITES`."""

# The library's own condition, with its deprecated spelling.
_has_many_processes = any(name in os.environ for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"))
SITES: SiteMetrics = (LibraryMetrics if _has_many_processes else CompactMetrics)(REGISTRY)
DIRECTORY_LOOKUPS = Counter("multisite_directory_lookups", "Requests by whether their host was cached.", ["found"])
PAGES = Counter("multisite_page_cache", "Responses of cacheable pages, by whether they came from the cache.", ["found"])

# Looking up a child takes a lock, which is most of the cost of counting. Children are never removed.
_lookups = cache(DIRECTORY_LOOKUPS.labels)
_pages = cache(PAGES.labels)

Handler = Callable[[Request], Response]

_known_labels: dict[tuple[SettingsProvider | None, int], str] = {}
"""Labels by application and id: the databases of two applications in one process may use the same ids."""
_labels_lock = fork_safe_lock()


def metric_label(site: Site | None) -> str:
    """Return the label of a site: its canonical domain, or `OTHER_SITES` if too many sites have labels."""
    if site is None:
        return NO_SITE
    key = site.settings_provider, site.id
    if key not in _known_labels:
        with _labels_lock:
            if len(_known_labels) >= MAX_SITES and key not in _known_labels:
                return OTHER_SITES
            _known_labels[key] = str(site)
    # The first domain, even if the site was renamed: otherwise each name would add time series.
    return _known_labels[key]


def _site_of(request: Request) -> Site | None:
    """Return the site that the tween has found, without looking it up."""
    site: Site | None = request.__dict__.get("site")
    return None if OPEN_PATH in request.environ else site


def counting_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return a tween, above the one that finds the site, that counts all requests."""
    reads = _DeltaCounter(lambda: registry[DIRECTORY].reads)

    def counting_tween(request: Request) -> Response:
        started = time.perf_counter()
        status = 0
        try:
            response = handler(request)
            status = response.status_code // 100
        finally:
            SITES.count(metric_label(_site_of(request)), status, time.perf_counter() - started)
            if OPEN_PATH not in request.environ:
                misses = reads.since_last()
                _lookups("no" if misses else "yes").inc(misses or 1)
        return response

    return counting_tween


def progress_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return a tween, below the one that finds the site, that counts requests in flight and page cache hits."""
    # By its key, because the page cache need not be imported if it is not used.
    cache: Any = registry.get("multisite.page_cache")
    counts = (
        []
        if cache is None
        else [(_DeltaCounter(lambda: cache.hits), "yes"), (_DeltaCounter(lambda: cache.misses), "no")]
    )

    def progress_tween(request: Request) -> Response:
        label = metric_label(_site_of(request))
        SITES.begin(label)
        try:
            return handler(request)
        finally:
            SITES.end(label)
            for count, found in counts:
                if more := count.since_last():
                    _pages(found).inc(more)

    return progress_tween


class _DeltaCounter:
    """Reports by how much an external counter has grown since the last call. Thread-safe."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._lock = fork_safe_lock()
        self._last = 0

    def since_last(self) -> int:
        if self._count() == self._last:
            return 0
        with self._lock:
            last, self._last = self._last, self._count()
            return self._last - last


def metrics_view(request: Request) -> Response:
    """Serve the metrics, of all processes in multiprocess mode; 403 if the client is not allowed."""
    settings: Settings = request.registry[SETTINGS]
    if OPEN_PATH not in request.environ:
        # Below the path of a site, which a proxy that protects the metrics path does not check.
        return Response(status=404, content_type="text/plain")
    if not is_allowed_peer(request, settings.metrics_from):
        return Response(status=403, content_type="text/plain")
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    response = Response(body=encode(registry))
    response.headers["Content-Type"] = content_type
    response.headers["Cache-Control"] = "no-store"
    return response


def includeme(config: Configurator) -> None:
    """Count requests, and serve the metrics at `multisite.metrics_path` if that is set. Includes multisite."""
    with_multisite(config, _configure)


def _configure(config: Configurator) -> None:
    config.add_tween(
        "multisite.metrics.counting_tween_factory", under=INGRESS, over="multisite.web.tween.site_tween_factory"
    )
    config.add_tween(
        "multisite.metrics.progress_tween_factory",
        under="multisite.web.tween.site_tween_factory",
        over=(
            "multisite.web.error_pages.error_page_tween_factory",
            "multisite.web.maintenance.maintenance_tween_factory",
            "pyramid_tm.tm_tween_factory",
        ),
    )
    settings: Settings = config.registry[SETTINGS]
    if settings.metrics_path is not None:
        config.add_route("multisite.metrics", settings.metrics_path, request_method="GET")
        config.add_view(metrics_view, route_name="multisite.metrics", permission=NO_PERMISSION_REQUIRED)
