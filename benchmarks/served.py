"""The same page with multisite: with its own session, and with the cookiecutter's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.router import Router
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase

from benchmarks.page import ENTRIES, EntryColumns, add_views
from multisite import SiteScoped


class Base(DeclarativeBase):
    """The models' base."""


class Entry(SiteScoped, EntryColumns, Base):
    """An entry of a site."""

    __tablename__ = "entries"
    __table_args__ = (sa.Index("ix_entries_site_id_published", "site_id", "published"),)


def latest(request: Request) -> Sequence[Entry]:
    """Return what the page shows."""
    return request.dbsession.scalars(select(Entry).order_by(Entry.published.desc()).limit(ENTRIES)).all()


def with_own_session(settings: dict[str, Any]) -> Router:
    """Return an application that has only included multisite."""
    with Configurator(settings=settings) as config:
        config.include("multisite")
        add_views(config, latest, Entry)
        return config.make_wsgi_app()


def with_own_session_and_retry(settings: dict[str, Any]) -> Router:
    """Return the same with pyramid_retry, which the cookiecutter's applications include."""
    with Configurator(settings=settings) as config:
        config.include("multisite")
        config.include("pyramid_retry")
        add_views(config, latest, Entry)
        return config.make_wsgi_app()


def with_cookiecutter_session(settings: dict[str, Any]) -> Router:
    """Return an application as the cookiecutter makes it, which has included multisite then."""
    with Configurator(settings=settings) as config:
        config.include("pyramid_mako")
        config.include("benchmarks.cookiecutter")
        config.include("multisite")
        add_views(config, latest, Entry)
        return config.make_wsgi_app()
