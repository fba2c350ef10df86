"""The import of zope.sqlalchemy, by which a session joins its request's transaction."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from paths import ROOT

PROGRAM = """
import json, sys
from multisite.web.joining import import_datamanager
if sys.argv[1] == "changed":
    from importlib.machinery import SourceFileLoader
    before = SourceFileLoader.exec_module
    def without_the_list(loader, module):
        before(loader, module)
        vars(module).pop("_retryable_errors", None)
    SourceFileLoader.exec_module = without_the_list
elif sys.argv[1] == "imported before":
    import psycopg
import_datamanager()
import zope.sqlalchemy
from zope.sqlalchemy.datamanager import SessionDataManager
shown = [sorted({"psycopg", "psycopg2"} & sys.modules.keys())]
if sys.argv[1] != "changed":
    from sqlalchemy.exc import OperationalError
    manager = object.__new__(SessionDataManager)
    def retries(error):
        return bool(manager.should_retry(OperationalError("", {}, error)))
    shown += [zope.sqlalchemy.datamanager is sys.modules["zope.sqlalchemy.datamanager"], retries(Exception())]
    shown.append(sorted({"psycopg", "psycopg2"} & sys.modules.keys()))
    import psycopg.errors, psycopg2.errors
    shown.append([retries(psycopg.errors.DeadlockDetected()), retries(psycopg.errors.ConnectionFailure())])
    shown.append([retries(psycopg2.errors.DeadlockDetected()), retries(psycopg2.errors.ConnectionFailure())])
print(json.dumps(shown))
"""
"""Prints the drivers that are imported, then which of their errors are worth a retry."""


def shown(case: str) -> list[object]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, case], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    found: list[object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("case", "drivers"), [("", []), ("imported before", ["psycopg"])])
def test_errors_of_drivers_that_are_imported_later_are_retried(case: str, drivers: list[str]) -> None:
    assert shown(case) == [drivers, True, False, drivers, [True, False], [True, False]]


def test_a_release_without_the_list_of_errors_imports_what_it_wants() -> None:
    assert shown("changed") == [["psycopg", "psycopg2"]]
