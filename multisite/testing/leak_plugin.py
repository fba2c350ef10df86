"""The leak detector in pytest: `--multisite-leaks`."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, TypedDict

import pytest

from multisite.core.keys import DIRECTORY
from multisite.testing.detector import Detector
from multisite.testing.leak import Leak

__all__ = ["GatheringPlugin", "LeakPlugin"]

_OUTPUT = "multisite_leaks"
"""The key under which a worker of pytest-xdist passes its tally to the controller."""


class Tally(TypedDict):
    """What one process has done.

    Attributes:
        tests: How many tests it ran.
        rows: The number of canary rows by table.
        left_out: Why a table or column has no canary.
    """

    tests: int
    rows: dict[str, int]
    left_out: dict[str, str]


def _leaks_text(leaks: list[Leak]) -> str:
    return "\n".join(["multisite: data of another site has leaked", *(f"  {leak}" for leak in leaks)])


class _Summary:
    """Reports at the end of a run how much was watched, and fails a run without canaries."""

    def tallies(self) -> list[Tally]:
        """Return the tally of each process that has run tests."""
        raise NotImplementedError

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run without canaries, which could not have found a leak."""
        tallies = self.tallies()
        if any(tally["tests"] for tally in tallies) and not any(tally["rows"] for tally in tallies):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("multisite: leaks")
        rows: dict[str, int] = {}
        left_out: dict[str, str] = {}
        for tally in self.tallies():
            # Workers have the same tables, in one database or in one each.
            rows |= {table: max(number, rows.get(table, 0)) for table, number in tally["rows"].items()}
            left_out |= tally["left_out"]
        if rows:
            terminalreporter.line(f"{sum(rows.values())} rows of canaries in {len(rows)} tables.")
        else:
            terminalreporter.line("No canary was planted: no test has used an application with scoped tables.")
        for what, reason in left_out.items():
            terminalreporter.line(f"not watched: {what} ({reason})")


class GatheringPlugin(_Summary):
    """Collects the tallies of the workers of pytest-xdist in the controller."""

    def __init__(self) -> None:
        self._tallies: list[Tally] = []

    def tallies(self) -> list[Tally]:
        """Return the tallies of the workers that have ended."""
        return self._tallies

    def pytest_testnodedown(self, node: Any) -> None:
        """Take the tally of a worker that has ended."""
        # A crashed worker passes no tally, and its test fails.
        if _OUTPUT in getattr(node, "workeroutput", {}):
            self._tallies.append(json.loads(node.workeroutput[_OUTPUT]))


class LeakPlugin(_Summary):
    """Runs a `Detector` during the tests, and fails each test in which it finds a leak."""

    def __init__(self, config: pytest.Config) -> None:
        self._detector = Detector(config.hook.pytest_multisite_canaries(config=config))
        self._tests = 0
        self._detector.__enter__()

    def pytest_unconfigure(self) -> None:
        """End the detector."""
        self._detector.__exit__(None, None, None)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        """Plant canaries as soon as an application exists, before a test writes to a database with a single writer."""
        value = yield
        registry = getattr(value, "registry", None)
        if registry is not None and hasattr(registry, "get") and DIRECTORY in registry:
            self._detector.watch(registry)
        return value

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Count the test, and allow what its marker `crosses_sites` allows.

        Returns:
            The result of the hook that this one wraps.

        Raises:
            pytest.UsageError: The marker has no reason.
        """
        self._tests += 1
        marker = item.get_closest_marker("crosses_sites")
        if marker is not None and not (marker.args and str(marker.args[0]).strip()):
            raise pytest.UsageError(f"{item.nodeid}: crosses_sites needs a reason")
        self._detector.allowed_reason = None if marker is None else str(marker.args[0])
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, Any, Any]:
        """Fail the test if its setup leaks."""
        return (yield from self._checked())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, Any, Any]:
        """Fail the test if it leaks."""
        return (yield from self._checked())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, Any, Any]:
        """Fail the test if its teardown leaks."""
        return (yield from self._checked())

    def _checked(self) -> Generator[None, Any, Any]:
        try:
            value = yield
        except BaseException as error:
            # The test fails anyway, perhaps because of the leak.
            if leaks := self._detector.take():
                error.add_note(_leaks_text(leaks))
            raise
        if leaks := self._detector.take():
            pytest.fail(_leaks_text(leaks), pytrace=False)
        return value

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Report, or pass the tally to the controller of pytest-xdist."""
        if hasattr(session.config, "workeroutput"):
            # The controller decides about the run of all workers. JSON, since execnet does not accept subclasses of
            # str, such as SQLAlchemy's names of tables.
            session.config.workeroutput[_OUTPUT] = json.dumps(self.tallies()[0])
        else:
            super().pytest_sessionfinish(session)

    def tallies(self) -> list[Tally]:
        """Return the tally of this process."""
        rows: dict[str, int] = {}
        left_out = dict(self._detector.missed)
        for seeded in self._detector.seeded.values():
            left_out |= seeded.left_out
            for table, number in seeded.rows.items():
                if number:
                    rows[table] = rows.get(table, 0) + number
        return [Tally(tests=self._tests, rows=rows, left_out=left_out)]
