"""The panel of pyramid_debugtoolbar: what it shows for a request, and that nothing is patched without it."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, make_own_tables
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from scoped_models import Base, Book, Country
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite.caching import make_region
from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.debugtoolbar.recording import mark_added
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain

region = make_region("books").configure("dogpile.cache.memory")


def books(request: Request) -> dict[str, Any]:
    slugs = request.dbsession.scalars(sa.select(Book.slug).where(Book.stock > 0).order_by(Book.slug)).all()
    request.dbsession.scalars(sa.select(Country.name)).all()
    region.get_or_create("count", lambda: len(slugs))
    return {"slugs": slugs}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("toolbar")
    for name, text in (
        ("templates/layout.mako", "<html><body>${next.body()}</body></html>"),
        ("templates/books.mako", '<%inherit file="layout.mako"/>${", ".join(slugs)}'),
        ("sites/garden.example/books.mako", '<%inherit file="layout.mako"/>Garden: ${", ".join(slugs)}'),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    url = f"sqlite:///{folder / 'test.db'}"
    config = Configurator(
        settings={
            "sqlalchemy.url": url,
            "multisite.sites_dir": str(folder / "sites"),
            "multisite.templates_dir": str(folder / "templates"),
            "multisite.open_paths": "/health",
            "multisite.unknown_host": "fallback.example",
            "multisite.development_suffix": "localhost",
            "multisite.secret": "nobody-must-see-" * 4,
        }
    )
    config.include("multisite.debugtoolbar")
    config.include("multisite")
    config.add_site_setting("per_page", int, default=10, doc="How many books a page shows.")
    config.add_route("books", "/")
    config.add_view(books, route_name="books", renderer="books.mako")
    config.add_route("health", "/health")
    config.add_view(lambda request: Response("<html><body>fine</body></html>"), route_name="health")
    with closing_engine(url) as engine:
        make_own_tables(engine)
        Base.metadata.create_all(engine)
        app = config.make_wsgi_app()
        for host in ("garden.example", "fallback.example", "host.example/shop"):
            site = add_site(engine, host, settings=app.registry[SETTINGS])
            with Session(engine, info={"site": site}) as session:
                session.add(Book(slug="roses", secret="x"))
                session.commit()
        add_domain(engine, "garden.example", "*.garden.example")
        add_domain(engine, "garden.example", "alias.example:8080")
    yield app
    app.registry[DIRECTORY].deactivate()
    app.registry[DIRECTORY].engine.dispose()


def panel(app: Any, host: str, path: str = "/") -> str:
    """Request a page like a browser, and return the panel of its toolbar."""
    browser = TestApp(app, extra_environ={"HTTP_HOST": host, "REMOTE_ADDR": "127.0.0.1"})
    page = browser.get(path)
    found = re.search(r'href="[^"]*(/_debug_toolbar/[0-9a-f]+)"', page.text)
    assert found is not None, page.text
    text = browser.get(found[1]).text
    assert "pDebugPanel-multisite" in text
    start = text.index('id="multisite-how"')
    return text[start : text.index('id="multisite-settings"', start) + 3000]


def table(text: str, name: str) -> list[list[str]]:
    """Return the rows of a table of the panel, each a list of its cells' text."""
    found = re.search(rf'<table[^>]*id="multisite-{name}".*?</table>', text, re.DOTALL)
    assert found is not None, f"there is no table {name} in {text}"
    rows = re.findall(r"<tr>(.*?)</tr>", found[0], re.DOTALL)
    cells = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[" ".join(html.unescape(re.sub(r"<[^>]*>", "", cell)).split()) for cell in row] for row in cells]


