"""Session and transaction as in applications made with Pyramid's official cookiecutter.

Follows pyramid-cookiecutter-starter with SQLAlchemy: a sessionmaker, zope.sqlalchemy registered on each request's
session, the explicit manager, and pyramid_retry.
"""

from __future__ import annotations

from typing import Any

import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.request import Request
from sqlalchemy import engine_from_config
from sqlalchemy.orm import Session, sessionmaker


def get_tm_session(session_factory: Any, transaction_manager: Any, request: Request | None = None) -> Session:
    """Return a session whose transaction is committed or aborted by `transaction_manager`."""
    dbsession: Session = session_factory(info={"request": request})
    zope.sqlalchemy.register(dbsession, transaction_manager=transaction_manager)
    return dbsession


def includeme(config: Configurator) -> None:
    """Add `request.dbsession`."""
    settings = config.get_settings()
    settings["tm.manager_hook"] = "pyramid_tm.explicit_manager"
    config.include("pyramid_tm")
    config.include("pyramid_retry")
    session_factory = sessionmaker()
    session_factory.configure(bind=engine_from_config(settings, "sqlalchemy."))
    config.registry["dbsession_factory"] = session_factory

    def dbsession(request: Request) -> Session:
        shared = request.environ.get("app.dbsession")
        if shared is not None:
            return shared
        return get_tm_session(session_factory, request.tm, request=request)

    config.add_request_method(dbsession, reify=True)
