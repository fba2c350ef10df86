"""The same page with multisite: with its own session, and with the cookiecutter's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.router import Router
from pyramid.session import SignedCookieSessionFactory
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase

from benchmarks.page import ENTRIES, EntryColumns, add_views
from multisite import SiteScoped


class Base(DeclarativeBase):
    """Base of the models."""


class Entry(SiteScoped, EntryColumns, Base):
    """An entry of a site."""

    __tablename__ = "entries"
    __table_args__ = (sa.Index("ix_entries_site_id_published", "site_id", "published"),)


def latest(request: Request) -> Sequence[Entry]:
    """Return the entries of the page."""
    return request.dbsession.scalars(select(Entry).order_by(Entry.published.desc()).limit(ENTRIES)).all()


def with_own_session(settings: dict[str, Any]) -> Router:
    """Return an application that only includes multisite."""
    with Configurator(settings=settings) as config:
        config.include("multisite")
        add_views(config, latest, Entry)
        return config.make_wsgi_app()


def with_environment(
    settings: dict[str, Any], *more_to_include: str, newest: Callable[[Request], Sequence[Any]] | None = None
) -> Router:
    """Return an application whose sites use most features, with a page that is rendered each time and reads them.

    The page reads a setting of the site, the visitor's language and the site's local time, behind a page cache that
    does not store it, with sessions and logs by site. `newest` returns the entries of the page.
    """
    # Imported here, because the applications without sessions do not need it.
    from multisite.sessions import per_site

    more = {"multisite.secret": "0f" * 32, "multisite.page_cache_seconds": "60"}
    with Configurator(settings=settings | more) as config:
        config.include("multisite")
        config.include("multisite.page_cache")
        config.include("multisite.logs")
        for name in more_to_include:
            config.include(name)
        config.set_session_factory(per_site(SignedCookieSessionFactory))
        config.add_site_setting("entries", int, default=ENTRIES, doc="Entries on one page.", check=lambda n: n > 0)
        add_views(config, newest or latest_of_setting, Entry)
        return config.make_wsgi_app()


def with_environment_and_metrics(settings: dict[str, Any]) -> Router:
    """Return the same with Prometheus metrics."""
    return with_environment(settings, "multisite.metrics")


def with_environment_and_sessions(settings: dict[str, Any]) -> Router:
    """Return the same with metrics, whose page also writes into the visitor's session."""
    return with_environment(settings, "multisite.metrics", newest=latest_in_session)


def latest_in_session(request: Request) -> Sequence[Entry]:
    """Return the entries of the page, and note in the visitor's session that there was a visit."""
    request.session["visited"] = True
    return latest_of_setting(request)


def latest_of_setting(request: Request) -> Sequence[Entry]:
    """Return the entries of the page, using the site's setting and local time and the visitor's language."""
    if (request.locale_name, request.now().tzname()) != ("en", "UTC"):
        raise RuntimeError(f"{request.site} is not as the benchmark has created it")
    entries = select(Entry).order_by(Entry.published.desc()).limit(request.site.settings["entries"])
    return request.dbsession.scalars(entries).all()


def with_own_session_and_retry(settings: dict[str, Any]) -> Router:
    """Return the same with pyramid_retry, which the cookiecutter's applications include."""
    with Configurator(settings=settings) as config:
        config.include("multisite")
        config.include("pyramid_retry")
        add_views(config, latest, Entry)
        return config.make_wsgi_app()


def with_cookiecutter_session(settings: dict[str, Any]) -> Router:
    """Return an application like the cookiecutter's that includes multisite."""
    with Configurator(settings=settings) as config:
        config.include("pyramid_mako")
        config.include("benchmarks.cookiecutter")
        config.include("multisite")
        add_views(config, latest, Entry)
        return config.make_wsgi_app()
