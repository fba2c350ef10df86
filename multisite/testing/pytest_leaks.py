"""The leak detector in pytest: `--multisite-leaks`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from multisite.request import DIRECTORY
from multisite.testing.leaks import Detector, Leak

__all__ = ["LeakPlugin"]


def _told(leaks: list[Leak]) -> str:
    return "\n".join(["multisite: what belongs to another site shows", *(f"  {leak}" for leak in leaks)])


class LeakPlugin:
    """Keeps a `Detector` on while tests run, and fails those in which it finds a leak."""

    def __init__(self, config: pytest.Config) -> None:
        self._detector = Detector(config.hook.pytest_multisite_canaries(config=config))
        self._tests = 0
        self._detector.__enter__()

    def pytest_unconfigure(self) -> None:
        self._detector.__exit__(None, None, None)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        """Plant canaries as soon as there is an application: before a test writes, on a database with one writer."""
        value = yield
        registry = getattr(value, "registry", None)
        if registry is not None and hasattr(registry, "get") and DIRECTORY in registry:
            self._detector.watch(registry)
        return value

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self._tests += 1
        marker = item.get_closest_marker("crosses_sites")
        if marker is not None and not (marker.args and str(marker.args[0]).strip()):
            raise pytest.UsageError(f"{item.nodeid}: crosses_sites needs a reason")
        self._detector.crossing = None if marker is None else str(marker.args[0])
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, Any, Any]:
        return (yield from self._checked())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, Any, Any]:
        return (yield from self._checked())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, Any, Any]:
        return (yield from self._checked())

    def _checked(self) -> Generator[None, Any, Any]:
        try:
            value = yield
        except BaseException as error:
            # It fails anyway, and perhaps because of the leak.
            if leaks := self._detector.take():
                error.add_note(_told(leaks))
            raise
        if leaks := self._detector.take():
            pytest.fail(_told(leaks), pytrace=False)
        return value

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._tests and not self._rows():
            # It would have found nothing, whatever the application did.
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("multisite: leaks")
        rows = self._rows()
        if rows:
            tables = {table for seeded in self._detector.seeded.values() for table in seeded.rows}
            terminalreporter.line(f"{rows} rows of canaries in {len(tables)} tables.")
        else:
            terminalreporter.line("No canary was planted: no test has used an application with scoped tables.")
        left_out = dict(self._detector.missed)
        for seeded in self._detector.seeded.values():
            left_out |= seeded.left_out
        for what, reason in left_out.items():
            terminalreporter.line(f"not watched: {what} ({reason})")

    def _rows(self) -> int:
        return sum(sum(seeded.rows.values()) for seeded in self._detector.seeded.values())
