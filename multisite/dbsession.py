"""The sessions of a request: `request.dbsession`, and second ones for another site or for all of them.

An application that has a `request.dbsession` of its own keeps it. The one provided here joins the request's
transaction manager through events that are registered once on its class, and does not expire at commit, since the
response has been rendered by then.
"""

from __future__ import annotations

from typing import Any

from pyramid.config import PHASE3_CONFIG, Configurator
from pyramid.interfaces import IRequestExtensions, IRequestFactory
from pyramid.request import Request
from pyramid.util import InstancePropertyHelper
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session
from transaction.interfaces import NoTransaction
from zope.sqlalchemy.datamanager import ZopeStatus, join_transaction

import multisite.scoping  # noqa: F401  # Puts up the wall, also for an application without a scoped model yet.
from multisite.current import log_all_sites
from multisite.errors import MultisiteError, UnknownSite
from multisite.keys import DIRECTORY
from multisite.site import Site

__all__ = ["RequestSession", "all_sites_session", "includeme", "site_session"]

_LATE = PHASE3_CONFIG + 20
"""After the application's own configuration, so that what it brings is known."""


class RequestSession(Session):
    """A session that is part of its request's transaction: `info={"request": request}` is required."""


@event.listens_for(RequestSession, "after_begin")
@event.listens_for(RequestSession, "after_attach")
def _join(session: Session, *args: Any) -> None:
    join_transaction(session, transaction_manager=session.info["request"].tm)


@event.listens_for(RequestSession, "before_commit")
def _only_by_the_manager(session: Session) -> None:
    if session.in_nested_transaction():
        return
    try:
        committing = session.info["request"].tm.get().status == ZopeStatus.COMMITTING
    except NoTransaction:
        committing = False
    if not committing:
        raise RuntimeError("this session is committed with its request: use request.tm, not session.commit()")


def site_session(request: Request, site: Site | int | str) -> Session:
    """Return a new session that is pinned to `site`, a `Site`, an id or a host, and commits with the request.

    It has its own connection, so it does not see what `request.dbsession` has not committed. Raises `UnknownSite` or
    `InvalidHost`.
    """
    if not isinstance(site, Site):
        found = request.registry[DIRECTORY].resolve(site)
        if found is None:
            raise UnknownSite(site)
        site = found
    return _second_session(request, site=site)


def all_sites_session(request: Request, reason: str) -> Session:
    """Return a new session that sees every site's rows and commits with the request.

    `reason` is required and logged, with the line that calls this. Raises `ValueError` if it is empty.
    """
    return _second_session(request, all_sites=log_all_sites(reason))


def _second_session(request: Request, **info: Any) -> Session:
    if not hasattr(request, "dbsession"):
        raise MultisiteError(
            "this application has no request.dbsession, whose engine a second session uses: set sqlalchemy.url, or "
            "add a request method dbsession"
        )
    return RequestSession(bind=request.dbsession.get_bind(), info={"request": request, **info}, expire_on_commit=False)


def _provide_dbsession(config: Configurator, engine: Engine) -> None:
    def dbsession(request: Request) -> Session:
        # The hook that the Pyramid cookiecutter has for tests that share one session, kept for applications like it.
        shared: Session | None = request.environ.get("app.dbsession")
        if shared is not None:
            return shared
        return RequestSession(bind=engine, info={"request": request}, expire_on_commit=False)

    def provide() -> None:
        extensions = config.registry.queryUtility(IRequestExtensions)
        factory = config.registry.queryUtility(IRequestFactory)
        if "dbsession" in extensions.descriptors or "dbsession" in extensions.methods or hasattr(factory, "dbsession"):
            return
        name, attribute = InstancePropertyHelper.make_property(dbsession, name="dbsession", reify=True)
        extensions.descriptors[name] = attribute

    # Without a discriminator and late: with add_request_method an application that brings its own would conflict.
    config.action(None, provide, order=_LATE)


def includeme(config: Configurator, engine: Engine | None = None) -> None:
    """Add `request.site_session` and `request.all_sites_session`, and `request.dbsession` on `engine` if the
    application turns out to have none; None provides no session. Includes pyramid_tm."""
    if engine is not None:
        _provide_dbsession(config, engine)
    config.include("pyramid_tm")
    config.add_request_method(site_session, "site_session")
    config.add_request_method(all_sites_session, "all_sites_session")
