"""Helpers for the tests of an application: temporary sites, and requests and WebTest applications for a host.

    dbsession = get_tm_session(session_factory, tm)          # the application's own, which the test rolls back
    site = plant_site(app, "example.com", dbsession)         # example.com is a site, in this test only

Multisite itself imports nothing from this package. Only `webtest_app` and `csrf_token` need WebTest.
`multisite.testing_plugin` has fixtures for pytest; the leak detector is `multisite.testing.detector`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from pyramid.csrf import get_csrf_token
from pyramid.request import Request
from pyramid.response import Response
from pyramid.scripting import prepare
from sqlalchemy.orm import Session

from multisite import hosts
from multisite.core.current_site import pop_scope, push_scope, using_site
from multisite.core.domains import folder_name
from multisite.core.keys import DIRECTORY
from multisite.core.site import Site
from multisite.directory.models import DomainRow, SiteRow
from multisite.directory.tables import AS_MULTISITE, raise_version, sites_table
from multisite.scoping.pin import pin_of
from multisite.testing.cleanup import remove_rows
from multisite.web.site_settings import SITE_SETTINGS

if TYPE_CHECKING:
    from webtest import TestApp

__all__ = ["csrf_token", "plant_site", "real_site", "request_for", "webtest_app"]

_ids = itertools.count(2**40)
"""Ids of sites without a row, far above those of real sites."""


def plant_site(
    app: Any,
    host: str,
    dbsession: Session | None = None,
    *,
    name: str | None = None,
    locale: str = "en",
    timezone: str = "UTC",
) -> Site:
    """Return a temporary site, added at `host` to an application.

    With a session, the site's rows are part of the session's transaction, so that foreign keys hold and the test rolls
    them back, and the session is pinned to the site unless it is pinned to another one already. A site that the
    database already has is used unchanged. Planting a host again replaces its site.

    Args:
        app: A Pyramid application or its registry.
        host: The host of the site.
        dbsession: The session of the test; None for a site that exists only in memory.
        name: The display name of the site; None for the host.
        locale: The locale of the site.
        timezone: The time zone of the site.

    Raises:
        InvalidHost: `host` is not a host.
    """
    host = hosts.parse(host, underscores=True).name
    if dbsession is None:
        site = Site(next(_ids), host, name or host, folder_name(host), locale, timezone)
    else:
        site = _site_row(dbsession, host, name or host, locale, timezone)
        if pin_of(dbsession).scope is None:
            dbsession.info["site"] = site
    registry = getattr(app, "registry", app)
    site = replace(site, settings_provider=registry[SITE_SETTINGS])
    registry[DIRECTORY].add_override(site, [host])
    return site


def _site_row(dbsession: Session, host: str, name: str, locale: str, timezone: str) -> Site:
    columns = sites_table.c
    there = sa.select(columns.id, columns.name, columns.folder, columns.locale, columns.timezone, columns.theme)
    there = there.join(DomainRow, DomainRow.site_id == columns.id).where(_is_domain(host))
    row = dbsession.execute(there, execution_options=AS_MULTISITE).one_or_none()
    if row is None:
        _add_rows(dbsession, host, name=name, folder=folder_name(host), locale=locale, timezone=timezone)
        row = dbsession.execute(there, execution_options=AS_MULTISITE).one()
    id_, *details = row
    return Site(id_, host, *details)


def _add_rows(dbsession: Session, host: str, **values: str) -> None:
    added: Any = dbsession.execute(sa.insert(SiteRow).values(values), execution_options=AS_MULTISITE)
    domain = {"site_id": added.inserted_primary_key[0], "host": host, "kind": "canonical"}
    dbsession.execute(sa.insert(DomainRow).values(domain), execution_options=AS_MULTISITE)
    raise_version(dbsession.connection())


def _is_domain(host: str) -> sa.ColumnElement[bool]:
    return sa.and_(DomainRow.host == host, DomainRow.port == 0, DomainRow.path == "")


@contextmanager
def real_site(
    app: Any,
    host: str,
    *,
    name: str | None = None,
    locale: str = "en",
    timezone: str = "UTC",
    current: bool = False,
) -> Iterator[Site]:
    """Add a site at `host` to the database of an application for the block, visible to every session.

    After the block the site is removed with every row that belongs to it. It gets no folder. A site that the database
    already has is used and kept.

    Args:
        app: A Pyramid application or its registry.
        host: The host of the site.
        name: The display name of a new site; None for the host.
        locale: The locale of a new site.
        timezone: The time zone of a new site.
        current: Whether it is the current site of code outside of requests within the block, as with `using_site`; for
            a fixture that lasts for the whole test run.

    Yields:
        The site.

    Raises:
        InvalidHost: `host` is not a host.
    """
    host = hosts.parse(host, underscores=True).name
    engine = getattr(app, "registry", app)[DIRECTORY].engine
    with Session(engine) as session:
        there = sa.select(sa.exists().where(_is_domain(host)))
        is_new = not session.scalar(there, execution_options=AS_MULTISITE)
        site = _site_row(session, host, name or host, locale, timezone)
        session.commit()
    try:
        with using_site(site) if current else nullcontext():
            yield site
    finally:
        if is_new:
            remove_rows(engine, site)


@contextmanager
def request_for(app: Any, host: str, path: str = "/", **environ: Any) -> Iterator[Request]:
    """Yield a real request for `path` on `host`, with the application's request extensions and its site current.

    No transaction is begun; that is up to the test.

    Args:
        app: A Pyramid application or its registry.
        host: The host of the request.
        path: The path of the request, with its query.
        environ: Added to the WSGI environ of the request.

    Raises:
        UnknownSite: No site has the host.
        InvalidHost: `host` is not a host.
    """
    blank = Request.blank(path, environ={"HTTP_HOST": host, **environ})
    with prepare(request=blank, registry=getattr(app, "registry", app)) as env:
        request = env["request"]
        token = push_scope(request.site)
        try:
            yield request
        finally:
            pop_scope(token)


def webtest_app(app: Any, host: str, **extra_environ: Any) -> TestApp:
    """Return a `webtest.TestApp` whose requests are for `host`, with `extra_environ` added to each environ."""
    # Here, since the other helpers of this module do not need WebTest.
    from webtest import TestApp

    return TestApp(app, extra_environ={"HTTP_HOST": host, **extra_environ})


def csrf_token(testapp: TestApp) -> str:
    """Return the CSRF token that the next form of `testapp` has to send.

    A token belongs to one site, so a test cannot make one up: it comes from the application's storage policy. If there
    is no token yet, one is created and its cookie is stored in `testapp`.

    Raises:
        UnknownSite: No site has the host of `testapp`.
        InvalidHost: The host of `testapp` is not a host.
    """
    environ = dict(testapp.extra_environ)
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in testapp.cookiejar)
    with request_for(testapp.app, environ.pop("HTTP_HOST", "localhost"), HTTP_COOKIE=cookies, **environ) as request:
        token: str = get_csrf_token(request)
        response = Response()
        request._process_response_callbacks(response)
    for header in response.headers.getall("Set-Cookie"):
        name, _, value = header.partition(";")[0].partition("=")
        testapp.set_cookie(name, value)
    return token
