"""Multisite applications beside others in one process: ids, names and rows never mix; the others are unaffected."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_postgresql, make_own_tables
from sqlalchemy.orm import Session
from vhosting import World, ask, world_in

from multisite import MultisiteError, Site, UnknownSite, using_site
from multisite.alembic.migrate import upgrade_own
from multisite.core import site as site_module
from multisite.core.application import using_application
from multisite.core.keys import DIRECTORY
from multisite.core.settings import Settings, parse_settings
from multisite.sites.creation import add_site
from multisite.vhosts import application
from multisite.vhosts.dispatcher import Vhosts

SCOPED = """
    from concurrent.futures import ThreadPoolExecutor
    import sqlalchemy as sa
    from pyramid.config import Configurator
    from pyramid.response import Response
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
    from multisite import MultisiteError, SiteScoped, carry, using_site

    class Base(DeclarativeBase):
        pass

    class Note(SiteScoped, Base):
        __tablename__ = "vhost_notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str]

    def notes(request):
        found = request.dbsession.scalars(sa.select(Note.text).order_by(Note.text))
        return Response(f"{request.site.id} {request.site.name}: {' '.join(found)}")

    def named(request):
        name = request.matchdict["name"]
        try:
            with using_site(int(name) if name.isdigit() else name) as site:
                return Response(f"{site.id} {site.name}")
        except (LookupError, MultisiteError) as error:
            return Response(type(error).__name__)

    def threaded(request):
        how = carry(named) if request.matchdict["how"] == "carried" else named
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(how, request).result()

    def main(global_conf, **settings):
        with Configurator(settings=settings) as config:
            config.include("multisite")
            config.add_route("notes", "/")
            config.add_view(notes, route_name="notes")
            config.add_route("threaded", "/threaded/{how}/{name}")
            config.add_view(threaded, route_name="threaded")
            config.add_route("named", "/using/{name}")
            config.add_view(named, route_name="named")
            return config.make_wsgi_app()
"""

PLAIN = """
    import sqlalchemy as sa
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

    class Base(DeclarativeBase):
        pass

    class Note(Base):
        __tablename__ = "vhost_notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str]

    class Other(Base):
        __tablename__ = "vhost_others"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str]

    def orm(session, model):
        return session.scalars(sa.select(model.text))

    def insert(session, model):
        session.add(model(text="new"))
        session.flush()
        session.rollback()
        return ["inserted"]

    def text(session, model):
        return session.scalars(sa.text(f"SELECT text FROM {model.__tablename__}"))

    def light(session, model):
        table = sa.table(model.__tablename__, sa.column("text"))
        return session.scalars(sa.select(table.c.text))

    def unknown(session, model):
        session.execute(sa.text("CREATE VIEW vhost_view AS SELECT 'seen' AS text"))
        return session.scalars(sa.text("SELECT text FROM vhost_view"))

    def main(global_conf, url, model):
        engine = sa.create_engine(url)

        def app(environ, start_response):
            work = globals()[environ["PATH_INFO"].strip("/")]
            with Session(engine) as session:
                try:
                    answer = " ".join(work(session, globals()[model]))
                except Exception as error:
                    answer = type(error).__name__
            start_response("200 OK", [])
            return [answer.encode()]

        app.engine = engine
        return app
"""

INI = """
    [composite:main]
    use = egg:pyramid-multisite#vhosts
    domain one.example / = one
    domain two.example / = two
    domain both.example /one = one
    domain both.example /two = two
    domain plain.example / = plain
    domain guest.example / = guest
    domain alike.example / = alike
    [app:one]
    use = call:PREFIX_one:main
    sqlalchemy.url = {one}
    multisite.sites_dir = %(here)s/one/sites
    multisite.templates_dir = %(here)s/one/templates
    [app:two]
    use = call:PREFIX_two:main
    sqlalchemy.url = {two}
    multisite.sites_dir = %(here)s/two/sites
    multisite.templates_dir = %(here)s/two/templates
    [app:plain]
    use = call:PREFIX_plain:main
    url = {plain}
    model = Note
    [app:guest]
    use = call:PREFIX_plain:main
    url = {one}
    model = Other
    [app:alike]
    use = call:PREFIX_plain:main
    url = {one}
    model = Note
