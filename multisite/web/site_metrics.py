"""The metrics of requests by site, for Prometheus: in one array for each site, or in the library's own objects.

The library's objects for the fifteen time series of a site take 4 kB; the array takes 400 bytes. Only the library's
objects can be added up over several processes (its multiprocess mode).
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import metrics as prometheus_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from multisite.core.fork_safety import fork_safe_lock

__all__ = ["CompactMetrics", "LibraryMetrics", "SiteMetrics"]

_REQUESTS = ("multisite_requests", "Requests by site and kind of status.", ["site", "status"])
_SECONDS = (
    "multisite_request_seconds",
    "Seconds until the response was returned, by site; streaming its body may take longer.",
    ["site"],
)
_IN_PROGRESS = ("multisite_requests_in_progress", "Requests being handled, by site.", ["site"])
_BOUNDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0)
"""Upper bounds of the buckets of seconds; one without a bound follows."""
_BUCKETS = (*map(floatToGoString, _BOUNDS), "+Inf")


class SiteMetrics(Protocol):
    """Counts the requests of a site, by its label."""

    def count(self, label: str, status: int, seconds: float) -> None:
        """Count a request that has ended. `status` is the first digit of its status; 0: it raised an exception."""

    def begin(self, label: str) -> None:
        """Count a request as in progress."""

    def end(self, label: str) -> None:
        """Count it as in progress no more."""

    def clear(self) -> None:
        """Forget all sites, for tests."""


def _status_label(status: int) -> str:
    return f"{status}xx" if status else "error"


class LibraryMetrics:
    """Implements `SiteMetrics` by the objects of prometheus-client, registered at `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        requests = Counter(*_REQUESTS, registry=registry)
        seconds = Histogram(*_SECONDS, buckets=_BOUNDS, registry=registry)
        in_progress = Gauge(*_IN_PROGRESS, multiprocess_mode="livesum", registry=registry)
        self._metrics: tuple[Any, ...] = requests, seconds, in_progress
        # Looking up a child takes a lock, which is most of the cost of counting. Children are never removed.
        self._requests = cache(lambda label, status: requests.labels(label, _status_label(status)))
        self._seconds = cache(seconds.labels)
        self._in_progress = cache(in_progress.labels)

    def count(self, label: str, status: int, seconds: float) -> None:  # noqa: D102  See `SiteMetrics`.
        self._requests(label, status).inc()
        self._seconds(label).observe(seconds)

    def begin(self, label: str) -> None:  # noqa: D102
        self._in_progress(label).inc()

    def end(self, label: str) -> None:  # noqa: D102
        self._in_progress(label).dec()

    def clear(self) -> None:  # noqa: D102
        for metric in self._metrics:
            metric.clear()
        for kept in (self._requests, self._seconds, self._in_progress):
            kept.cache_clear()


_STATUSES = 10
"""The places of a site's array: requests by first digit of the status; the times at which the first of each ended; then
requests by bucket of seconds, the sum of seconds, the time of the first request, and requests in progress plus one, or
0 if none was ever in progress."""
_CREATED, _BUCKET = _STATUSES, 2 * _STATUSES
_SUM = _BUCKET + len(_BUCKETS)
_FIRST, _PROGRESS, _PLACES = _SUM + 1, _SUM + 2, _SUM + 3


class CompactMetrics:
    """Implements `SiteMetrics` by an array for each site, and is a collector that `registry` asks for them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = fork_safe_lock()
        self._sites: dict[str, array[float]] = {}
        registry.register(self)

    def count(self, label: str, status: int, seconds: float) -> None:  # noqa: D102  See `SiteMetrics`.
        with self._lock:
            places = self._sites.get(label) or self._new(label)
            if not places[status]:
                places[_CREATED + status] = time.time()
                places[_FIRST] = places[_FIRST] or places[_CREATED + status]
            places[status] += 1
            places[_BUCKET + bisect_left(_BOUNDS, seconds)] += 1
            places[_SUM] += seconds

    def begin(self, label: str) -> None:  # noqa: D102
        with self._lock:
            places = self._sites.get(label) or self._new(label)
            places[_PROGRESS] = (places[_PROGRESS] or 1) + 1

    def end(self, label: str) -> None:  # noqa: D102
        with self._lock:
            places = self._sites.get(label)
            if places is not None:
                places[_PROGRESS] -= 1

    def clear(self) -> None:  # noqa: D102
        with self._lock:
            self._sites.clear()

    def _new(self, label: str) -> array[float]:
        places = self._sites[label] = array("d", bytes(8 * _PLACES))
        return places

    def describe(self) -> Iterable[Metric]:
        """Yield the metrics without samples, which the registry asks for their names."""
        return self._families(())

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics as the library's objects do."""
        with self._lock:
            sites = [(label, places[:]) for label, places in self._sites.items()]
        return self._families(sites)

    def _families(self, sites: Iterable[tuple[str, array[float]]]) -> Iterator[Metric]:
        with_times = getattr(prometheus_metrics, "_use_created", True)
        requests, seconds = (
            CounterMetricFamily(*_REQUESTS[:2], labels=_REQUESTS[2]),
            HistogramMetricFamily(*_SECONDS[:2], labels=_SECONDS[2]),
        )
        in_progress = GaugeMetricFamily(*_IN_PROGRESS[:2], labels=_IN_PROGRESS[2])
        for label, places in sites:
            for status in range(_STATUSES):
                if places[status]:
                    created = places[_CREATED + status] if with_times else None
                    requests.add_metric([label, _status_label(status)], places[status], created)
            if places[_FIRST]:
                seconds.add_metric([label], _cumulated(places), places[_SUM])
                if with_times:
                    seconds.add_sample("multisite_request_seconds_created", {"site": label}, places[_FIRST])
            if places[_PROGRESS]:
                in_progress.add_metric([label], places[_PROGRESS] - 1)
        yield requests
        yield seconds
        yield in_progress


def _cumulated(places: array[float]) -> list[tuple[str, float]]:
    total, found = 0.0, []
    for number, bound in enumerate(_BUCKETS):
        total += places[_BUCKET + number]
        found.append((bound, total))
    return found
