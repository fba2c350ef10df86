"""The pages of the console for the operator log, for jobs and for the traffic of a site."""

from __future__ import annotations

import csv
import functools
import io
import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from console_world import console_browser, console_sites, empty_console_tables, form_token, log_in_to_console
from content_sites import ContentSites
from databases import fresh_database

from multisite.console import domain_pages, log_pages
from multisite.console.plots import PLOT_HEIGHT, PLOT_WIDTH, bars
from multisite.core.actor import acting_as
from multisite.core.settings import parse_settings
from multisite.directory.models import AS_MULTISITE, as_multisite
from multisite.directory.operator_tables import errors_table, jobs_table, log_table, traffic_table
from multisite.sites import jobs, traffic
from multisite.sites.measurements import measure_sites
from multisite.sites.operator_log import list_log, record_now
from multisite.sites.traffic import ErrorSeen, Traffic, TrafficCounts


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        console_sites(url, tmp_path_factory.mktemp("console")) as sites,
    ):
        sites.settings["multisite.public_addresses"] = "192.0.2.7 2001:db8::7"
        yield sites


@pytest.fixture
def sites(world: ContentSites) -> ContentSites:
    empty_console_tables(world)
    with world.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        for table in (jobs_table, traffic_table, errors_table):
            connection.execute(sa.delete(table))
    return world


def cells(page: Any) -> list[list[str]]:
    return [
        [cell.get_text(" ", strip=True) for cell in row.select("td, th")]
        for row in page.html.select("tbody tr:not(.group)")
    ]


# The log.


def test_the_log_is_filtered(sites: ContentSites) -> None:
    with acting_as("berta (console)", address="192.0.2.7"):
        record_now(sites.engine, "rename-site", sites.garden, before={"name": "<b>Old</b>"}, after={"name": "New"})
        record_now(
            sites.engine, "set", sites.sternwarte, after={"setting api_key": "s3cret", "setting colour": ["red"]}
        )
    browser = log_in_to_console(sites, "luca", "look")
    page = browser.get("/log?who=berta")
    newest, older = cells(page)
    assert newest[1:4] == ["berta (console) 192.0.2.7", "set", str(sites.sternwarte)]
    assert newest[4] == "setting api_key (hidden) setting colour red"
    assert older[4] == "name <b>Old</b> → New"
    assert "<b>Old" not in page.text
    assert len(cells(browser.get(f"/log?who=berta&site={sites.garden}"))) == 1
    assert len(cells(browser.get("/log?who=berta&what=set+rename-site"))) == 2
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert len(cells(browser.get(f"/log?who=berta&since={today}&until={today}"))) == 2
    assert cells(browser.get("/log?who=berta&until=2020-01-01")) == []
    assert "no site is known" in browser.get("/log?site=nowhere.example", status=400).text
    for query in ("since=yesterday", "until=0001-01-01", "before=x", f"before={'9' * 40}"):
        browser.get(f"/log?{query}", status=400)


def test_the_log_shows_what_changed_in_a_list(sites: ContentSites) -> None:
    both = ["a.example (canonical)", "b.example (alias)"]
    with acting_as("dora (console)"):
        for before, after in ((both[:1], both), (both, [both[1], "c.example (alias)"]), (both, both[::-1])):
            record_now(sites.engine, "add-domain", sites.garden, before={"domains": before}, after={"domains": after})
        record_now(sites.engine, "remove-site", sites.garden, before={"domains": both, "name": "Garden"})
    page = log_in_to_console(sites, "luca", "look").get("/log?who=dora")
    assert [row[4] for row in cells(page)] == [
        "domains a.example (canonical), b.example (alias) → – name Garden → –",
        "domains a.example (canonical), b.example (alias) → b.example (alias), a.example (canonical)",
        "domains \u2212 a.example (canonical) + c.example (alias)",
        "domains + b.example (alias)",
    ]
    # A removed site has no page any more.
    assert [each["href"] for each in page.html.select("td.host a")] == [f"/sites/{sites.garden.id}"] * 3


