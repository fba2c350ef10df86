"""The test suites of alembic, zope.sqlalchemy and pyramid_tm pass with the scoping layer installed.

Each suite also runs without the layer: a test that passes without it may neither fail nor be skipped with it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from library_suites import WITH_LAYER, run_tests, source_of

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(os.environ.get("MULTISITE_SOAK") != "1", reason="takes minutes: MULTISITE_SOAK=1"),
]


def check(source: Path, tests: str, *options: str, at_least: int, **environment: str) -> None:
    """Compare `tests` with and without the scoping layer; without it, at least `at_least` tests must pass."""
    passed, _ = run_tests(source, [tests], *options, **environment)
    assert len(passed) >= at_least
    passed_with, _ = run_tests(source, [tests], *options, *WITH_LAYER, **environment)
    assert sorted(passed - passed_with) == []


def test_alembic() -> None:
    """The suite runs on SQLite, so tests for PostgreSQL, MySQL, MariaDB, Oracle and SQL Server are skipped.

    Tests of type stubs are skipped too: they need Python 3.14, black and zimports. Without black, eight tests of hooks
    that run after writing fail with and without the layer.
    """
    check(source_of("alembic"), "tests", at_least=1900)


def test_pyramid_tm() -> None:
    # The setup.cfg of pyramid_tm enables coverage.
    check(source_of("pyramid_tm"), "tests", "-o", "addopts=", at_least=60)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_zope_sqlalchemy(database: str, postgresql_database_url: str) -> None:
    """The suite runs without its README, which is a doctest.

    Tests of bound metadata are skipped, since SQLAlchemy 2.0 does not have it; on SQLite, so are tests of savepoints
    and two-phase commits. RetryTests, which zope.sqlalchemy itself omits on SQLite, fail there with and without the
    layer.
    """
    source = source_of("zope.sqlalchemy")
    # pytest would import zope/sqlalchemy, part of a namespace package, as `sqlalchemy`.
    shutil.copy(source / "src" / "zope" / "sqlalchemy" / "tests.py", source / "test_zope_sqlalchemy.py")
    (source / "pytest.ini").write_text("[pytest]\n")  # Without a file of its own, pytest would use ours.
    url = {} if database == "sqlite" else {"TEST_DSN": postgresql_database_url}
    check(source, "test_zope_sqlalchemy.py", at_least=19, **url)
