"""The SQLAlchemy sessions of a request: `request.dbsession`, and further ones for another site or for all sites.

An application that defines its own `request.dbsession` keeps it. The session provided here joins the request's
transaction manager, by event listeners registered once on its class. Its objects do not expire on commit, because
pyramid_tm commits after the response has been rendered.
"""

from __future__ import annotations

from typing import Any

from pyramid.config import PHASE3_CONFIG, Configurator
from pyramid.interfaces import IRequestExtensions, IRequestFactory
from pyramid.request import Request
from pyramid.util import InstancePropertyHelper
from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session
from transaction.interfaces import NoTransaction

import multisite.scoping  # noqa: F401  # Installs the scoping layer, even if no model is scoped.
from multisite.core.current_site import log_all_sites
from multisite.core.keys import DIRECTORY
from multisite.core.site import Site
from multisite.errors import MultisiteError, UnknownSite
from multisite.web.joining import import_datamanager
from multisite.web.startup import gets_requests, on_startup

__all__ = ["RequestSession", "all_sites_session", "includeme", "site_session"]

_LATE = PHASE3_CONFIG + 20
"""Action order after the application's own configuration, so that its request methods are known."""


_EVENTS = (
    "do_orm_execute", "after_transaction_create", "after_begin", "loaded_as_persistent", "persistent_to_detached",
    "deleted_to_detached", "pending_to_transient", "persistent_to_transient", "after_transaction_end",
)  # fmt: skip
"""The events that SQLAlchemy looks up in each session that reads rows."""


class RequestSession(Session):
    """A session that is part of its request's transaction. `info={"request": request}` is required.

    SQLAlchemy gives a session its listeners when they are looked up, by way of an `AttributeError` for each event. This
    does the same at once, which saves a hundredth of a page. With a release that works differently, it does nothing.
    """

    def __init__(self, bind: Engine | Connection | None = None, **options: Any) -> None:
        super().__init__(bind, **options)
        dispatch: Any = self.dispatch
        listeners: Any = getattr(dispatch, "_empty_listeners", {})
        for name in _EVENTS:
            if name in listeners:
                setattr(dispatch, name, listeners[name])


@event.listens_for(RequestSession, "after_begin")
@event.listens_for(RequestSession, "after_attach")
def _join(session: Session, *args: Any) -> None:
    from zope.sqlalchemy.datamanager import join_transaction  # Imported at the start of a server, see `includeme`.

    join_transaction(session, transaction_manager=session.info["request"].tm)


@event.listens_for(RequestSession, "before_commit")
def _reject_direct_commit(session: Session) -> None:
    if session.in_nested_transaction():
        return
    from zope.sqlalchemy.datamanager import ZopeStatus

    try:
        committing = session.info["request"].tm.get().status == ZopeStatus.COMMITTING
    except NoTransaction:
        committing = False
    if not committing:
        raise RuntimeError("this session is committed with its request: use request.tm, not session.commit()")


def site_session(request: Request, site: Site | int | str) -> Session:
    """Return a new session that is pinned to `site` and commits with the request.

    The session has its own connection, and so does not see uncommitted changes of `request.dbsession`.

    Args:
        request: The current request.
        site: A `Site`, an id or a host.

    Raises:
        UnknownSite: No site has this id or host.
        InvalidHost: `site` is a string that is not a valid host.
    """
    if not isinstance(site, Site):
        found = request.registry[DIRECTORY].resolve(site)
        if found is None:
            raise UnknownSite(site)
        site = found
    return _second_session(request, site=site)


def all_sites_session(request: Request, reason: str) -> Session:
    """Return a new session that sees the rows of all sites and commits with the request.

    Args:
        request: The current request.
        reason: Logged together with the calling line.

    Raises:
        ValueError: `reason` is empty.
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
        # The Pyramid cookiecutter's hook for tests that share one session.
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

    # Late and without a discriminator: `add_request_method` would conflict with an application's own dbsession.
    config.action(None, provide, order=_LATE)


def _import_for_requests(_registry: Any) -> None:
    if gets_requests():
        import_datamanager()  # Once, and not in the first request of each process.


def includeme(config: Configurator, engine: Engine | None = None) -> None:
    """Add `request.site_session`, `request.all_sites_session`, and `request.dbsession` if the application has none.

    Includes pyramid_tm.

    Args:
        config: The Configurator.
        engine: The engine of `request.dbsession`; None adds no `request.dbsession`.
    """
    if engine is not None:
        _provide_dbsession(config, engine)
    config.include("pyramid_tm")
    on_startup(config.registry, _import_for_requests)
    config.add_request_method(site_session, "site_session")
    config.add_request_method(all_sites_session, "all_sites_session")
