"""Each bypass attempt of the catalogue has its expected outcome, for a site and without one.

The attempts and their expected outcomes are in tests/attack_catalogue/. They run here on both databases: with the
scoping layer, and, as a negative control, without a part of it or all of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from attack_catalogue import (
    GROUPS,
    SINCE_2_1,
    Attempt,
    Context,
    Outcome,
    Rows,
    all_attempts,
    rows_of_both,
    run_attempt,
)
from attack_catalogue.__main__ import failing_as_markdown, succeeding_as_markdown
from attack_catalogue.cache import read_early
from attack_catalogue.models import build, clear_compiled, replant
from attack_catalogue.parts import PARTS, UNAFFECTED, without_scoping
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
    """Return the id of a case; if it is for one database alone, the id begins with that one."""
    return name if len(databases) > 1 else f"{databases[0]}: {name}"


ATTEMPTS = all_attempts()
CASES = {case_of(name, attempt.databases): attempt for name, attempt in ATTEMPTS.items()}
MARKED_CASES = [
    pytest.param(case, marks=since_2_1(SINCE_2_1[attempt.id])) if attempt.id in SINCE_2_1 else case
    for case, attempt in CASES.items()
]
PART_CASES = {case_of(name, part.databases): part for name, part in PARTS.items()}
SOAK = os.environ.get("MULTISITE_SOAK") == "1"


@dataclass
class Database:
    """A database with the rows of both sites, which are planted again after an attempt that changes them."""

    engine: Engine
    planted: Rows

    def run(self, attempt: Attempt, site: Site | None) -> Outcome:
        try:
            return run_attempt(attempt, self.engine, site, TWO, self.planted)
        finally:
            if attempt.commits:
                replant(self.engine)

    def run_without(self, remove: Callable[[pytest.MonkeyPatch], None], attempt: Attempt, site: Site | None) -> Outcome:
        """Run an attempt without the part that `remove` removes; restore it before the rows are planted again."""
        try:
            with pytest.MonkeyPatch.context() as patch:
                remove(patch)
                self.clear_caches()
                return run_attempt(attempt, self.engine, site, TWO, self.planted)
        finally:
            self.clear_caches()
            if attempt.commits:
                replant(self.engine)

    def rows(self) -> Rows:
        connection = self.engine.raw_connection()
        try:
            return rows_of_both(connection)
        finally:
            connection.close()

    def clear_caches(self) -> None:
        """Clear compiled statements and the functions by which types process values: both hold parts of the layer."""
        clear_compiled()
        self.engine.clear_compiled_cache()
        self.engine.dialect._type_memos.clear()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        build(engine)
        made = Database(engine, {})
        made.planted = made.rows()
        yield made
        assert made.rows() == made.planted, "an attempt changed rows permanently and does not have commits=True"


@pytest.mark.parametrize("case", MARKED_CASES)
def test_attempt(database: Database, case: str) -> None:
    """Run the attempt once for a site, and once without a site; the database has rows of another site."""
    attempt = CASES[case]
    outcome = database.run(attempt, ONE)
    if attempt.expected.advice:
        assert outcome.leaks, f"{case} is documented as an attempt that succeeds, but does not: {outcome}"
    else:
        assert not outcome.faults, str(outcome)
    if attempt.without_site:
        outcome = database.run(attempt, None)
        assert not outcome.faults, f"without a site: {outcome}"


def controlled_attempts(database: Database) -> list[Attempt]:
    """Return the attempts that run again without the layer.

    On PostgreSQL, except in the long run, those for it alone, and every tenth of those that run on SQLite too.
    """
    name = database.engine.dialect.name
    found = [attempt for attempt in ATTEMPTS.values() if name in attempt.databases and attempt.exists]
    found = [attempt for attempt in found if not attempt.expected.advice and not attempt.in_subprocess]
    if SOAK or name == "sqlite":
        return found
    shared = [attempt for attempt in found if "sqlite" in attempt.databases]
    return [attempt for attempt in found if "sqlite" not in attempt.databases] + shared[::10]


def affected_attempts(
    database: Database, remove: Callable[[pytest.MonkeyPatch], None], sites: list[Site | None]
) -> set[str]:
    """Return the controlled attempts whose outcome, with or without a site, differs after `remove`."""
    attempts = controlled_attempts(database)
    runs = [(attempt, site) for attempt in attempts for site in sites if site or attempt.without_site]
    with pytest.MonkeyPatch.context() as patch:
        remove(patch)
        database.clear_caches()
        found = {attempt.id for attempt, site in runs if not attempt.commits and database.run(attempt, site).faults}
    database.clear_caches()
    found |= {
        attempt.id for attempt, site in runs if attempt.commits and database.run_without(remove, attempt, site).faults
    }
    replant(database.engine)
    return found


def test_negative_control_without_scoping_every_attempt_has_another_outcome(database: Database) -> None:
    """Only the attempts that are listed as unaffected have the same outcome without the scoping layer."""
    attempts = {attempt.id for attempt in controlled_attempts(database)}
    same = attempts - affected_attempts(database, without_scoping, [ONE])
    unaffected = attempts & {ATTEMPTS[name].id for names in UNAFFECTED.values() for name in names}
    assert sorted(same - unaffected) == []
    assert sorted(unaffected - same) == []


@pytest.mark.parametrize("case", PART_CASES)
def test_negative_control_without_a_part_its_attempts_have_another_outcome(database: Database, case: str) -> None:
    part = PART_CASES[case]
    for attempt in filter(lambda attempt: attempt.exists, map(ATTEMPTS.__getitem__, part.attempts)):
        sites = [ONE, None] if attempt.without_site else [ONE]
        affected = any(database.run_without(part.remove, attempt, site).faults for site in sites)
        assert affected, f"{attempt.id} has the same outcome without the part '{case}'"


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="each part with each attempt takes minutes: MULTISITE_SOAK=1")
@pytest.mark.parametrize("case", PART_CASES)
def test_each_part_with_each_attempt(database: Database, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Print the number of attempts that need a part; the attempts listed with the part are among them."""
    part = PART_CASES[case]
    needing = affected_attempts(database, part.remove, [ONE, None])
    with capsys.disabled():
        print(f"{case}: {len(needing)} attempts")
    assert {name for name in part.attempts if ATTEMPTS[name].exists} <= needing


