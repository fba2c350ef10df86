"""Baseline: the page in plain Pyramid, written by hand for one site of a shared database, without multisite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.router import Router
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped

from benchmarks.page import ENTRIES, EntryColumns, add_views

SITE_ID = 1


class Base(DeclarativeBase):
    """Base of the models."""


class Entry(EntryColumns, Base):
    """An entry with a hand-written `site_id`."""

    __tablename__ = "entries"

    site_id: Mapped[int]


def latest(request: Request) -> Sequence[Entry]:
    """Return the entries of the page."""
    statement = select(Entry).where(Entry.site_id == SITE_ID).order_by(Entry.published.desc()).limit(ENTRIES)
    return request.dbsession.scalars(statement).all()


def main(settings: dict[str, Any]) -> Router:
    """Return the application."""
    with Configurator(settings=settings) as config:
        config.include("pyramid_mako")
        config.include("benchmarks.cookiecutter")
        add_views(config, latest, Entry)
        return config.make_wsgi_app()