def test_the_log_has_a_row_for_each_day(sites: ContentSites) -> None:
    days = [datetime(2020, 1, 30, 23, 59, tzinfo=UTC)]
    days += [datetime(2020, 1, 31, hour, 5, tzinfo=UTC) for hour in (0, 13)]
    rows = [{"at": day, "who": "emil (console)", "what": "dated"} for day in days]
    with sites.engine.begin() as connection, as_multisite(connection):
        connection.execute(sa.insert(log_table), rows)
    page = log_in_to_console(sites, "luca", "look").get("/log?who=emil")
    assert [row.get_text(strip=True) for row in page.html.select("tr.group")] == ["Jan 31, 2020", "Jan 30, 2020"]
    assert [row[0] for row in cells(page)] == ["1:05\u00a0PM", "12:05\u00a0AM", "11:59\u00a0PM"]


def test_the_log_is_read_page_by_page(sites: ContentSites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_pages, "PAGE_ENTRIES", 2)
    for number in range(5):
        record_now(sites.engine, "paged", after={"number": number})
    page = log_in_to_console(sites, "luca", "look").get("/log?what=paged")
    seen = []
    while True:
        seen += [row[4] for row in cells(page)]
        link = page.html.select_one("a[rel=next]")
        if link is None:
            break
        page = page.goto(link["href"])
    # Other tests of this database may have left some as well.
    assert seen[:5] == [f"number {number}" for number in (4, 3, 2, 1, 0)]


def test_the_log_is_exported_as_filtered(sites: ContentSites) -> None:
    with acting_as("clara (console)"):
        record_now(sites.engine, "rename-site", sites.garden, after={"name": 'A "quoted" name, with commas'})
    browser = log_in_to_console(sites, "luca", "look")
    link = browser.get("/log?who=clara").html.select_one(".top a[href]")["href"]
    response = browser.get(link)
    assert response.headers["Content-Disposition"] == 'attachment; filename="multisite-log.csv"'
    (row,) = csv.DictReader(io.StringIO(response.text))
    assert (row["who"], row["what"], row["site"]) == ("clara (console)", "rename-site", str(sites.garden))
    assert json.loads(row["after"]) == {"name": 'A "quoted" name, with commas'}
    browser.get("/log.csv?site=nowhere.example", status=400)
    console_browser(sites).get("/log.csv", status=403)


# Jobs.


def test_jobs_are_shown_and_cancelled(sites: ContentSites) -> None:
    browser = log_in_to_console(sites, "rita", "run")
    assert "No jobs yet." in browser.get("/jobs").text
    failing = jobs.add_job(sites.engine, "bulk", arguments={"action": "set-theme", "hosts": ["a.example"]})
    claimed = jobs.claim_job(sites.engine, jobs.worker_name())
    assert claimed is not None
    jobs.beat(sites.engine, claimed, "1 of 2: a.example")
    waiting = jobs.add_job(sites.engine, "copy-site", site="a.example", arguments={"host": "a.example"})
    page = browser.get("/jobs")
    first, second = cells(page)
    assert first[:3] == [f"Copy , job {waiting.id} a.example", "Waiting", "–"]
    assert second[:3] == [f"Set the theme , job {failing.id} 1 site", "Running", "1 of 2: a.example"]
    page = page.forms[0].submit(status=303).follow()
    assert "The job is cancelled." in page.text
    assert page.html.select_one(".pill").text == "Cancelled"
    assert [row[1] for row in cells(browser.get("/jobs"))] == ["Cancelled", "Running"]
    (entry,) = list_log(sites.engine, limit=1)
    assert (entry.who, entry.what) == ("rita (console)", "cancel-job")
    result = {"sites": [{"site": "a.example", "error": "no such theme"}], "failed": 1}
    jobs.end_job(sites.engine, claimed, "done", result=result)
    assert cells(browser.get("/jobs"))[1][1:3] == ["1 of 1 failed", "1 site, 1 failed"]
    assert browser.get(f"/jobs/{failing.id}").html.select_one("h2 .pill.job-failed").text == "1 of 1 failed"
    assert cells(browser.get(f"/jobs/{failing.id}")) == [["a.example", "no such theme"]]
    browser.get("/jobs/99999", status=404)
    token = form_token(browser)
    assert "has ended already" in browser.post("/jobs", {"csrf_token": token, "job": str(failing.id)}, status=400).text
    for number in ("", "x", "9" * 40):
        browser.post("/jobs", {"csrf_token": token, "job": number}, status=400)


