"""Applications with the pieces of work that `benchmarks.summary` counts.

    python -m benchmarks.pieces KIND FOLDER

is a process with the application of this kind, ready to be measured; with `--once PIECE…` it only does some pieces of
work once. `python -m benchmarks.pieces prepare FOLDER` writes the files and databases of all kinds into FOLDER before,
since that takes long under callgrind. All of this also runs with the package `multisite` of an earlier commit.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.measured import Measured
from benchmarks.page import TEMPLATES, environ_of, host_of

__all__ = ["BASELINE", "KINDS", "PEERS", "PEERS_FOLDER", "Pieces"]

STYLE = "body { margin: 0; color: #222; background: #fff; font: 1rem/1.5 sans-serif; }\n" * 60
"""The content of the static file, some 4 kB."""

KNOWN_HOST = host_of(1)
_SETTINGS = {"multisite.refresh_seconds": "86400", "multisite.max_age_seconds": "86400"}
"""Callgrind makes the process about fifty times slower, so work done once a second would count fifty times."""

Environ = dict[str, Any]


class Pieces(Measured):
    """An application and its pieces of work, by name."""

    def __init__(self, kind: str, folder: str) -> None:
        super().__init__()
        _shift_type_versions()
        self.work = KINDS[kind](Path(folder))

    def names(self) -> list[str]:
        """Return the names of the pieces."""
        return list(self.work)

    def status(self, name: str) -> str:
        """Do a piece of work once, and return the status of its response, or its result."""
        return str(self.work[name](1))

    def body(self, name: str) -> str:
        """Return the body of the response to the request that a piece of work sends."""
        work = self.work[name]
        if not isinstance(work, _Asking):
            raise TypeError(f"{name} sends no request")
        return work.body()


def _shift_type_versions() -> None:
    """Let Python number all later types differently with each seed of its hashes.

    Its cache of attributes has the numbers of types in its keys. With an unlucky numbering a page costs 8 % more, in
    each process with the same code and settings, whatever the seed is.
    """
    seed = os.environ.get("PYTHONHASHSEED", "")
    for _ in range(7 * int(seed) if seed.isdecimal() else 0):
        type("Numbered", (), {"attribute": None}).attribute  # noqa: B018


def _multisite_settings(folder: Path) -> dict[str, str]:
    return {
        **_SETTINGS,
        "sqlalchemy.url": f"sqlite:///{folder}/bench.db",
        "multisite.sites_dir": str(folder / "sites"),
        "multisite.templates_dir": str(TEMPLATES),
    }


class _Asking:
    """The work of sending a request some times; it returns the last status."""

    def __init__(self, app: Any, path: str, host: str = KNOWN_HOST, *, query: str = "", **headers: str) -> None:
        self._app, self._path, self._host, self._more = app, path, host, {"QUERY_STRING": query} | headers

    def __call__(self, count: int) -> str:
        app, path, host, more = self._app, self._path, self._host, self._more
        answered: list[str] = []

        def start_response(status: str, response_headers: Any, exc_info: Any = None) -> None:
            answered.append(status)

        for _ in range(count):
            environ = environ_of(path, host) | more
            chunks = app(environ, start_response)
            for _chunk in chunks:
                pass
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        return answered[-1]

    def body(self) -> str:
        """Send the request once and return the body of the response."""
        chunks = self._app(environ_of(self._path, self._host) | self._more, lambda *_: None)
        try:
            return b"".join(chunks).decode()
        finally:
            getattr(chunks, "close", lambda: None)()


def _remember_files() -> None:
    """Let multisite remember static files for a day, for the same reason as `_SETTINGS`."""
    with suppress(ImportError):  # An earlier commit does not remember them.
        from multisite.static import memory

        memory.SECONDS = 86_400.0


def _etag_of(app: Any, path: str) -> str:
    found: dict[str, str] = {}
    chunks = app(environ_of(path, KNOWN_HOST), lambda status, headers, exc_info=None: found.update(headers))
    getattr(chunks, "close", lambda: None)()
    return found.get("ETag", "")


BASELINE = "baseline"
"""The application of plain Pyramid, which does not import multisite."""


def _baseline(folder: Path) -> dict[str, Callable[[int], Any]]:
    from pyramid.config import Configurator

    from benchmarks import baseline
    from benchmarks.baseline import Entry, latest
    from benchmarks.page import add_views

    static = folder / "sites" / KNOWN_HOST / "static"
    with Configurator(settings={"sqlalchemy.url": f"sqlite:///{folder}/bench.db"}, package=baseline) as config:
        config.include("pyramid_mako")
        config.include("benchmarks.cookiecutter")
        config.add_static_view("static", str(static))
        add_views(config, latest, Entry)
        app = config.make_wsgi_app()
    return {
        "page": _Asking(app, "/"),
        "static file": _Asking(app, "/static/style.css"),
        "static file, 304": _Asking(app, "/static/style.css", HTTP_IF_MODIFIED_SINCE="Tue, 01 Jan 2999 00:00:00 GMT"),
    }


def _page(folder: Path) -> dict[str, Callable[[int], Any]]:
    from benchmarks.served import with_own_session

    return {"page": _Asking(with_own_session(_multisite_settings(folder)), "/")}


def _columns(folder: Path) -> dict[str, Callable[[int], Any]]:
    """Return the page as an application writes it for speed: unpacked columns, by a statement that is built once."""
    import sqlalchemy as sa
    from pyramid.config import Configurator

    from benchmarks.page import ENTRIES
    from benchmarks.served import Entry

    columns = sa.select(Entry.slug, Entry.title, Entry.summary, Entry.published)
    newest = columns.order_by(Entry.published.desc()).limit(ENTRIES)
    with Configurator(settings=_multisite_settings(folder)) as config:
        config.include("multisite")
        config.add_route("home", "/")
        config.add_view(
            lambda request: {"entries": request.dbsession.execute(newest).all()},
            route_name="home",
            renderer="benchmarks:templates/columns.mako",
        )
        app = config.make_wsgi_app()
    return {"page, columns": _Asking(app, "/")}


def _once(folder: Path) -> dict[str, Callable[[int], Any]]:
    """Return the page with entities, by a statement that is built once."""
    import sqlalchemy as sa
    from pyramid.config import Configurator

    from benchmarks.page import ENTRIES, add_views
    from benchmarks.served import Entry

    newest = sa.select(Entry).order_by(Entry.published.desc()).limit(ENTRIES)
    with Configurator(settings=_multisite_settings(folder)) as config:
        config.include("multisite")
        add_views(config, lambda request: request.dbsession.scalars(newest).all(), Entry)
        app = config.make_wsgi_app()
    return {"page, entities, statement built once": _Asking(app, "/")}


def _multisite(folder: Path) -> dict[str, Callable[[int], Any]]:
    from pyramid.config import Configurator
    from pyramid.request import Request, apply_request_extensions

    from benchmarks.page import add_views
    from benchmarks.served import Entry, latest

    _remember_files()
    with Configurator(settings=_multisite_settings(folder)) as config:
        config.include("multisite")
        config.include("multisite.static")
        add_views(config, latest, Entry)
        app = config.make_wsgi_app()
    request = Request.blank("/", host=KNOWN_HOST)
    request.registry = app.registry
    apply_request_extensions(request)
    tag = _etag_of(app, "/static/style.css")

    def static_path(count: int) -> str:
        path = ""
        for _ in range(count):
            path = request.static_path("multisite:static/style.css")
        return path

    unknown = iter(range(10**9))

    def another_host(count: int) -> str:
        status = ""
        for _ in range(count):
            status = _Asking(app, "/", f"unknown{next(unknown)}.example")(1)
        return status

    return {
        "static file": _Asking(app, "/static/style.css"),
        "static file, 304": _Asking(app, "/static/style.css", HTTP_IF_NONE_MATCH=tag),
        "static_path": static_path,
        "unknown host": _Asking(app, "/", "unknown.example"),
        "unknown host, another each time": another_host,
    }


def _cached(folder: Path) -> dict[str, Callable[[int], Any]]:
    from pyramid.config import Configurator

    from benchmarks.served import latest

    settings = _multisite_settings(folder) | {"multisite.page_cache_seconds": "86400"}
    with Configurator(settings=settings) as config:
        config.include("multisite")
        config.include("multisite.page_cache")
        config.add_route("home", "/")
        config.add_view(
            lambda request: {"entries": latest(request)},
            route_name="home",
            renderer="benchmarks:templates/home.mako",
            page_cache=True,
        )
        app = config.make_wsgi_app()
    return {"cached page": _Asking(app, "/")}


def _reference(folder: Path) -> dict[str, Callable[[int], Any]]:
    from multisite.content import main

    _remember_files()
    root = Path(main.__code__.co_filename).parents[2]
    settings = {
        **_SETTINGS,
        "sqlalchemy.url": f"sqlite:///{folder}/reference.db",
        "multisite.sites_dir": str(root / "sites"),
        "multisite.templates_dir": str(root / "templates"),
    }
    return {"home page of the reference application": _Asking(main({}, **settings), "/", "garden.localhost")}


PEERS_FOLDER = Path(sys.prefix, "peers")
"""Where `dev.py bench` installs Flask, Django and django-multisite2, whose package has the same name as ours."""


def _flask(folder: Path) -> dict[str, Callable[[int], Any]]:
    sys.path.insert(0, str(PEERS_FOLDER))
    from benchmarks.flask_page import main

    return {"page": _Asking(main(f"sqlite:///{folder}/bench.db"), "/")}


def _django(folder: Path) -> dict[str, Callable[[int], Any]]:
    sys.path.insert(0, str(PEERS_FOLDER))
    from benchmarks.django_page import main

    return {"page": _Asking(main(folder), "/")}


PEERS: dict[str, Callable[[Path], dict[str, Callable[[int], Any]]]] = {"flask": _flask, "django": _django}
"""The applications of other frameworks."""

KINDS: dict[str, Callable[[Path], dict[str, Callable[[int], Any]]]] = {
    BASELINE: _baseline,
    "page": _page,
    "columns": _columns,
    "once": _once,
    "multisite": _multisite,
    "cached": _cached,
    "reference": _reference,
    **PEERS,
}


def prepare(folder: Path) -> None:
    """Write the files and databases of all applications into `folder`."""
    import shutil

    from benchmarks.databases import make_database
    from multisite.alembic.migrate import upgrade_own
    from multisite.content import main
    from multisite.content.tables import Base
    from multisite.core.settings import parse_settings
    from multisite.directory import engine_from_url
    from multisite.sites import add_site

    make_database(folder / "bench.db", 1)
    static = folder / "sites" / KNOWN_HOST / "static"
    static.mkdir(parents=True)
    (static / "style.css").write_text(STYLE)
    root = Path(main.__code__.co_filename).parents[2]
    engine = engine_from_url(f"sqlite:///{folder}/reference.db")
    upgrade_own(engine)
    Base.metadata.create_all(engine)
    scratch = folder / "reference-sites"
    shutil.copytree(root / "sites", scratch)
    settings = parse_settings({"multisite.sites_dir": str(scratch), "multisite.templates_dir": str(root / "templates")})
    site = add_site(engine, "garden.localhost", settings=settings, name="Garden")
    _import_entries()(engine, site, [root / "sites" / "garden.localhost" / "content"])
    engine.dispose()


def _import_entries() -> Callable[..., Any]:
    """Return the function of the commit that is measured: earlier ones have it in another module."""
    try:
        module = import_module("multisite.content.imports.importing")
    except ModuleNotFoundError:
        module = import_module("multisite.content.importing")
    found: Callable[..., Any] = module.import_entries
    return found


def main() -> None:
    """Do what the command line says."""
    kind, folder, *once = sys.argv[1:]
    if kind == "prepare":
        prepare(Path(folder))
    elif once:
        application = Pieces(kind, folder)
        for piece in once[1:]:
            print(application.status(piece))
    else:
        Pieces(kind, folder).serve()


if __name__ == "__main__":
    main()
