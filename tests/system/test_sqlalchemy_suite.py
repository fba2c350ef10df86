"""SQLAlchemy's own tests that pass without the scoping layer also pass with it.

The tests are those of the installed release, on SQLite in memory. The ordinary run selects a fiftieth of them, from the
files on which the layer has the most effect: statements that change rows, and common table expressions. The expected
differences are listed here with their reasons.
"""

from __future__ import annotations

import os

import pytest
from library_suites import WITH_LAYER, run_tests, source_of

pytestmark = pytest.mark.slow

WHOLE = ("test/sql", "test/orm", "test/ext", "test/engine")
PART = (
    "test/orm/dml/test_orm_upd_del_basic.py",
    "test/sql/test_cte.py",
    "test/sql/test_text.py",
    "test/sql/test_delete.py",
    "test/sql/test_update.py",
)

MOCKED = {
    "MockReconnectTest": "the driver is a mock of PostgreSQL's, whose cursor answers each question by another mock, "
    "and the layer asks whether row-level security is on",
    "DialectEventTest": "the dialect's `do_execute` is a mock that executes nothing, and the layer asks the database "
    "what a table is that only text names",
}
"""Classes of tests that may fail with the layer, with the reasons."""


def differs_as_expected(name: str) -> bool:
    return any(f".{each}::" in name for each in MOCKED)


def test_a_fiftieth_passes_with_the_layer() -> None:
    passed, failed = run_tests(source_of("SQLAlchemy"), PART, *WITH_LAYER)
    assert sorted(failed) == []
    assert len(passed) > 400


soak = pytest.mark.skipif(os.environ.get("MULTISITE_SOAK") != "1", reason="takes half an hour: MULTISITE_SOAK=1")


@pytest.mark.soak
@soak
def test_negative_control_what_fails_with_the_layer_alone_is_noticed() -> None:
    source, tests = source_of("SQLAlchemy"), ["test/engine/test_reconnect.py", "test/engine/test_execute.py"]
    passed, failed = run_tests(source, tests)
    assert failed == set()
    differing = passed & run_tests(source, tests, *WITH_LAYER)[1]
    assert {each for each in MOCKED if any(f".{each}::" in name for name in differing)} == MOCKED.keys()
    assert {name for name in differing if not differs_as_expected(name)} == set()


@pytest.mark.soak
@soak
def test_what_passes_without_the_layer_passes_with_it() -> None:
    source = source_of("SQLAlchemy")
    passed, failed = run_tests(source, WHOLE, *WITH_LAYER, "-n", "2")
    assert len(passed) > 15_000
    unexpected = {name for name in failed if not differs_as_expected(name)}
    # The suite only runs without the layer if an unexpected test fails with it.
    without = run_tests(source, WHOLE, "-n", "2")[1] if unexpected else set()
    assert sorted(unexpected - without) == []
