"""The page in plain Flask, with SQLAlchemy and Jinja, written by hand for one site of a shared database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, sessionmaker

from benchmarks.page import ENTRIES, TEMPLATES, EntryColumns

__all__ = ["main"]

SITE_ID = 1


class Base(DeclarativeBase):
    """Base of the models."""


class Entry(EntryColumns, Base):
    """An entry with a hand-written `site_id`."""

    __tablename__ = "entries"

    site_id: Mapped[int]


def main(url: str) -> Any:
    """Return the application."""
    from flask import Flask, render_template

    app = Flask(__name__, template_folder=str(TEMPLATES / "jinja"))
    app.jinja_env.keep_trailing_newline = True
    new_session = sessionmaker(create_engine(url))

    @app.route("/")
    def home() -> str:
        statement = select(Entry).where(Entry.site_id == SITE_ID).order_by(Entry.published.desc()).limit(ENTRIES)
        with new_session.begin() as session:
            return render_template("home.html", entries=session.scalars(statement).all())

    return app
