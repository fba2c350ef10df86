"""The benchmark runs, compares equal work, and compiles no statement again for a second site.

No test depends on its measurements.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import warm
from paths import ROOT
from sqlalchemy import event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, joinedload, mapped_column, relationship
from webtest import TestApp

from benchmarks import (
    archives,
    console,
    distributed,
    fair_share,
    layouts,
    live,
    memory,
    pieces,
    profile,
    search,
    sizing,
    summary,
)
from benchmarks.__main__ import PARTS
from benchmarks.alternatives import ALTERNATIVES, BASELINE
from benchmarks.compare import HAND, SCOPED, check_results
from benchmarks.host_lookup import KINDS, QUICK
from benchmarks.measure import check_pages
from benchmarks.page import PATHS
from benchmarks.statements import OPERATIONS
from multisite import Site, SiteScoped, scoped_reference
from multisite.core.keys import DIRECTORY
from multisite.directory.models import metadata

pytestmark = pytest.mark.slow


def ended(*arguments: str, python: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Its processes, and it unless `python` is given, have imported the libraries before."""
    environ = {**os.environ, "MULTISITE_BENCH_PYTHON": json.dumps(warm.python())}
    command = [*(python or warm.python()), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=600
    )  # fmt: skip


def run(*arguments: str, python: Sequence[str] = ()) -> str:
    done = ended(*arguments, python=python)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_quick_run_prints_every_candidate_and_statement(tmp_path: Path) -> None:
    printed = run("-m", "benchmarks", "all", "--quick", "--json", str(tmp_path / "results.json"))
    for title in [each.title for each in ALTERNATIVES] + list(OPERATIONS.values()) + list(KINDS.values()):
        assert title in printed
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert set(results["costs"]) == {each.key for each in ALTERNATIVES}
    assert all(set(PATHS) <= set(pieces) for pieces in results["costs"].values())
    assert results["costs"][BASELINE.key]["/"]["ratio"] == 1
    assert list(results["finding"]) == [str(domains) for domains in QUICK.domains]
    assert all(set(KINDS) - set(kinds) <= {"urlmap", "urlmap unknown"} for kinds in results["finding"].values())
    assert list(results["statements"]) == ["SQLite", "PostgreSQL"]
    for of_database in results["statements"].values():
        assert set(of_database) == {HAND, SCOPED}
        assert all(list(pieces) == list(OPERATIONS) for pieces in of_database.values())
    assert [row["applications"] for row in results["vhosts"]["memory"]] == [1, 2, 1, 2]
    for counts in results["caches"].values():
        assert counts["compiled for 3"] == counts["compiled for 1"] > 0
        assert counts["hits for 3"] == 2 * counts["compiled for 1"]


def test_the_memory_of_each_application_is_measured() -> None:
    printed = run("-m", "benchmarks.memory", "--quick")
    assert [line.split("|")[1].strip() for line in printed.splitlines()[2:]] == list(memory.AIMS)
    printed = run("-m", "benchmarks.memory", "--quick", "--profile")
    assert "mako/template.py" in printed
    assert "multisite/templates/compiled.py" in printed


def test_commands_on_many_sites_are_measured() -> None:
    printed = run("-m", "benchmarks.many_sites", "--quick")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()]
    assert [row[0] for row in rows[2:]] == ["check", "list-sites", "list-sites --count", "show-site"]
    assert all(float(cell) > 0 for row in rows[2:] for cell in row[1:])


def test_a_new_site_is_live_in_each_process_by_its_notification(postgresql_database_url: str, tmp_path: Path) -> None:
    found = live.measure(postgresql_database_url, tmp_path, sites=1, workers=2)
    assert len(found) == 2
    assert min(found) > 0


def test_an_unknown_part_is_refused() -> None:
    done = ended("-m", "benchmarks", "pages", "nothing")
    assert done.returncode == 2
    assert "no such part: nothing" in done.stderr
    assert " or ".join(PARTS) in " ".join(run("-m", "benchmarks", "--help").split())


def test_the_baseline_does_not_import_multisite() -> None:
    def imports(first: str, second: str) -> str:
        """Return whether a new Python has imported multisite after `first`, and then after `second`."""
        told = "print('multisite' in sys.modules)"
        return run("-c", f"import sys; {first}; {told}; {second}; {told}", python=[sys.executable])

    assert imports("import benchmarks.worker, benchmarks.baseline", "import benchmarks.served").split() == [
        "False", "True",
    ]  # fmt: skip
    made = "from benchmarks.statements import Statements; Statements('sqlite://', by_hand={})"
    assert imports(made.format(True), made.format(False)).split() == ["False", "True"]