"""


class Process(NamedTuple):
    """One process: `app` with two multisite applications, a plain one, and two guests on the first one's database."""

    app: Vhosts
    engines: dict[str, sa.Engine]
    modules: dict[str, ModuleType]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def process(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("vhosts")
    with ExitStack() as stack:
        names = ("one", "two", "plain")
        if request.param == "sqlite":
            urls = {name: f"sqlite:///{folder / name}.db" for name in names}
        else:
            server = request.getfixturevalue("postgresql_url")
            urls = {name: stack.enter_context(fresh_postgresql(server)) for name in names}
        world = stack.enter_context(world_in(folder))
        engines = {name: stack.enter_context(closing_engine(url)) for name, url in urls.items()}
        process = make(world, urls, engines)
        yield process
        made: dict[str, Any] = {name: each.get() for name, each in process.app.applications.items()}
        for name in ("one", "two"):
            made[name].registry[DIRECTORY].deactivate()
            made[name].registry[DIRECTORY].engine.dispose()
        for name in ("plain", "guest", "alike"):
            made[name].engine.dispose()


def make(world: World, urls: dict[str, str], engines: dict[str, sa.Engine]) -> Process:
    for name, text in (("one", SCOPED), ("two", SCOPED), ("plain", PLAIN)):
        world.module(name, text)
    for name in ("one", "two"):
        upgrade_own(engines[name])
    escaped = {name: url.replace("%", "%%") for name, url in urls.items()}
    app = world.load(INI.format(**escaped))
    modules = {name: sys.modules[f"{world.prefix}_{name}"] for name in ("one", "two", "plain")}
    for name in ("one", "two", "plain"):
        modules[name].Base.metadata.create_all(engines[name])
    modules["plain"].Other.__table__.create(engines["one"])
    with Session(engines["one"]) as session:
        session.add(modules["plain"].Other(text="guest"))
        session.commit()
    with Session(engines["plain"]) as session:
        session.add(modules["plain"].Note(text="plain"))
        session.commit()
    plant(world.folder, engines, modules)
    return Process(app, engines, modules)


def plant(folder: Path, engines: dict[str, sa.Engine], modules: dict[str, ModuleType]) -> None:
    """Add a site 1 and the host both.example to both applications, under different ids; `two` has a third site."""
    hosts = {"one": ["one.example", "both.example"], "two": ["two.example", "more.example", "both.example"]}
    for name, own in hosts.items():
        settings = parse_settings(
            {"multisite.sites_dir": folder / name / "sites", "multisite.templates_dir": folder / name / "templates"}
        )
        for host in own:
            site = add_site(engines[name], host, settings=settings, name=f"{host} of {name}")
            with Session(engines[name], info={"site": site}) as session:
                session.add(modules[name].Note(text=f"note-of-{name}-{site.id}"))
                session.commit()


def test_each_application_serves_its_own_sites_and_rows(process: Process) -> None:
    for url, expected in {
        "//one.example/": "1 one.example of one: note-of-one-1",
        "//two.example/": "1 two.example of two: note-of-two-1",
        "//both.example/one/": "2 both.example of one: note-of-one-2",
        "//both.example/two/": "3 both.example of two: note-of-two-3",
    }.items():
        assert ask(process.app, url) == (200, expected, ask(process.app, url).headers)


def test_in_a_request_using_site_uses_the_directory_of_its_application(process: Process) -> None:
    for url, expected in {
        "//one.example/using/both.example": "2 both.example of one",
        "//two.example/using/both.example": "3 both.example of two",
        "//one.example/using/1": "1 one.example of one",
        "//two.example/using/1": "1 two.example of two",
        "//two.example/using/3": "3 both.example of two",
        "//one.example/using/3": "UnknownSite",
        "//one.example/using/two.example": "UnknownSite",
    }.items():
        assert ask(process.app, url).text == expected, url


def test_carry_keeps_the_application(process: Process) -> None:
    for url, carried, plain in (
        ("//one.example/threaded/{}/both.example", "2 both.example of one", "MultisiteError"),
        ("//two.example/threaded/{}/both.example", "3 both.example of two", "MultisiteError"),
        ("//two.example/threaded/{}/1", "1 two.example of two", "MultisiteError"),
        ("//one.example/threaded/{}/two.example", "UnknownSite", "1 two.example of two"),
    ):
        assert ask(process.app, url.format("carried")).text == carried, url
        # Negative control: a plain thread has no current application, so all of them are asked.
        assert ask(process.app, url.format("plain")).text == plain, url


def test_without_the_application_the_wrong_site_would_be_found(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: all directories are asked, as without a current application."""
    monkeypatch.setattr(site_module, "_resolvers_here", lambda: list(site_module._resolvers))
    assert ask(process.app, "//one.example/using/both.example").text == "MultisiteError"
    assert ask(process.app, "//one.example/using/two.example").text == "1 two.example of two"


def test_in_a_script_an_ambiguous_site_is_refused(process: Process) -> None:
    with using_site("one.example") as site:
        assert site.name == "one.example of one"
    for unclear in ("both.example", 1, 2, 3):
        with pytest.raises(
            MultisiteError, match=r"means different sites in the applications of this process \(one, two\)"
        ):
            using_site(unclear).__enter__()
    with pytest.raises(UnknownSite):
        using_site("nobody.example").__enter__()
    with pytest.raises(UnknownSite):
        using_site(99).__enter__()
    with using_application("two"), using_site(3) as site:
        assert site.name == "both.example of two"
    with using_application("one"), pytest.raises(UnknownSite):
        using_site(3).__enter__()
    # An application without a directory is treated like a script.
    with using_application("plain"), pytest.raises(MultisiteError, match="pass the Site itself to using_site"):
        using_site("both.example").__enter__()
    with using_site(Site(1, "x", "x", "x")) as site:
        assert site.name == "x"


def test_an_application_on_a_database_of_its_own_is_left_alone(process: Process) -> None:
    """A table with the name of a scoped table is neither limited nor refused in another database."""
    for way, expected in {
        "orm": "plain", "insert": "inserted", "text": "plain", "light": "plain", "unknown": "seen",
    }.items():  # fmt: skip
        assert ask(process.app, f"//plain.example/{way}").text == expected, way


def test_a_guest_on_the_database_of_a_multisite_application_has_its_own_tables(process: Process) -> None:
    for way, expected in {
        "orm": "guest", "insert": "inserted", "text": "guest", "light": "guest", "unknown": "UnscopedStatement",
    }.items():  # fmt: skip
        assert ask(process.app, f"//guest.example/{way}").text == expected, way


def test_a_guest_s_table_with_the_name_of_a_scoped_one_is_treated_as_scoped(process: Process) -> None:
    for way in ("orm", "insert", "text", "light"):
        answer = ask(process.app, f"//alike.example/{way}").text
        assert answer in {"NoCurrentSite", "UnscopedStatement"}, (way, answer)


def test_one_engine_for_two_faces_of_the_same_sites(tmp_path: Path, world: World) -> None:
    world.module("public", SCOPED)
    # The second application uses the models of the first, and declares none.
    models, views = SCOPED.index("    class Base"), SCOPED.index("    def notes")
    world.module("admin", f"{SCOPED[:models]}    from PREFIX_public import Note\n\n{SCOPED[views:]}")
    app = world.load(
        """
        [composite:main]
        use = egg:pyramid-multisite#vhosts
        vhosts.lazy = true
        /admin = admin
        / = public
        [app:public]
        use = call:PREFIX_public:main
        [app:admin]
        use = call:PREFIX_admin:main
        [multisite:shared]
        sqlalchemy.url = sqlite:///%(here)s/shared.db
        """
    )
    with closing_engine(f"sqlite:///{tmp_path / 'shared.db'}") as engine:
        upgrade_own(engine)
        folders = {f"multisite.{name}_dir": tmp_path / name for name in ("sites", "templates")}
        add_site(engine, "shared.example", settings=parse_settings(folders), name="Shared")
        made = [app.applications[name].get() for name in ("public", "admin")]
        engines = [each.registry[DIRECTORY].engine for each in made]  # type: ignore[attr-defined]
        assert engines[0] is engines[1]
        sys.modules[f"{world.prefix}_public"].Base.metadata.create_all(engine)
        assert ask(app, "//shared.example/").text == "1 Shared: "
        assert ask(app, "//shared.example/admin/").text == "1 Shared: "
        # A site served by two applications is one site.
        with using_site("shared.example") as site:
            assert site.name == "Shared"
        for each in made:
            each.registry[DIRECTORY].deactivate()  # type: ignore[attr-defined]
        engines[0].dispose()


KNOWING = """
    from multisite import MultisiteError, UnknownSite, using_site
    from multisite.core.application import current_application
    from multisite.directory import Directory, engine_from_url

    def main(global_conf, url):
        directory = Directory(engine_from_url(url))
        directory.activate()

        def app(environ, start_response):
            start_response("200 OK", [])
            name = environ["PATH_INFO"].strip("/")
            try:
                with using_site(int(name) if name.isdigit() else name) as site:
                    return [f"{current_application.get()}: {site.name}".encode()]
            except (UnknownSite, MultisiteError) as error:
                return [type(error).__name__.encode()]

        app.directory = directory
        return app
"""

OF_ANOTHER_FILE = """
    [composite:main]
    use = egg:pyramid-multisite#vhosts
    / = sites
    [app:sites]
    use = call:PREFIX_knowing:main
    url = {url}
"""


@pytest.mark.parametrize("apart", [True, False])
def test_applications_of_one_name_in_two_ini_files_know_their_own_sites(
    world: World, tmp_path: Path, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_module, "_resolvers", [])
    if not apart:
        monkeypatch.setattr(application, "ApplicationName", str)
    world.module("knowing", KNOWING)
    composites = []
    with ExitStack() as stack:
        for number, hosts in enumerate((["both.example"], ["other.example", "both.example"])):
            url = f"sqlite:///{tmp_path}/{number}.db"
            engine = stack.enter_context(closing_engine(url))
            make_own_tables(engine)
            for host in hosts:
                settings = Settings(sites_dir=tmp_path / str(number))
                add_site(engine, host, settings=settings, name=f"{host} of {number}")
            composites.append(world.load(OF_ANOTHER_FILE.format(url=url)))
        one, other = composites
        asked = [ask(one, f"//any.example/{name}").text for name in ("both.example", "other.example", "2")]
        if apart:
            assert asked == ["sites: both.example of 0", "UnknownSite", "UnknownSite"]
            assert ask(other, "//any.example/both.example").text == "sites: both.example of 1"
        else:
            assert asked == ["MultisiteError", "sites: other.example of 1", "sites: both.example of 1"]
        # Outside of the applications, the name is ambiguous, and neither is chosen.
        with (
            using_application("sites"),
            pytest.raises(MultisiteError, match=r"\(sites, sites\)" if apart else r"\(sites\)"),
        ):
            using_site("both.example").__enter__()
        for composite in composites:
            directory = composite.applications["sites"].get().directory  # type: ignore[attr-defined]
            directory.deactivate()
            directory.engine.dispose()


def test_the_name_of_an_application_is_plain_text_in_another_process() -> None:
    name, same = application.ApplicationName("sites"), application.ApplicationName("sites")
    assert len({name, same}) == 2
    assert name == "sites" == same
    copied = pickle.loads(pickle.dumps(name))
    assert (type(copied), copied) == (str, "sites")
    assert copied == name
