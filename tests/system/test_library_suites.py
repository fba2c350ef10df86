"""The tests of alembic, zope.sqlalchemy and pyramid_tm, with the scoping layer installed.

Each is run without it, too: none that passes then may fail or be skipped with it.
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
    """Run `tests` without the layer and with it, and compare; without it, `at_least` so many must pass."""
    passed, _ = run_tests(source, [tests], *options, **environment)
    assert len(passed) >= at_least
    passed_with, _ = run_tests(source, [tests], *options, *WITH_LAYER, **environment)
    assert sorted(passed - passed_with) == []


def test_alembic() -> None:
    """On SQLite, so that what is about PostgreSQL, MySQL, MariaDB, Oracle and SQL Server is skipped.

    Its tests of stubs are skipped too: they need Python 3.14, black and zimports. Eight about hooks after writing fail
    either way where black is not installed.
    """
    check(source_of("alembic"), "tests", at_least=1900)


def test_pyramid_tm() -> None:
    # Its setup.cfg wants coverage to be measured.
    check(source_of("pyramid_tm"), "tests", "-o", "addopts=", at_least=60)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_zope_sqlalchemy(database: str, postgresql_database_url: str) -> None:
    """Not its README, which is a doctest. Skipped are bound metadata, which SQLAlchemy 2.0 has not, and on SQLite
    savepoints and commits in two phases. RetryTests, which its own suite leaves out on SQLite, fail there either way.
    """
    source = source_of("zope.sqlalchemy")
    # pytest would take zope/sqlalchemy, a package in a namespace, for SQLAlchemy.
    shutil.copy(source / "src" / "zope" / "sqlalchemy" / "tests.py", source / "test_zope_sqlalchemy.py")
    (source / "pytest.ini").write_text("[pytest]\n")  # It has no settings of its own, and would take ours.
    url = {} if database == "sqlite" else {"TEST_DSN": postgresql_database_url}
    check(source, "test_zope_sqlalchemy.py", at_least=19, **url)
