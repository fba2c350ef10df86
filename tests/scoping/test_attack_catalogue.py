"""The catalogue: each way to touch a row, for a site and for none, with rows of another site in reach.

What the ways are, and what each has to end in, stands in tests/attack_catalogue/. Here they are gone on both databases,
with the wall and, to see that they notice, with a part of it or all of it taken away.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from attack_catalogue import GROUPS, SINCE_2_1, Outcome, Place, Rows, Way, all_ways, rows_of_both, run_way
from attack_catalogue.__main__ import as_markdown, limits_as_markdown
from attack_catalogue.cache import read_early
from attack_catalogue.models import build, forget_compiled, plant_again
from attack_catalogue.parts import HARMLESS, PARTS, without_wall
from databases import closing_engine, fresh_database
from releases import since_2_1
from scoped_models import ONE, TWO
from snippets import ROOT
from sqlalchemy.engine import Engine

from multisite.core.site import Site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:.* has a cartesian product:sqlalchemy.exc.SAWarning",
        "ignore:Additional column names:sqlalchemy.exc.SAWarning",
    ),
]


def case_of(name: str, databases: tuple[str, ...]) -> str:
    """Return the name of a case; one for one database alone begins with it, and is left out on the other."""
    return name if len(databases) > 1 else f"{databases[0]}: {name}"


WAYS = all_ways()
CASES = {case_of(name, way.databases): way for name, way in WAYS.items()}
MARKED_CASES = [
    pytest.param(case, marks=since_2_1(SINCE_2_1[way.id])) if way.id in SINCE_2_1 else case
    for case, way in CASES.items()
]
PART_CASES = {case_of(name, part.databases): part for name, part in PARTS.items()}
SOAK = os.environ.get("MULTISITE_SOAK") == "1"


@dataclass
class Ground:
    """A database with the rows of both sites, on which ways are gone; they find it as it was planted."""

    engine: Engine
    planted: Rows

    def go(self, way: Way, site: Site | None) -> Outcome:
        try:
            return run_way(way, self.engine, site, TWO, self.planted)
        finally:
            if way.commits:
                plant_again(self.engine)

    def go_without(self, off: Callable[[pytest.MonkeyPatch], None], way: Way, site: Site | None) -> Outcome:
        """Go with what `off` takes away taken away, and put it back before the rows are planted again."""
        try:
            with pytest.MonkeyPatch.context() as patch:
                off(patch)
                self.forget()
                return run_way(way, self.engine, site, TWO, self.planted)
        finally:
            self.forget()
            if way.commits:
                plant_again(self.engine)

    def rows(self) -> Rows:
        connection = self.engine.raw_connection()
        try:
            return rows_of_both(connection)
        finally:
            connection.close()

    def forget(self) -> None:
        """Forget what has been compiled, and what types do to values: parts of the wall are other ones now."""
        forget_compiled()
        self.engine.clear_compiled_cache()
        self.engine.dialect._type_memos.clear()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        build(engine)
        made = Ground(engine, {})
        made.planted = made.rows()
        yield made
        assert made.rows() == made.planted, "a way has changed rows for good and does not say so"


@pytest.mark.parametrize("case", MARKED_CASES)
def test_way(ground: Ground, case: str) -> None:
    """Go once for a site, with rows of another in reach, and once for none."""
    way = CASES[case]
    outcome = ground.go(way, ONE)
    if way.expected.limit:
        assert outcome.leaks, f"{case} is documented as a limit and does not leak: {outcome}"
    else:
        assert not outcome.faults, str(outcome)
    if way.without_site:
        outcome = ground.go(way, None)
        assert not outcome.faults, f"without a site: {outcome}"


def ended_otherwise(ground: Ground, off: Callable[[pytest.MonkeyPatch], None], sites: list[Site | None]) -> set[str]:
    """Return the ways that end otherwise without what `off` takes away, for one of the sites at least."""
    database = ground.engine.dialect.name
    ways = [way for way in WAYS.values() if database in way.databases and way.exists]
    ways = [way for way in ways if not way.expected.limit and not way.apart]
    gone = [(way, site) for way in ways for site in sites if site or way.without_site]
    with pytest.MonkeyPatch.context() as patch:
        off(patch)
        ground.forget()
        found = {way.id for way, site in gone if not way.commits and ground.go(way, site).faults}
    ground.forget()
    found |= {way.id for way, site in gone if way.commits and ground.go_without(off, way, site).faults}
    plant_again(ground.engine)
    return found


def test_negative_control_without_the_wall_every_way_ends_otherwise(ground: Ground) -> None:
    """A test that cannot fail proves nothing: exactly the ways that are named as harmless go on as before."""
    database = ground.engine.dialect.name
    ways = {name for name, way in WAYS.items() if database in way.databases and way.exists}
    ways = {name for name in ways if not WAYS[name].expected.limit and not WAYS[name].apart}
    same = ways - ended_otherwise(ground, without_wall, [ONE])
    named = (WAYS[name] for names in HARMLESS.values() for name in names)
    harmless = {way.id for way in named if database in way.databases and way.exists}
    assert sorted(same - harmless) == []
    assert sorted(harmless - same) == []


@pytest.mark.parametrize("case", PART_CASES)
def test_negative_control_without_a_part_its_ways_end_otherwise(ground: Ground, case: str) -> None:
    part = PART_CASES[case]
    for way in filter(lambda way: way.exists, map(WAYS.__getitem__, part.ways)):
        sites = [ONE, None] if way.without_site else [ONE]
        otherwise = any(ground.go_without(part.off, way, site).faults for site in sites)
        assert otherwise, f"{way.id} ends the same without the {case}"


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="each part with each way takes minutes: MULTISITE_SOAK=1")
@pytest.mark.parametrize("case", PART_CASES)
def test_each_part_with_each_way(ground: Ground, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Print how many ways need a part; those that are named with it are among them."""
    part = PART_CASES[case]
    needing = ended_otherwise(ground, part.off, [ONE, None])
    with capsys.disabled():
        print(f"{case}: {len(needing)} ways")
    assert {name for name in part.ways if WAYS[name].exists} <= needing


