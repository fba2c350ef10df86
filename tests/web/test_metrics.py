"""Prometheus metrics by site, from one process and from several; the attribute of OpenTelemetry spans."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import prometheus_client.metrics
import pytest
from databases import closing_engine, make_own_tables
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY
from prometheus_client.openmetrics import exposition as openmetrics
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp

from multisite import Site, metrics
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain
from multisite.web.site_metrics import CompactMetrics, LibraryMetrics

GARDEN, KITCHEN = "garden.example", "kitchen.example"
PATH = "/multisite/metrics"


def view(request: Request) -> Response:
    if "fail" in request.GET:
        raise RuntimeError
    seen = REGISTRY.get_sample_value("multisite_requests_in_progress", {"site": GARDEN})
    return Response(f"in progress: {seen}")


def make_app(folder: str, **settings: str) -> Any:
    given = {
        "sqlalchemy.url": f"sqlite:///{folder}/metrics.db",
        "multisite.sites_dir": f"{folder}/sites",
        "multisite.templates_dir": f"{folder}/templates",
        "multisite.metrics_path": PATH,
        "multisite.page_cache_seconds": "60",
        **settings,
    }
    if not (Path(folder) / "sites").exists():
        with closing_engine(given["sqlalchemy.url"]) as engine:
            make_own_tables(engine)
            for host in (GARDEN, KITCHEN):
                add_site(engine, host, settings=parse_settings(given))
                add_domain(engine, host, f"www.{host}", redirect=True)
    with Configurator(settings=given) as config:
        config.include("multisite")
        config.include("multisite.page_cache")
        config.include("multisite.metrics")
        config.include("multisite.tracing")
        config.add_route("page", "/")
        config.add_view(view, route_name="page")
        config.add_route("kept", "/kept")
        config.add_view(lambda request: Response("kept"), route_name="kept", page_cache=True)
    return config.make_wsgi_app()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = make_app(str(tmp_path_factory.mktemp("metrics")))
    yield made
    made.registry[DIRECTORY].engine.dispose()


@pytest.fixture(autouse=True)
def fresh() -> None:
    for each in (metrics.SITES, metrics.DIRECTORY_LOOKUPS, metrics.PAGES):
        each.clear()
    for kept in (metrics._lookups, metrics._pages):
        kept.cache_clear()
    metrics._known_labels.clear()


def browser(app: Any, host: str, **environ: str) -> TestApp:
    return TestApp(app, extra_environ={"HTTP_HOST": host, "REMOTE_ADDR": "127.0.0.1", **environ})


def metrics_of(app: Any, name: str, host: str = "any.example") -> dict[tuple[str, ...], float]:
    """Return the values of this metric as Prometheus receives them, by their labels."""
    text = browser(app, host).get(PATH).text
    found = re.findall(rf"^{name}\{{(.*?)\}} (\S+)$", text, re.MULTILINE)
    return {tuple(re.findall('"(.*?)"', labels)): float(value) for labels, value in found}


def test_requests_are_counted_by_site_and_status(app: Any) -> None:
    for host in (GARDEN, GARDEN, KITCHEN):
        browser(app, host).get("/")
    browser(app, GARDEN).get("/nothing", status=404)
    browser(app, f"www.{GARDEN}").get("/", status=301)
    with pytest.raises(RuntimeError):
        browser(app, KITCHEN).get("/?fail")
    assert metrics_of(app, "multisite_requests_total") == {
        (GARDEN, "2xx"): 2, (KITCHEN, "2xx"): 1, (GARDEN, "4xx"): 1, ("-", "3xx"): 1, (KITCHEN, "error"): 1,
    }  # fmt: skip
    assert metrics_of(app, "multisite_request_seconds_count") == {(GARDEN,): 3, (KITCHEN,): 2, ("-",): 2}


def test_requests_in_progress_are_counted_until_they_end(app: Any) -> None:
    assert browser(app, GARDEN).get("/").text == "in progress: 1.0"
    with pytest.raises(RuntimeError):
        browser(app, GARDEN).get("/?fail")
    assert metrics_of(app, "multisite_requests_in_progress")[GARDEN,] == 0


def test_unknown_hosts_create_no_metrics(app: Any) -> None:
    for host in ("nobody.example", 'a"b.example', "x" * 300, "unknown.garden.example"):
        browser(app, host).get("/", status="*")
    assert set(metrics_of(app, "multisite_requests_total")) == {("-", "4xx")}


def test_sites_beyond_the_limit_share_their_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_SITES", 2)
    sites = [Site(number, f"s{number}.example", "", f"s{number}") for number in range(1, 5)]
    labels = ["s1.example", "s2.example", "(other)", "(other)"]
    assert [metrics.metric_label(site) for site in sites] == labels
    assert metrics.metric_label(Site(1, "renamed.example", "", "s1")) == "s1.example"


def test_cached_hosts_and_pages_are_counted(app: Any) -> None:
    for _ in range(3):
        browser(app, GARDEN).get("/kept")
    assert metrics_of(app, "multisite_page_cache_total") == {("no",): 1, ("yes",): 2}
    found = metrics_of(app, "multisite_directory_lookups_total")
    assert sum(found.values()) >= 3
    assert found["yes",] >= 1


REFUSED = {
    "another machine": {"REMOTE_ADDR": "192.0.2.1"},
    "a proxy": {"HTTP_X_FORWARDED_FOR": "192.0.2.1"},
    "a socket": {"REMOTE_ADDR": ""},
}


@pytest.mark.parametrize("environ", REFUSED.values(), ids=REFUSED)
def test_other_clients_are_refused(app: Any, environ: dict[str, str]) -> None:
    refused = browser(app, GARDEN, **environ).get(PATH, status=403)
    assert "multisite_requests" not in refused.text


def test_allowed_clients_can_be_configured(tmp_path: Path) -> None:
    made = make_app(str(tmp_path), **{"multisite.metrics_from": "192.0.2.0/24"})
    browser(made, GARDEN, REMOTE_ADDR="192.0.2.1").get(PATH)
    browser(made, GARDEN).get(PATH, status=403)
    made.registry[DIRECTORY].engine.dispose()


PROCESS = """
import sys
sys.path[:0] = sys.argv[1].split(":")
import test_metrics as t
app = t.make_app(sys.argv[2])
t.browser(app, t.GARDEN).get("/")
print(t.metrics_of(app, "multisite_requests_total")[t.GARDEN, "2xx"])
app.registry[t.DIRECTORY].engine.dispose()
"""


def test_each_process_serves_the_metrics_of_all(tmp_path: Path) -> None:
    make_app(str(tmp_path)).registry[DIRECTORY].engine.dispose()
    (tmp_path / "shared").mkdir()
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "shared")}
    command = [sys.executable, "-W", "ignore", "-c", PROCESS, os.pathsep.join(sys.path), str(tmp_path)]
    found = [subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout for _ in range(2)]
    assert [float(each) for each in found] == [1, 2]


EVENTS = [
    ("begin", GARDEN), ("count", GARDEN, 2, 0.001), ("end", GARDEN), ("count", GARDEN, 2, 0.005), ("begin", KITCHEN),
    ("count", KITCHEN, 0, 11.0), ("count", metrics.NO_SITE, 4, 0.5), ("count", GARDEN, 5, 1.9), ("begin", KITCHEN),
    ("end", KITCHEN), ("count", 'quote"\\.example', 9, 0.0),
]  # fmt: skip


@pytest.mark.parametrize("with_times", [True, False])
@pytest.mark.parametrize("encode", [prometheus_client.generate_latest, openmetrics.generate_latest])
def test_arrays_are_served_like_the_objects_of_the_library(
    encode: Callable[..., bytes], with_times: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_client.metrics, "_use_created", with_times)
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.5)
    served = []
    for kind in (CompactMetrics, LibraryMetrics):
        registry = prometheus_client.CollectorRegistry()
        made = kind(registry)
        for name, *arguments in EVENTS:
            getattr(made, name)(*arguments)
        # The library orders samples by their first count; Prometheus does not.
        served.append(sorted(encode(registry).decode().splitlines()))
        assert registry.get_sample_value("multisite_requests_in_progress", {"site": KITCHEN}) == 1
    assert served[0] == served[1]
    assert len(served[0]) > 40
    assert ("_created" in str(served[0])) is with_times


def test_threads_lose_no_request() -> None:
    registry = prometheus_client.CollectorRegistry()
    made = CompactMetrics(registry)

    def work(number: int) -> None:
        for _ in range(500):
            made.begin(GARDEN)
            made.count(GARDEN, 2, 0.1)
            made.end(GARDEN)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert registry.get_sample_value("multisite_requests_total", {"site": GARDEN, "status": "2xx"}) == 4000
    assert registry.get_sample_value("multisite_request_seconds_count", {"site": GARDEN}) == 4000
    assert registry.get_sample_value("multisite_requests_in_progress", {"site": GARDEN}) == 0


# Tracing


def test_a_recorded_span_names_the_site(app: Any) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("a test")
    for host in (GARDEN, KITCHEN, "nobody.example"):
        with tracer.start_as_current_span(host):
            browser(app, host).get("/", status="*")
    spans = exporter.get_finished_spans()
    assert [dict(span.attributes or {}) for span in spans] == [
        {"multisite.site": GARDEN}, {"multisite.site": KITCHEN}, {},
    ]  # fmt: skip
    assert trace.get_current_span().is_recording() is False
    browser(app, GARDEN).get("/")
    provider.shutdown()
