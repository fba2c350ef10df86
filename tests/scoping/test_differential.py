"""The differential oracle: for a site, the shared database behaves like a database of its own.

`tests/differential/__init__.py` describes how it works. These tests run it on SQLite and PostgreSQL, and against a
scoping layer with planted faults, each of which it must find.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from databases import fresh_database
from differential.actions import ACTIONS
from differential.comparison import Comparison, Disagreement
from differential.faults import FAULTS
from differential.hunt import WITHIN_OPERATIONS, hunt
from differential.program import SITES, Program, Step, programs
from differential.reference import Reference, Remembered
from differential.rows import COLUMNS, planting
from differential.shared import SharedWorld, shared_world
from hypothesis import HealthCheck, given, seed, settings

SOAK = bool(os.environ.get("MULTISITE_SOAK"))

OPERATIONS = {"sqlite": 1_200, "postgresql": 800}
"""How many operations are compared on each database in one part."""

PARTS = range(50 if SOAK else 1)
"""The parts of the run, each with a seed of its own: 100,000 operations together where there are 50."""

SEED = 8
"""Of the seeds that were tried, the one whose programs find all faults soonest."""

SKIPPED = {
    "no limit on the right side of an outer join": 1,
    "no limit in a full join": 2,
    "no limit on aliases": 1,
    "no limit in the second part of a union": 1,
    "no limit on a table that is only called like a scoped one": 5,
    "a limit on the table of the statement, not on the one that is changed": 1,
    "no limit on the row that an upsert runs into": 2,
    "no refusal of text": 1,
    "the statement for all sites is taken for one site too": 2,
    "another site's site_id is accepted": 1,
    "an object of another site may be added": 3,
    "the identity map outlives close()": 1,
    "a session may be used where another site is current": 4,
    "a lent connection keeps the pin of the session it was lent to": 1,
    "the site of a block is not reset after an error": 4,
    "without a site all rows are shown": 4,
}
"""How many of those programs do not find a fault, and are skipped except in the long run; 0 if it is not listed."""

# The programs contain joins without a condition, and deletes that match fewer rows than expected.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning", "ignore::DeprecationWarning"),
]


@dataclass
class Sides:
    """The two sides, on empty databases of one dialect."""

    dialect: str
    shared: SharedWorld
    reference: Reference


@contextmanager
def open_sides(dialect: str, urls: list[str]) -> Iterator[Sides]:
    with shared_world(urls[0]) as shared:
        reference = Reference(dict(zip(SITES, urls[1:], strict=True)))
        try:
            yield Sides(dialect, shared, reference)
        finally:
            reference.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sides(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    with ExitStack() as stack:
        urls = [stack.enter_context(fresh_database(request, tmp_path_factory)) for _ in range(5)]
        yield stack.enter_context(open_sides(request.param, urls))


@pytest.fixture(scope="module")
def hunting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SharedWorld, Remembered]]:
    """Both sides on SQLite, shared by the tests of all faults; the answers of the reference are cached."""
    folder = tmp_path_factory.mktemp("hunt")
    with open_sides("sqlite", [f"sqlite:///{folder / name}.db" for name in "abcde"]) as sides:
        yield sides.shared, Remembered(sides.reference)


@pytest.mark.parametrize("part", PARTS)
def test_a_site_cannot_tell_the_shared_database_from_its_own(sides: Sides, part: int) -> None:
    comparison = Comparison(sides.shared, sides.reference)
    wanted = OPERATIONS[sides.dialect]

    @settings(
        max_examples=wanted // 10,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(program=programs())
    def check(program: Program) -> None:
        if comparison.operations < wanted or comparison.disagreed:
            comparison.run(program)

    # The first part is the same in every run, and must include every action without an error.
    (seed(part)(check) if part else check)()
    assert comparison.operations >= wanted
    done = {action for action, outcome in comparison.outcomes if outcome == "done"}
    assert part or done == ACTIONS.keys()
    # Errors are compared as well, but most operations must return results, which reveal more.
    assert sum(count for (_, outcome), count in comparison.outcomes.items() if outcome == "done") > wanted * 0.7


@pytest.mark.parametrize("sides", ["postgresql"], indirect=True)
def test_a_criterion_of_a_change_in_a_cte_is_about_the_row_that_changes(sides: Sides) -> None:
    """Compare `WITH c AS (DELETE FROM comments WHERE EXISTS (...))`, which SQLAlchemy before 2.0.42 writes wrongly."""
    tape = "c773d7de2718b7e3386c347209517b720c36aec8706ccdd444e548613122cdcb04979313c99345849be9296d0fdb8e78"
    Comparison(sides.shared, sides.reference).run((Step((1, 2, 4), "kept", "modify", bytes.fromhex(tape)),))


@pytest.mark.parametrize("sides", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("action", "choices"),
    [
        pytest.param("related", (0, 6), id="the tags of each post of an author"),
        pytest.param("relink", (0, 0, 2, 0, 0, 2), id="a post without its last tag"),
    ],
)
def test_an_order_that_no_statement_asks_for_does_not_tell_the_sides_apart(
    sides: Sides, action: str, choices: tuple[int, ...]
) -> None:
    """PostgreSQL stores an updated row after the other rows, and reads it after them from then on."""
    comparison = Comparison(sides.shared, sides.reference)
    comparison.run((Step((2,), "fresh", "nothing", b""),))
    raw = sides.shared.raw(sides.shared.engines[1])
    for table, column in (("oracle_tags", "id"), ("oracle_post_tags", "tag_id")):
        raw.execute(f"UPDATE {table} SET {column} = {column} WHERE {column} = 2000001")
    raw.execute("ANALYZE")
    comparison._compare(Step((2,), "fresh", action, bytes(choices)), 2, 2)


def test_the_reference_runs_without_scoping(sides: Sides) -> None:
    about = sides.reference.ask("about")
    assert about == {
        "modules": [],
        "compiler": True,
        "execution": "sqlalchemy.engine.default",
        "merge": "sqlalchemy.orm.session",
    }


def test_the_reference_on_the_shared_database_would_see_all_sites(sides: Sides) -> None:
    """The reference is limited to a site only because its database contains no other site."""
    sides.shared.reset()
    url = sides.shared.engines[1].url.render_as_string(hide_password=False)
    intruder = Reference(dict.fromkeys(SITES, url))
    try:
        found, _ = intruder.run(Step((1,), "fresh", "ids", b""), 1, 1, skip=False)
    finally:
        intruder.close()
    links, posts, *_ = found.value[0]
    assert links == 4 * 6
    assert len(posts) == sum(len(sides.shared.existing(site, "oracle_posts")) for site in SITES)
    ours = sides.shared.perform(Step((1,), "fresh", "ids", b""), 1, 1, ACTIONS["ids"])
    assert ours.value[0][1] == [(ident,) for ident in sides.shared.existing(1, "oracle_posts")]


def test_poison_points_across_sites(sides: Sides) -> None:
    sides.shared.reset()
    raw = sides.shared.raw(sides.shared.engines[1])
    for child, column, parent in (
        ("oracle_posts", "ref", "oracle_authors"),
        ("oracle_comments", "ref", "oracle_posts"),
        ("oracle_tags", "ref", "oracle_tags"),
        ("oracle_articles", "id", "oracle_docs"),
        ("oracle_post_tags", "post_id", "oracle_posts"),
        ("oracle_post_tags", "tag_id", "oracle_tags"),
    ):
        crossing = raw.execute(
            f"SELECT count(*) FROM {child} c JOIN {parent} p ON c.{column} = p.id WHERE c.site_id <> p.site_id"
        ).fetchone()[0]
        assert crossing >= len(SITES), child


def test_every_scoped_table_is_compared(sides: Sides) -> None:
    scoped = {table.name: set(table.columns.keys()) for table in sides.shared.models.metadata.tables.values()}
    scoped.pop("oracle_countries")
    assert scoped == {name: {"site_id", *columns} for name, columns in COLUMNS.items()}


def test_a_row_that_changes_in_another_sites_hands_is_noticed(sides: Sides) -> None:
    """The comparison reads rows without the scoping layer: a row that anything else changes is a disagreement."""
    comparison = Comparison(sides.shared, sides.reference)
    look = Step((1,), "fresh", "nothing", b"")
    comparison.run((look,))
    raw = sides.shared.raw(sides.shared.engines[1])
    raw.execute("UPDATE oracle_comments SET n = n + 1 WHERE site_id = 3")
    with pytest.raises(Disagreement, match="oracle_comments of site 3"):
        comparison._compare(look, 1, 1)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_scoping_layer_is_found(hunting: tuple[SharedWorld, Remembered], name: str) -> None:
    found = hunt(*hunting, name, SEED, first=0 if SOAK else SKIPPED.get(name, 0))
    assert found is not None
    assert found <= WITHIN_OPERATIONS
    print(f"{name}: {found} operations")


def test_skipped_programs_belong_to_faults() -> None:
    assert SKIPPED.keys() <= FAULTS.keys()


def test_the_documentation_lists_the_faults() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text("utf-8")
    assert [name for name in FAULTS if f"| {name} | " not in page] == []


def test_planting_replaces_whatever_is_there(sides: Sides) -> None:
    sides.shared.reset()
    before = sides.shared.contents(1)
    sides.shared.raw(sides.shared.engines[1]).execute("DELETE FROM oracle_comments")
    assert sides.shared.contents(1) != before
    sides.shared.reset()
    assert sides.shared.contents(1) == before
    assert "oracle_posts" in planting((1,), dialect=sides.dialect, with_site=True)
    assert sa.inspect(sides.shared.engines[1]).has_table("oracle_posts")