STATEMENTS_OF = {
    "begin": 0, "get_warm": 1, "selectin": 6, "lazy_one": 4, "lazy_many": 4, "update": 4, "delete": 4,
}  # fmt: skip
"""Number of statements of three repetitions of a piece of work, unless it is three: some load an object first, and
selectinload executes two."""

COUNT = """
import json, sys
import sqlalchemy as sa
from benchmarks.compare import make_library
from benchmarks.statements import OPERATIONS, Statements
make_library(sys.argv[1])
statements = Statements(sys.argv[1], by_hand=False)
sent = []
sa.event.listen(statements.engine, "before_cursor_execute", lambda c, cursor, sql, *rest: sent.append(sql))
found = {}
for name in OPERATIONS:
    sent.clear()
    statements.work[name](3)
    found[name] = len(sent)
print(json.dumps(found))
"""


def test_each_piece_of_work_executes_the_expected_statements(tmp_path: Path) -> None:
    """For example, a lazy load that found its object in memory would measure nothing."""
    found = json.loads(run("-c", COUNT, f"sqlite:///{tmp_path / 'library.db'}"))
    assert found == {name: STATEMENTS_OF.get(name, 3) for name in OPERATIONS}


def test_different_results_are_not_compared() -> None:
    page = "<article>" * 10
    check_pages({BASELINE.key: page, "other": page})
    with pytest.raises(RuntimeError, match="do not serve the same page"):
        check_pages({BASELINE.key: page, "other": page + "<article>"})
    with pytest.raises(RuntimeError, match="do not serve the same page"):
        check_pages({BASELINE.key: "", "other": ""})
    found = dict.fromkeys(OPERATIONS, "20")
    check_results({HAND: found, SCOPED: found})
    with pytest.raises(RuntimeError, match="the results of 'join' differ"):
        check_results({HAND: found, SCOPED: {**found, "join": "19"}})


# One compiled statement serves all sites.


class Base(DeclarativeBase):
    pass


class Writer(SiteScoped, Base):
    __tablename__ = "bench_writers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Post(SiteScoped, Base):
    __tablename__ = "bench_posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    writer_id: Mapped[int | None] = mapped_column(scoped_reference("bench_writers.id"))
    writer: Mapped[Writer | None] = relationship()


def compiled_for(sites: int, work: Callable[[Session, int], None]) -> Counter[str]:
    """Run `work` for `sites` sites on a new engine, and count hits and misses of the compiled cache."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    metadata.create_all(engine)
    Base.metadata.create_all(engine)
    found: Counter[str] = Counter()

    def note(_connection: Any, _cursor: Any, _sql: str, _values: Any, context: Any, _many: bool) -> None:
        found[context.cache_hit.name] += 1

    event.listen(engine, "after_cursor_execute", note)
    for number in range(1, sites + 1):
        host = f"site{number}.example"
        with Session(engine, info={"site": Site(number, host, host, host)}) as session:
            work(session, number)
    engine.dispose()
    return found


def everyday(session: Session, number: int) -> None:
    """Insert, select, load eagerly and lazily, update and delete."""
    post = Post(title=f"post {number}")
    session.add(post)
    session.flush()
    newest = sa.select(Post).order_by(Post.id.desc()).limit(20)
    session.scalars(newest.options(joinedload(Post.writer)).where(Post.title != "other")).all()
    post.title = "other"
    assert list(session.scalars(sa.select(Writer).join(Post, Post.writer_id == Writer.id))) == []
    session.refresh(post)
    session.delete(post)
    session.flush()
    assert session.get(Post, number) is None


def by_a_literal(session: Session, number: int) -> None:
    """Limit a statement the wrong way: with the site as a literal in its text."""
    session.execute(sa.select(Post.title).where(sa.literal_column(str(number)) == Post.site_id)).all()


def test_nothing_is_compiled_again_for_a_second_site() -> None:
    one, thousand = (compiled_for(sites, everyday) for sites in (1, 1_000))
    compiled = one["CACHE_MISS"]
    assert compiled == 7
    assert set(one) | set(thousand) == {"CACHE_MISS", "CACHE_HIT"}
    assert thousand["CACHE_MISS"] == compiled
    assert thousand["CACHE_HIT"] == 1_000 * one.total() - compiled


def test_a_literal_site_is_compiled_again_for_each_site() -> None:
    assert compiled_for(20, by_a_literal) == {"CACHE_MISS": 20}


def test_a_quick_run_of_layouts_prints_every_kind() -> None:
    printed = run("-m", "benchmarks.layouts", "--quick")
    assert all(title in printed for title in layouts.KINDS.values())
    assert "one process each" in printed


def test_a_quick_run_of_sizes_prints_every_page_of_both_databases() -> None:
    printed = run("-W", "ignore", "-m", "benchmarks.size", "--quick")
    for title in ("SQLite, alone", "SQLite, among 2 sites", "PostgreSQL, alone", "PostgreSQL, among 2 sites"):
        assert title in printed
    assert printed.count("| sitemap |") == 4


# The table, and the comparison with an earlier commit


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the files and databases of all applications."""
    folder = tmp_path_factory.mktemp("pieces")
    run("-m", "benchmarks.pieces", "prepare", str(folder))
    return folder