def test_several_sites_are_chosen_and_changed_by_a_job(sites: ContentSites) -> None:
    browser = log_in_to_console(sites, "rita", "run")
    page = browser.get("/bulk?all=1&q=ALIAS")
    assert [each.text for each in page.html.select(".chosen b")] == ["garden.example"]
    page = browser.get(f"/bulk?id={sites.garden.id}&id={sites.sternwarte.id}")
    page.form["action"] = "disable-site"
    page.form.submit(status=303)
    (job,) = jobs.list_jobs(sites.engine)
    assert job.arguments == {"action": "disable-site", "hosts": ["garden.example", "sternwarte.example"]}
    archive = {"archive": "a.zip"}
    jobs.add_job(sites.engine, "import-site", arguments=archive)
    assert jobs.wanted_uploads(sites.engine) == {"a.zip"}


def test_older_jobs_are_on_further_pages(sites: ContentSites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multisite.console.job_pages.PAGE_JOBS", 2)
    added = [jobs.add_job(sites.engine, "bulk", arguments={"hosts": []}).id for _ in range(5)]
    browser, path, seen = log_in_to_console(sites, "luca", "look"), "/jobs", []
    while path:
        page = browser.get(path)
        seen += [int(each["href"].rpartition("/")[2]) for each in page.html.select("tbody th a")]
        older = page.html.select_one("a[rel=next]")
        path = older and older["href"]
    assert seen == added[::-1]
    browser.get("/jobs?before=x", status=400)


def test_operators_who_only_look_have_no_button_to_cancel(sites: ContentSites) -> None:
    jobs.add_job(sites.engine, "bulk", arguments={"action": "set-theme", "hosts": []})
    page = log_in_to_console(sites, "luca", "look").get("/jobs")
    assert len(cells(page)) == 1
    assert not page.forms


# Traffic.


def test_the_traffic_of_a_site_is_plotted_with_its_table(sites: ContentSites) -> None:
    minute = int(time.time()) // 60
    counts = {
        (sites.garden.id, "page", minute): [8, 2, 4.0, 5_000],
        (sites.sternwarte.id, "page", minute): [5, 0, 0.1, 1],
    }
    errors = [ErrorSeen(datetime.now(UTC), sites.garden.id, "page", "500 KeyError", "abc123")]
    traffic.write_counts(sites.engine, TrafficCounts(counts, errors))
    browser = log_in_to_console(sites, "luca", "look")
    for period, rows in (("day", 24), ("week", 7), ("month", 30)):
        page = browser.get(f"/sites/{sites.garden.id}/traffic?period={period}")
        assert page.html.select_one("#plot").text == "8 requests, 2 errors"
        assert len(page.html.select("svg rect.requests")) == len(cells(page)) == rows
        assert cells(page)[-1][1:] == ["8", "2", "500", "5"]
        assert page.html.select("svg rect.requests")[-1]["height"] == str(float(PLOT_HEIGHT))
        assert "500 KeyError" in page.text
        assert "abc123" in page.text
    assert "KeyError" not in browser.get(f"/sites/{sites.sternwarte.id}/traffic").text
    browser.get(f"/sites/{sites.garden.id}/traffic?period=year", status=400)
    browser.get("/sites/999/traffic", status=404)


def test_bars_fill_the_plot() -> None:
    now = datetime.now(UTC)
    found = bars([Traffic(now), Traffic(now, 4, 1), Traffic(now, 8, 8)])
    assert [each.requests for each in found] == [0, PLOT_HEIGHT / 2, PLOT_HEIGHT]
    assert [each.errors for each in found] == [0, PLOT_HEIGHT / 8, PLOT_HEIGHT]
    assert found[-1].x + found[-1].width < PLOT_WIDTH
    assert {each.requests for each in bars([Traffic(now)] * 3)} == {0}


# Domains.


def test_the_domains_of_a_site_are_checked_now(sites: ContentSites, monkeypatch: pytest.MonkeyPatch) -> None:
    real = domain_pages.DomainChecker
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        ask = functools.partial(real, nameserver=silent.getsockname(), timeout_seconds=0.05)
        monkeypatch.setattr(domain_pages, "DomainChecker", ask)
        browser = log_in_to_console(sites, "rita", "run")
        path = f"/sites/{sites.garden.id}/domains"
        page = browser.get(path)
        assert cells(page)[0][2] == "–"
        fields = {"csrf_token": form_token(browser), "action": "check"}
        page = browser.post(path, fields, status=303).follow()
    assert "Check now" in page.text
    assert cells(page)[0][2].startswith("DNS has not answered Certificate unknown ")
    assert "no DNS server has answered" in page.text
    assert "Jetzt prüfen" in browser.get(path, headers={"Accept-Language": "de"}).text
    other = browser.get(f"/sites/{sites.sternwarte.id}/domains")
    assert cells(other)[0][2] == "–"


def test_the_page_of_domains_names_the_records_that_are_expected(sites: ContentSites) -> None:
    browser = log_in_to_console(sites, "luca", "look")
    page = browser.get(f"/sites/{sites.garden.id}/domains")
    assert page.html.select_one("#dns + pre").text.splitlines() == [
        "garden.example.  A  192.0.2.7", "garden.example.  AAAA  2001:db8::7",
        "alias.example.  A  192.0.2.7", "alias.example.  AAAA  2001:db8::7",
    ]  # fmt: skip


def test_the_overview_shows_the_last_day_and_leads_to_the_log(
    sites: ContentSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = int(time.time()) // 60
    traffic.write_counts(sites.engine, TrafficCounts({(sites.garden.id, "entry", minute): [80, 20, 4.0, 5_000]}, []))
    browser = log_in_to_console(sites, "luca", "look")
    page = browser.get(f"/sites/{sites.garden.id}")
    assert not page.html.select("svg.plot")
    assert [each.b.text for each in page.html.select(".tile")] == ["–", "–", "–", "–"]
    assert "not counted" in page.text
    measure_sites(sites.engine, parse_settings(sites.settings))
    monkeypatch.setattr("multisite.console.site_pages.is_counted", lambda _request: True)
    page = browser.get(f"/sites/{sites.garden.id}")
    assert "80 requests, 20 errors" in page.html.select_one("#plot").text
    requests, errors, rows, files = [each.b.text for each in page.html.select(".tile")]
    assert (requests, errors) == ("80", "20")
    assert rows.isdigit()
    assert "–" not in (rows, files)
    assert len(page.html.select("rect.requests")) == 24
    assert "0 requests" in browser.get(f"/sites/{sites.sternwarte.id}").html.select_one("#plot").text
    record_now(sites.engine, "rename-site", sites.garden)
    assert {row[3] for row in cells(page.click("Log of this site"))} == {"garden.example"}


# All of them.


def test_the_pages_need_a_log_in_and_are_there_in_german(sites: ContentSites) -> None:
    browser = log_in_to_console(sites, "luca", "look")
    for path, german in (
        ("/log", "Protokoll"), ("/jobs", "Aufträge"), (f"/sites/{sites.garden.id}/traffic", "Zugriffe"),
    ):  # fmt: skip
        console_browser(sites).get(path, status=403)
        page = browser.get(path, headers={"Accept-Language": "de"})
        assert german in page.html.select_one("h1, title").text + page.html.title.text
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        assert " style=" not in page.text