def how(text: str) -> str:
    return html.unescape(text.partition(">")[2].partition("</p>")[0])


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("garden.example", "/", "by its canonical domain garden.example"),
        ("www.garden.example", "/", "by its alias *.garden.example, a wildcard"),
        ("alias.example:8080", "/", "by its alias alias.example:8080, with its port"),
        ("host.example", "/shop/", "by its canonical domain host.example/shop, with its path"),
        (
            "garden.example.localhost",
            "/",
            (
                "by its canonical domain garden.example, "
                "without the development suffix .localhost of garden.example.localhost"
            ),
        ),
        (
            "nowhere.example",
            "/",
            "no domain matches nowhere.example: fallback (multisite.unknown_host = fallback.example)",
        ),
        ("garden.example", "/health", "this path is open (multisite.open_paths): it is served without a site"),
    ],
)
def test_how_the_site_was_found(app: Any, host: str, path: str, expected: str) -> None:
    assert how(panel(app, host, path)) == expected


@pytest.fixture(scope="module")
def garden(app: Any) -> str:
    panel(app, "garden.example")
    return panel(app, "garden.example")


def test_the_site(garden: str) -> None:
    assert ["domain", "garden.example"] in table(garden, "site")
    assert ["theme", "none"] in table(garden, "site")


def test_the_layers_of_every_template(garden: str) -> None:
    _head, first, second = table(garden, "templates")
    assert (first[0], first[1]) == ("/books.mako", "site")
    assert re.fullmatch(r"✓ site \S+/sites/garden.example/books.mako ✓ shared \S+/templates/books.mako", first[2])
    assert (second[0], second[1]) == ("/layout.mako", "shared")
    assert re.fullmatch(r"– site \S+/sites/garden.example/layout.mako ✓ shared \S+/templates/layout.mako", second[2])


def test_statements_with_added_parts_marked(app: Any, garden: str) -> None:
    _head, *rows = table(garden, "statements")
    limits = {limit for limit, _ in rows}
    assert limits == {"garden.example", "not scoped"}
    (text,) = re.findall(r"<code>(SELECT books.slug.*?)</code>", garden, re.DOTALL)
    assert re.findall(r"<mark>(.*?)</mark>", text, re.DOTALL) != []
    plain = " ".join(html.unescape(re.sub(r"<mark>.*?</mark>", "", text, flags=re.DOTALL)).split())
    assert plain == "SELECT books.slug FROM books WHERE books.stock > ? ORDER BY books.slug"
    assert "books.site_id = ?" in html.unescape(re.sub(r"</?mark>", "", text))
    # The panel's own statements are neither in it nor in the toolbar's own panel.
    assert not any("FROM domains" in statement for _, statement in rows)


def test_caches(garden: str) -> None:
    _head, *rows = table(garden, "caches")
    assert [row for row in rows if "count" in row[1]] == [["region books", rows[0][1], "hit", "1"]]


def test_settings_and_their_sources(garden: str) -> None:
    assert ["per_page", "10", "default", "How many books a page shows."] in table(garden, "own-settings")
    settings = {key: (value, source) for key, value, source in table(garden, "settings")}
    assert settings["multisite.unknown_host"] == ("fallback.example", "ini")
    assert settings["multisite.secret"] == ("(set)", "ini")


def test_secrets_are_not_shown(garden: str) -> None:
    assert "nobody-must-see" not in garden


def test_added_parts_are_found_token_by_token() -> None:
    parts = mark_added("SELECT a FROM b WHERE c = ?", "SELECT a FROM b WHERE b.site_id = ? AND c = ?")
    assert "".join(text for text, _ in parts) == "SELECT a FROM b WHERE b.site_id = ? AND c = ?"
    assert "".join(text for text, added in parts if not added) == "SELECT a FROM b WHERE c = ?"
    assert mark_added("SELECT 1", "SELECT 1") == (("SELECT 1", False),)


def test_nothing_is_imported_without_the_include(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pyramid.config import Configurator\n"
        f"config = Configurator(settings={{'sqlalchemy.url': 'sqlite:///{tmp_path / 'x.db'}'}})\n"
        "config.include('multisite')\nconfig.make_wsgi_app()\n"
        "assert not [name for name in sys.modules if 'debugtoolbar' in name]\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