def test_negative_control_statements_from_before_the_wall_leak_if_they_are_not_compiled_again(ground: Ground) -> None:
    """This one is in a process of its own, which the switches above do not reach."""
    off = "import multisite.scoping.execution as e; e.recompile_scoped = lambda compiled, *args: _unlimited(compiled)"
    assert "secret-2" in read_early(Place(ground.engine, ONE, TWO), off)[0]


def test_the_catalogue_is_as_large_as_it_says() -> None:
    assert len(WAYS) > 900
    assert {way.group for way in WAYS.values()} == set(GROUPS)
    assert set(SINCE_2_1) <= set(WAYS)


def test_the_page_lists_every_way() -> None:
    """docs/bypass-attempts.md is written by `python -m attack_catalogue --write`, in tests/."""
    page = (ROOT / "docs" / "bypass-attempts.md").read_text("utf-8")
    for name, made in (("limits", limits_as_markdown()), ("ways", as_markdown())):
        found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", page, re.DOTALL)
        assert found is not None, name
        assert found[1].strip() == made.strip(), f"run: python -m attack_catalogue --write, for the list of {name}"


def test_a_way_is_judged_by_all_rows(sqlite_database_url: str) -> None:
    """What the judge says of ways that come to something, on a database without a wall in between."""
    with closing_engine(sqlite_database_url) as engine:
        build(engine)
        connection = engine.raw_connection()
        planted = rows_of_both(connection)
        connection.close()

        def judged(sql: str, **options: Any) -> Outcome:
            def act(place: Place) -> Any:
                cursor = place.s.connection().connection.cursor()
                found = cursor.execute(sql).fetchall()
                return found or None

            way = Way("x", "reads", act, WAYS["reads: entity"].expected, **options)
            return run_way(way, engine, ONE, TWO, planted)

        assert not judged("SELECT secret FROM books WHERE site_id = 1").faults
        assert judged("SELECT secret FROM books").leaks == ["rows of the other site came out"]
        assert judged("SELECT 'secret-1', id FROM books").leaks == ["rows of the other site came out"]
        assert judged("SELECT 'x' || secret FROM books WHERE id = 21").leaks
        assert judged("SELECT 1").faults == ["own rows did not come out"]
        assert judged("UPDATE slips SET secret = 'x' WHERE id = 21").leaks == ["rows of the other site were changed"]
        assert judged("DELETE FROM slips WHERE id = 21").leaks == ["rows of the other site were changed"]
        own = ["own rows hold values, or keys, of the other site"]
        assert judged("UPDATE slips SET secret = 'secret-2' WHERE id = 11").leaks == own
        assert judged("UPDATE slips SET room_id = 22 WHERE id = 11").leaks == own
        assert judged("UPDATE slips SET site_id = 2 WHERE id = 11").leaks == ["rows of the other site were changed"]
        assert judged("UPDATE slips SET secret = 'x' WHERE id = 11").leaks == []
        assert judged("UPDATE slips SET secret = secret", changes=True).faults
        with engine.connect() as check:
            check.execute(sa.text("SELECT 1"))