def test_negative_control_statements_compiled_before_scoping_leak_if_not_compiled_again(database: Database) -> None:
    """This attempt runs in a separate process, in which the parts are not removed."""
    remove = (
        "import multisite.scoping.execution as e; e.recompile_scoped = lambda compiled, *args: _unlimited(compiled)"
    )
    assert "secret-2" in read_early(Context(database.engine, ONE, TWO), remove)[0]


def test_the_catalogue_is_as_large_as_it_says() -> None:
    assert len(ATTEMPTS) > 900
    assert {attempt.group for attempt in ATTEMPTS.values()} == set(GROUPS)
    assert set(SINCE_2_1) <= set(ATTEMPTS)


def test_the_page_lists_every_attempt() -> None:
    """docs/bypass-attempts.md is written by `PYTHONPATH=support python -m attack_catalogue --write`, in tests/."""
    page = (ROOT / "docs" / "bypass-attempts.md").read_text("utf-8")
    for name, made in (("succeed", succeeding_as_markdown()), ("fail", failing_as_markdown())):
        found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", page, re.DOTALL)
        assert found is not None, name
        assert found[1].strip() == made.strip(), f"'{name}': PYTHONPATH=support python -m attack_catalogue --write"


def test_an_attempt_is_judged_by_all_rows(sqlite_database_url: str) -> None:
    """Attempts that succeed, by a cursor of the driver, are judged as leaks and faults."""
    with closing_engine(sqlite_database_url) as engine:
        build(engine)
        connection = engine.raw_connection()
        planted = rows_of_both(connection)
        connection.close()

        def judge(sql: str, **options: Any) -> Outcome:
            def act(ctx: Context) -> Any:
                cursor = ctx.session.connection().connection.cursor()
                found = cursor.execute(sql).fetchall()
                return found or None

            attempt = Attempt("x", "reads", act, ATTEMPTS["reads: entity"].expected, **options)
            return run_attempt(attempt, engine, ONE, TWO, planted)

        assert not judge("SELECT secret FROM books WHERE site_id = 1").faults
        assert judge("SELECT secret FROM books").leaks == ["returned rows of the other site"]
        assert judge("SELECT 'secret-1', id FROM books").leaks == ["returned rows of the other site"]
        assert judge("SELECT 'x' || secret FROM books WHERE id = 21").leaks
        assert judge("SELECT 1").faults == ["did not return own rows"]
        assert judge("UPDATE slips SET secret = 'x' WHERE id = 21").leaks == ["changed rows of the other site"]
        assert judge("DELETE FROM slips WHERE id = 21").leaks == ["changed rows of the other site"]
        own = ["own rows hold values, or keys, of the other site"]
        assert judge("UPDATE slips SET secret = 'secret-2' WHERE id = 11").leaks == own
        assert judge("UPDATE slips SET room_id = 22 WHERE id = 11").leaks == own
        assert judge("UPDATE slips SET site_id = 2 WHERE id = 11").leaks == ["changed rows of the other site"]
        assert judge("UPDATE slips SET secret = 'x' WHERE id = 11").leaks == []
        assert judge("UPDATE slips SET secret = secret", changes=True).faults
        with engine.connect() as check:
            check.execute(sa.text("SELECT 1"))
