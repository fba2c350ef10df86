"""Pytest plugin with fixtures for the tests of an application, and two options for whole runs.

`--multisite-leaks` runs the leak detector, `--multisite-distributable` refuses what a distributed database refuses.

    pytest_plugins = ["multisite.testing_plugin"]            # in the application's conftest.py

There is no entry point for it: pytest would load every module of this distribution with its own loader, in every run in
the environment, and Pyramid finds no assets in packages that were loaded that way.

The module imports nothing of multisite; the fixtures do, when they are used. They need a fixture `app` of the
application, and use its fixtures `dbsession` and `tm` if it has them, as in applications of Pyramid's cookiecutter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pyramid.request import Request
    from webtest import TestApp

    from multisite.core.site import Site

__all__: list[str] = []

LEAKS = "multisite_leaks"
"""The pytest ini option that is equivalent to `--multisite-leaks`."""

DISTRIBUTABLE = "multisite_distributable"
"""The pytest ini option that is equivalent to `--multisite-distributable`."""

HOSTS = ("one.example", "two.example")
"""The hosts of the fixtures' sites; RFC 2606 reserves the top-level domain."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("multisite")
    group.addoption(
        "--multisite-leaks",
        action="store_true",
        help="Plant canaries of another site, and fail each test in which one of them appears.",
    )
    parser.addini(LEAKS, "Equivalent to --multisite-leaks.", type="bool", default=False)
    group.addoption(
        "--multisite-distributable",
        action="store_true",
        help="Refuse statements that a database distributed by site_id would refuse.",
    )
    parser.addini(DISTRIBUTABLE, "Equivalent to --multisite-distributable.", type="bool", default=False)


class _Hooks:
    @pytest.hookspec(firstresult=True)
    def pytest_multisite_canaries(self, config: pytest.Config) -> dict[str, Any] | None:
        """Return values for columns, by `table.column`, that would reject the leak detector's canaries.

        Each is a value, or a function that takes a canary text and the number of the row (0 to 3).
        """


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(_Hooks)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "crosses_sites(reason): allow this test to see rows of other sites (leak detector)."
    )
    if config.getoption("multisite_leaks") or config.getini(LEAKS):
        from multisite.testing.leak_plugin import GatheringPlugin, LeakPlugin

        # With pytest-xdist the workers run the tests.
        controls = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
        config.pluginmanager.register(GatheringPlugin() if controls else LeakPlugin(config), "multisite-leaks-running")
    if config.getoption(DISTRIBUTABLE) or config.getini(DISTRIBUTABLE):
        from multisite.testing.distributable import refuse_undistributable

        stack = ExitStack()
        stack.enter_context(refuse_undistributable())
        config.add_cleanup(stack.close)


def _optional_fixture(request: pytest.FixtureRequest, name: str) -> Any:
    """Return the value of a fixture; None if the application does not have it."""
    try:
        return request.getfixturevalue(name)
    except pytest.FixtureLookupError as error:
        if error.argname != name:
            raise
        return None


@pytest.fixture
def multisite_app(request: pytest.FixtureRequest) -> Any:
    """The application that the other fixtures use: the fixture `app`, unless this one is overridden."""
    return request.getfixturevalue("app")


@pytest.fixture
def site(request: pytest.FixtureRequest, multisite_app: Any) -> Iterator[Site]:
    """A site of the application, `one.example`.

    With a fixture `dbsession`, its rows are part of that session's transaction, which the test rolls back, and the
    session is pinned to it; if the session is pinned already, this is its site. Otherwise its rows are in the database
    and are removed after the test, with all rows that belong to the site.

    Yields:
        The site.
    """
    from multisite.core.keys import DIRECTORY
    from multisite.testing import plant_site, real_site

    dbsession = _optional_fixture(request, "dbsession")
    if dbsession is None:
        with real_site(multisite_app, HOSTS[0]) as made:
            yield made
    elif (pinned := dbsession.info.get("site")) is not None:
        yield pinned
    else:
        planted = plant_site(multisite_app, HOSTS[0], dbsession)
        yield planted
        multisite_app.registry[DIRECTORY].remove_override(planted)


@pytest.fixture
def two_sites(multisite_app: Any) -> Iterator[tuple[Site, Site]]:
    """Two sites of the application, `one.example` and `two.example`, visible to every session.

    They are removed after the test, with all rows that belong to them.

    Yields:
        Both sites.
    """
    from multisite.testing import real_site

    with ExitStack() as stack:
        first, second = (stack.enter_context(real_site(multisite_app, host)) for host in HOSTS)
        yield first, second


@pytest.fixture
def site_request(request: pytest.FixtureRequest, multisite_app: Any, site: Site) -> Iterator[Request]:
    """A request for `site`, which is current, in a transaction that is aborted after the test."""
    from multisite.testing import request_for

    environ = _shared_session(request, site)
    with request_for(multisite_app, site.host, **environ) as made:
        if environ:
            made.tm, made.dbsession = environ["tm.manager"], environ["app.dbsession"]
            yield made
            return
        made.tm.begin()
        yield made
        made.tm.abort()


@pytest.fixture
def testapp_for(request: pytest.FixtureRequest, multisite_app: Any) -> Callable[..., TestApp]:
    """A function that returns a `webtest.TestApp` for a host or a `Site`.

    With the fixtures `dbsession` and `tm`, requests to the site of that session share the session.

    Returns:
        A function that takes a host or a `Site`, and adds keyword arguments to the environ of each request.
    """
    from multisite.testing import webtest_app

    def testapp_for(host: Site | str, **environ: Any) -> TestApp:
        name = host if isinstance(host, str) else host.domain
        return webtest_app(multisite_app, name, **{**_shared_session(request, name), **environ})

    return testapp_for


def _shared_session(request: pytest.FixtureRequest, site: Site | str) -> dict[str, Any]:
    """Return the environ with which a request shares the test's session, as in the cookiecutter's tests.

    It is empty if the test has no session, or if the session belongs to another site.
    """
    dbsession, tm = _optional_fixture(request, "dbsession"), _optional_fixture(request, "tm")
    if dbsession is None or tm is None or str(dbsession.info.get("site")) != str(site):
        return {}
    return {"app.dbsession": dbsession, "tm.active": True, "tm.manager": tm}
