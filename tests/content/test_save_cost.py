"""Saving an entry costs as much among many as among ten: the statements of the whole request are counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, ContentSites
from databases import fresh_database
from editor_sites import add_user, change, editor_sites, log_in, write
from sqlalchemy import event
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite import all_sites
from multisite.content.models import Entry, entry_search
from multisite.core.keys import DIRECTORY
from multisite.search import segments

MANY = 100_000 if os.environ.get("MULTISITE_SOAK") else 400
TEXT = " ".join(f"word{number}" for number in range(6000))[:50_000]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        editor_sites(url, tmp_path_factory.mktemp("costs")) as sites,
    ):
        sites.settings |= {"multisite.page_cache_seconds": "600", "multisite.refresh_seconds": "0"}
        add_user(sites, sites.garden, "editor", "editor")
        yield sites


def fill(sites: ContentSites, numbers: range) -> None:
    newest = datetime(2024, 5, 5, 12, tzinfo=UTC)
    rows = [
        {
            "slug": f"e{number}",
            "title": f"Number {number}",
            "body_html": f"<p>Words {number}</p>",
            "published": newest - timedelta(hours=number),
        }
        for number in numbers
    ]
    with Session(sites.engine, info={"site": sites.garden}) as session:
        session.execute(sa.insert(Entry), rows)
        session.commit()
        entry_search.reindex(session)


def saved(sites: ContentSites, browser: TestApp, address: str, **fields: str) -> list[tuple[str, Any]]:
    """Save an entry, and return the statements of the request that saves it, with their parameters."""
    form = browser.get(address).forms[0]
    for name, value in fields.items():
        form[name] = value
    sent: list[tuple[str, Any]] = []
    engine = sites.app.registry[DIRECTORY].engine

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        sent.append((statement, parameters[0] if many else parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        form.submit("action", value="save", status=303)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return sent


def test_a_save_takes_as_many_statements_among_many_entries_as_among_ten(
    sites: ContentSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    if MANY < 1000:
        monkeypatch.setattr(segments, "SEGMENT_ROWS", 100)
    editor = log_in(sites, GARDEN, "editor")
    fill(sites, range(9))
    address = write(editor, title="Mine", body=TEXT, tags="a, b")
    change(editor, address, body=f"{TEXT} once")  # Caches of the process are filled.
    few = saved(sites, editor, address, body=f"{TEXT} few")
    fill(sites, range(9, MANY))
    change(editor, address, body=f"{TEXT} twice")
    many = saved(sites, editor, address, body=f"{TEXT} many")
    assert [statement for statement, _ in many] == [statement for statement, _ in few]
    with Session(sites.engine, info={"site": sites.garden}) as session:
        assert session.scalars(sa.select(Entry.body).where(Entry.title == "Mine")).one().endswith("many")
        assert session.scalar(sa.select(sa.func.count()).select_from(entry_search.tables.segments))
    print(f"{sites.engine.dialect.name}: {len(many)} statements for a save among {MANY:,} entries")
    if sites.engine.dialect.name == "sqlite":  # PostgreSQL reads a few hundred rows without an index.
        assert read_completely(sites, many) == []
        assert read_completely(sites, [("SELECT id FROM entries WHERE body = 'x'", ())])  # Control.


def read_completely(sites: ContentSites, sent: list[tuple[str, Any]]) -> list[str]:
    """Return the plans of statements that read all rows of a table that grows with the number of entries."""
    found = []
    with sites.engine.connect() as connection, all_sites("explain statements"):
        for statement, parameters in sent:
            if statement.split()[0] in {"SELECT", "UPDATE", "DELETE", "INSERT"}:
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                plan = "\n".join(str(row[3]) for row in rows)
                tables = ("entries", "entries_words", "entry_tags", "revisions")
                found += [f"{statement}\n{plan}" for table in tables if f"SCAN {table}" in plan.splitlines()]
    return found
