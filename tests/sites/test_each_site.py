"""`multisite each-site`: a command for each site, in separate processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from databases import closing_engine, make_own_tables

from multisite import MultisiteError, Site, all_sites
from multisite.cli import main
from multisite.core.settings import parse_settings
from multisite.directory.models import SiteRow
from multisite.sites.availability import disable_site, maintain_site
from multisite.sites.creation import add_site
from multisite.sites.each_site import Outcome, SelectedSite, run_for_each, select_sites

HOSTS = ("a.example", "b.example", "b.example/shop", "c.other")


class Workspace:
    """A folder with an ini and sites, to run the command in."""

    def __init__(self, folder: Path, engine: sa.Engine) -> None:
        self.folder = folder
        self.engine = engine
        self.ini = folder / "development.ini"
        self.ini.write_text(f"[app:main]\nuse = egg:pyramid-multisite\nsqlalchemy.url = {engine.url}\n", "utf-8")
        make_own_tables(engine)
        settings = parse_settings({"multisite.sites_dir": folder / "sites"})
        self.sites = [add_site(engine, host, settings=settings) for host in HOSTS]

    def invoke(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["-c", str(self.ini), "each-site", *arguments])

    def json(self, *arguments: str, code: int = 0) -> list[dict[str, object]]:
        result = self.invoke("--json", *arguments)
        assert result.exit_code == code, result.output
        found: list[dict[str, object]] = json.loads(result.stdout)
        return found

    def results(self, *arguments: str, code: int = 0) -> list[tuple[object, object]]:
        return [(item["domain"], item["result"]) for item in self.json(*arguments, code=code)]


@pytest.fixture
def workspace(sqlite_database_url: str, tmp_path: Path) -> Iterator[Workspace]:
    with closing_engine(sqlite_database_url) as engine:
        yield Workspace(tmp_path, engine)


PRINT = 'echo "$MULTISITE_SITE $MULTISITE_SITE_ID"'
FAIL_FOR_B = 'test "$MULTISITE_SITE" != b.example || exit 3'


def test_the_command_runs_for_each_site(workspace: Workspace) -> None:
    result = workspace.invoke("--", "sh", "-c", PRINT)
    assert result.exit_code == 0
    assert [line for line in result.stderr.splitlines() if "|" in line] == [
        f"{site} | {site} {site.id}" for site in workspace.sites
    ]
    assert [line.split(" in ")[0] for line in result.stderr.splitlines() if "|" not in line] == [
        f"[{number}/4] {host} done" for number, host in enumerate(HOSTS, 1)
    ]
    *table, summary = result.stdout.splitlines()
    assert [line.split(" in ")[0].split() for line in table] == [[host, "done"] for host in HOSTS]
    assert summary == "4 done."


def test_a_placeholder_is_replaced_by_the_domain(workspace: Workspace) -> None:
    result = workspace.invoke("--only", "b.example/*", "--", "sh", "-c", 'echo "$1 $2"', "sh", "{}", "x{}")
    assert "b.example/shop | b.example/shop x{}" in result.stderr


def test_patterns(workspace: Workspace) -> None:
    assert [host for host, _ in workspace.results("--only", "*.EXAMPLE", "--", "true")] == ["a.example", "b.example"]
    assert [host for host, _ in workspace.results("--skip", "*.example", "--skip", "*/*", "--", "true")] == ["c.other"]
    assert [host for host, _ in workspace.results("--only", "b.*", "--skip", "*/shop", "--", "true")] == ["b.example"]
    for option in ("--only", "--skip"):
        result = workspace.invoke(option, "*.exmaple", "--", "true")
        assert result.exit_code == 1
        assert result.stderr == ("Error: no site matches '*.exmaple'; list all sites: multisite list-sites\n")


def test_a_failure_stops_the_run(workspace: Workspace) -> None:
    found = workspace.json("--", "sh", "-c", FAIL_FOR_B, code=1)
    assert [(item["domain"], item["result"], item["exit"], item["reason"]) for item in found] == [
        ("a.example", "done", 0, None),
        ("b.example", "failed", 3, None),
        ("b.example/shop", "not run", None, "it failed for b.example"),
        ("c.other", "not run", None, "it failed for b.example"),
    ]


def test_keep_going_continues_after_a_failure(workspace: Workspace) -> None:
    found = workspace.results("--keep-going", "--jobs", "3", "--", "sh", "-c", FAIL_FOR_B, code=1)
    assert found == [("a.example", "done"), ("b.example", "failed"), ("b.example/shop", "done"), ("c.other", "done")]


def test_disabled_sites_are_left_out_and_listed(workspace: Workspace) -> None:
    disable_site(workspace.engine, "a.example")
    maintain_site(workspace.engine, "c.other")
    with all_sites("a test"), workspace.engine.begin() as connection:
        connection.execute(sa.update(SiteRow).where(SiteRow.folder == "b.example").values(status="pending"))
    found = workspace.json("--", "true")
    assert [(item["domain"], item["result"], item["reason"]) for item in found] == [
        ("a.example", "left out", "disabled"),
        ("b.example", "left out", "pending"),
        ("b.example/shop", "done", None),
        ("c.other", "done", None),
    ]
    assert "[1/4] a.example left out: disabled\n" in workspace.invoke("--", "true").stderr


def test_jobs_run_at_the_same_time(workspace: Workspace) -> None:
    """Each process waits until all four have started, which would never happen if they ran one after the other."""
    code = (
        'touch "begun-$MULTISITE_SITE_ID"; for i in $(seq 200); do '
        "test $(ls begun-* | wc -l) = 4 && exit 0; sleep 0.1; done; exit 1"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.folder)
        assert {result for _, result in workspace.results("--jobs", "4", "--", "sh", "-c", code)} == {"done"}


def test_commands_of_multisite_read_the_same_ini(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.folder)
    code = 'import os; print("\\n".join([os.environ["MULTISITE_CONFIG"], os.environ["MULTISITE_SITE"]]))'
    result = CliRunner().invoke(
        main, ["-c", "development.ini", "each-site", "--only", "c.*", "--", sys.executable, "-c", code]
    )
    assert f"c.other | {workspace.ini}\nc.other | c.other\n" in result.stderr


def test_a_missing_command(workspace: Workspace) -> None:
    result = workspace.invoke("--", "no-such-command")
    assert (result.exit_code, result.stderr) == (1, "Error: command not found: 'no-such-command'\n")
    assert workspace.invoke().exit_code == 2


def test_a_command_that_cannot_be_started_is_a_failure(workspace: Workspace) -> None:
    script = workspace.folder / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    found = workspace.json("--", str(script), code=1)
    assert (found[0]["result"], found[0]["reason"]) == ("failed", "No such file or directory")
    assert found[1]["result"] == "not run"


def test_binary_output_is_escaped_and_there_is_no_input(workspace: Workspace) -> None:
    result = workspace.invoke("--only", "a.*", "--", "sh", "-c", "printf '\\377\\n'; cat; printf last")
    assert result.exit_code == 0
    assert [line for line in result.stderr.splitlines() if "|" in line] == ["a.example | \\xff", "a.example | last"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_the_command_ends_its_processes(workspace: Workspace, number: int) -> None:
    """Grandchildren too: killing a shell does not end what it started."""
    code = 'sleep 1000 & echo $! > "pid-$MULTISITE_SITE_ID"; wait'
    # A shell ignores SIGINT in background processes, and the test's processes would inherit that.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    run = f"{heeding}; from multisite.cli import main; main()"
    command = [sys.executable, "-c", run, "each-site", "--json", "--jobs", "2"]
    process = subprocess.Popen(
        [*command, "--", "sh", "-c", code],
        cwd=workspace.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pids = [workspace.folder / f"pid-{site.id}" for site in workspace.sites[:2]]
    assert wait_for(lambda: all(path.exists() and path.read_text().strip() for path in pids))
    process.send_signal(number)
    printed, _progress = process.communicate(timeout=60)
    assert process.returncode == 1
    assert [(item["result"], item["exit"], item["reason"]) for item in json.loads(printed)] == [
        ("failed", -signal.SIGTERM, None),
        ("failed", -signal.SIGTERM, None),
        ("not run", None, "interrupted"),
        ("not run", None, "interrupted"),
    ]
    assert wait_for(lambda: not any(is_alive(int(path.read_text())) for path in pids))


def wait_for(condition: object) -> bool:
    assert callable(condition)
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie process, as in a container without an init process.
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# The functions behind the command.


def test_no_sites_to_select() -> None:
    assert select_sites([]) == []
    with pytest.raises(MultisiteError):
        select_sites([], only=["*"])


def test_outcomes_are_reported_as_they_happen_and_returned_in_order() -> None:
    sites = [Site(number, f"site{number}.example", "", "") for number in range(20)]
    told: list[Outcome] = []
    lines: list[tuple[Site, str]] = []
    outcomes = run_for_each(
        [SelectedSite(site) for site in sites],
        ["sh", "-c", 'echo "$MULTISITE_SITE_ID"; sleep 0.0$MULTISITE_SITE_ID; exit $((MULTISITE_SITE_ID % 2))'],
        jobs=4, keep_going=True, on_output=lambda site, line: lines.append((site, line)), on_done=told.append,
    )  # fmt: skip
    assert [(outcome.site, outcome.code) for outcome in outcomes] == [(site, site.id % 2) for site in sites]
    assert sorted(told, key=lambda outcome: outcome.site.id) == outcomes
    assert sorted(lines, key=lambda line: line[0].id) == [(site, str(site.id)) for site in sites]