def test_each_piece_of_the_table_responds(prepared: Path) -> None:
    wanted: dict[str, list[str]] = {}
    for row in summary.ROWS:
        if row.piece != summary.START:
            wanted.setdefault(row.kind, []).append(row.piece)
            if row.peer is not None:
                wanted.setdefault(pieces.BASELINE, []).append(row.peer)
    statuses = {"unknown host": "404 Not Found", "static file, 304": "304 Not Modified"}
    for kind, names in wanted.items():
        printed = run("-W", "ignore", "-m", "benchmarks.pieces", kind, str(prepared), "--once", *names).splitlines()
        for piece, said in zip(names, printed, strict=True):
            if piece == "static_path":
                assert said.startswith("/static/style.css?v=")
            else:
                assert said == statuses.get(piece, "200 OK"), piece
    assert {row.piece for row in summary.ROWS} >= set(summary.SHORT)


def test_the_profile_of_a_page_knows_its_packages(prepared: Path) -> None:
    counted = json.loads(run("-W", "ignore", "-m", "benchmarks.profile", "--count", "page", str(prepared)))
    assert {"SQLAlchemy", "Pyramid, WebOb", "the templates", "Python", "multisite.scoping", "the benchmark"} <= {
        *counted
    }
    # Nothing is left over under the name of a file.
    assert not [name for name in counted if "/" in name or name.endswith((".py", ".mako"))]
    # The page of ten entries escapes some fifty texts, each in a function of multisite.templates that calls one in C.
    assert counted["multisite.templates"][1] >= 50
    assert profile.package_of("/env/lib/python3.11/site-packages/zope/sqlalchemy/datamanager.py").startswith(
        "pyramid_tm"
    )
    table = profile.format_profile({"plain": {"a": (1, 1), "b": (2_000, 30)}, "ours": {"a": (5, 1)}})
    assert table.splitlines()[2:] == ["| a | 1, 1 | 5, 1 |", "| b | 2,000, 30 |  |", "| all | 2,001, 31 | 5, 1 |"]


def test_a_line_of_the_fair_share_says_how_many_runs_are_within_the_aim() -> None:
    alone, loaded, slow = [0.001] * 300, [0.0012] * 300, [0.004] * 300
    case = fair_share.Case(limit=4, waiting=20, threads=32, pause=0.0)
    line = fair_share.format_line(case, [(alone, loaded), (alone, loaded), (alone, slow)])
    assert line == "| 4 of 32 threads, 20 wait | 0 | 1.0 | 1.2 | 1.0 | 1.2 | 1.2–4.0 | 2 of 3 |"


def test_only_what_costs_clearly_more_is_worse() -> None:
    before = {"page": 1000.0, "static file": 100.0, "gone": 1.0}
    now = {"page": 1019.0, "static file": 103.0, "new": 5.0}
    assert summary.worse(now, before) == ["static file"]
    table = summary.format_comparison({"page": 1_019_000.0}, {"page": 1_000_000.0}, "0123456789abcdef")
    assert "| page | 1,019.0 | 1,000.0 | 1.019 |" in table
    assert "0123456789 |" in table


def test_the_table_marks_what_is_over_its_aim() -> None:
    ours = {row.piece: 600_000.0 for row in summary.ROWS}
    peers = {row.peer: 1_000_000.0 for row in summary.ROWS if row.peer is not None}
    table = summary.format_table(ours, peers, {"flask": 700_000.0, "django": 2_000_000.0})
    assert "| 1000 instructions | multisite | plain Pyramid | Flask | Django | × | aim |" in table
    assert "| page | 600 | 1,000 | 700 | 2,000 | 0.600 | 0.62 |" in table
    assert "| page, columns | 600 | 1,000 | 700 | 2,000 | 0.600 (over) | 0.5 |" in table
    assert "| static file | 600 | 1,000 |  |  | 0.600 (over) | 0.15 |" in table
    assert "| static_path | 600 (over) |  |  |  |  | 5 |" in table
    assert "| page | 600 | 1,000 | 0.600 | 0.62 |" in summary.format_table(ours, peers, {})


def test_the_three_ways_to_write_the_page_serve_the_same(prepared: Path) -> None:
    rows = [row for row in summary.ROWS if row.piece.startswith("page")]
    assert len(rows) == 3
    served = {pieces.Pieces(row.kind, str(prepared)).body(row.piece) for row in rows}
    assert len(served) == 1
    assert served.pop().count("<article>") == 10


def test_an_unknown_commit_is_an_error() -> None:
    done = ended("-m", "benchmarks", "--against", "no-such-commit")
    assert done.returncode == 1
    assert "no-such-commit" in done.stderr or "cannot be counted" in done.stderr


def test_the_base_is_a_commit() -> None:
    assert re.fullmatch("[0-9a-f]{40}", (ROOT / "benchmarks" / "base").read_text("ascii").strip())


def test_the_measured_searches_find_something(capsys: pytest.CaptureFixture[str]) -> None:
    search.main(["--quick", "--database", "sqlite"])
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in search.QUERIES)


def test_the_measured_copy_is_a_site(tmp_path: Path) -> None:
    archives.copy_rows(f"sqlite:///{tmp_path}/rows.db", tmp_path, archives.QUICK)
    assert sorted(path.name for path in (tmp_path / "sites").iterdir()) == ["copy.example", archives.HOST]


def test_the_pages_of_the_console_are_served_with_few_statements(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'console.db'}"
    console.make_sites(url, 3)
    served = console.Console(url, str(tmp_path), 3)
    statements = {name: served.count_statements(name) for name in console.PAGES}
    served.app.registry[DIRECTORY].engine.dispose()
    assert 0 < min(statements.values()) <= max(statements.values()) < 10
    table = console.format_costs("SQLite", {count: dict.fromkeys(console.PAGES, (3, 2e6)) for count in (10, 60)})
    assert "| list | 3 | 2.00 | 2.00 | 1.00 |" in table


@pytest.mark.soak
def test_servers_of_every_kind_are_measured(tmp_path: Path) -> None:
    printed = run("-W", "default", "-m", "benchmarks.sizing", "--quick")
    for server in sizing.SERVERS:
        assert re.search(rf"^ +3  {server} +\d+ +\d+ ms +\d+ MiB$", printed, re.MULTILINE), printed


def test_what_a_server_of_the_sizing_benchmark_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = sizing.make_database(tmp_path / "3.db", 3, 2)
    monkeypatch.setenv(sizing.SETTINGS, json.dumps(sizing.settings_of(url, tmp_path)))
    app = sizing.make_app()
    for number in (1, 2):
        assert "Entry 0" in TestApp(app, extra_environ={"HTTP_HOST": sizing.host_of(number)}).get("/").text
    assert "Entry" not in TestApp(app, extra_environ={"HTTP_HOST": sizing.host_of(3)}).get("/").text
    app.registry[DIRECTORY].engine.dispose()


def test_pages_of_two_databases_are_measured_side_by_side(tmp_path: Path) -> None:
    urls = {name: sizing.make_database(tmp_path / f"{name}.db", 10, 10) for name in ("plain", "distributed")}
    found = distributed.measure(urls, tmp_path, 1)
    assert list(found) == list(distributed.PAGES)
    assert all(seconds > 0 for by in found.values() for seconds in by.values())


def test_without_a_coordinator_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MULTISITE_TEST_CITUS_URL", raising=False)
    distributed.main(["--quick"])
    assert capsys.readouterr().out == "Nothing was measured: MULTISITE_TEST_CITUS_URL names no coordinator\n"


@pytest.mark.skipif(not distributed.coordinator_url(), reason="no Citus: MULTISITE_TEST_CITUS_URL names no coordinator")
def test_pages_of_a_distributed_database_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    distributed.main(["--quick"])
    assert re.search(r"^/archive +[\d.]+ ms +[\d.]+ ms +[\d.]+$", capsys.readouterr().out, re.MULTILINE)
