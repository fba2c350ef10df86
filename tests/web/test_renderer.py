"""The `.mako` renderer in a real Pyramid application: the request's site decides, and pyramid_mako is replaced."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mako.exceptions import RichTraceback, SyntaxException, TopLevelLookupException
from pyramid import testing
from pyramid.config import Configurator
from pyramid.renderers import get_renderer, render, render_to_response
from pyramid.response import Response
from webtest import TestApp

from multisite.core.current_site import using_site
from multisite.core.keys import SETTINGS
from multisite.core.settings import parse_settings
from multisite.core.site import Site
from multisite.errors import InvalidHost, SettingError, UnknownSite
from multisite.templates import SiteTemplates
from multisite.web import renderer
from multisite.web.renderer import TEMPLATES, all_templates
from multisite.web.startup import run_startup

SITES = {
    "garden.example": Site(1, "garden.example", "Garden", "garden"),
    "kitchen.example": Site(2, "kitchen.example", "Kitchen", "kitchen"),
}


def site_of(request: Any) -> Site:
    """A stand-in for `request.site`, without the directory."""
    if request.host == "bad..example":
        raise InvalidHost(request.host, "an empty label")
    try:
        return SITES[request.host]
    except KeyError:
        raise UnknownSite(request.host) from None


def starting_tween_factory(handler: Any, registry: Any) -> Any:
    """Run the startup calls, which multisite's tween runs in an application that includes all of multisite."""
    run_startup(registry)
    return handler


class World:
    """An application's folders and its package, which is imported."""

    def __init__(self, root: Path, package: ModuleType) -> None:
        self.root = root
        self.package = package

    def write(self, path: str, text: str) -> Path:
        file = self.root / path.replace("app/", f"{self.package.__name__}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return file

    def config(self, *includes: str, **settings: Any) -> Configurator:
        folders = {"multisite.sites_dir": self.root / "sites", "multisite.templates_dir": self.root / "templates"}
        values = {key.replace("__", "."): value for key, value in settings.items()}
        config = Configurator(package=self.package, settings=folders | values)
        config.add_request_method(site_of, "site", reify=True)
        config.add_tween(f"{__name__}.starting_tween_factory")
        for include in includes or ("multisite.web.renderer",):
            config.include(include)
        return config

    def app(self, renderer_name: str, value: Any = None, **settings: Any) -> TestApp:
        config = self.config(**settings)
        add_page(config, renderer_name, value)
        return TestApp(config.make_wsgi_app())


def add_page(config: Configurator, renderer_name: str, value: Any = None) -> None:
    config.add_route("page", "/")
    config.add_view(lambda request: {} if value is None else value, route_name="page", renderer=renderer_name)


def get(app: TestApp, host: str, **options: Any) -> str:
    page: str = app.get("/", headers={"Host": host}, **options).text.strip()
    return page


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[World]:
    name = f"app_{abs(hash(request.node.nodeid))}"
    for folder in (f"{name}/templates", "sites/garden", "sites/kitchen", "templates"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield World(tmp_path, importlib.import_module(name))
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


NAMES = {
    "plain": "page.mako",
    "root": "/page.mako",
    "asset": "{package}:templates/page.mako",
    "relative asset": "templates/page.mako",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_the_site_s_file_wins_whatever_the_renderer_is_called(world: World, name: str) -> None:
    folder = "app/templates" if "templates/" in name else "templates"
    world.write(f"{folder}/page.mako", "<%inherit file='layout.mako'/>${request.site.name} <${x}>")
    world.write(f"{folder}/layout.mako", "layout: ${self.body()}")
    world.write("sites/garden/layout.mako", "garden: ${self.body()}")
    app = world.app(name.format(package=world.package.__name__), {"x": "<b>"})
    assert get(app, "garden.example") == "garden: Garden <&lt;b&gt;>"
    assert get(app, "kitchen.example") == "layout: Kitchen <&lt;b&gt;>"
    world.write("sites/kitchen/page.mako", "own page")
    app = world.app(name.format(package=world.package.__name__), {"x": "<b>"})
    assert get(app, "kitchen.example") == "own page"


def test_a_relative_name_is_the_package_s_only_if_the_package_has_that_file(world: World) -> None:
    world.write("templates/page.mako", "shared")
    world.write("app/page.mako", "package")
    world.write("templates/templates/other.mako", "shared, in a folder of that name")
    assert get(world.app("page.mako"), "garden.example") == "shared"
    (world.root / "templates/page.mako").unlink()
    assert get(world.app("page.mako"), "garden.example") == "package"
    assert get(world.app("templates/other.mako"), "garden.example") == "shared, in a folder of that name"


def test_a_package_that_was_not_imported_yet_has_templates_too(world: World) -> None:
    world.write("app/later/__init__.py", "")
    world.write("app/later/templates/page.mako", "later")
    name = f"{world.package.__name__}.later"
    app = world.app(f"{name}:templates/page.mako")
    assert name not in sys.modules
    assert get(app, "garden.example") == "later"


def test_overridden_assets_are_pyramid_s(world: World) -> None:
    world.write("app/templates/page.mako", "package")
    world.write("app/skin/page.mako", "skin")
    name = world.package.__name__
    config = world.config()
    config.override_asset(f"{name}:templates/page.mako", f"{name}:skin/page.mako")
    add_page(config, "templates/page.mako")
    assert get(TestApp(config.make_wsgi_app()), "garden.example") == "skin"


def test_a_def_alone_is_rendered_as_pyramid_mako_does(world: World) -> None:
    world.write("templates/page.mako", "page<%def name='part()'>part ${x} <%include file='who.mako'/></%def>")
    world.write("templates/who.mako", "shared")
    world.write("sites/garden/who.mako", "garden")
    app = world.app("page#part.mako", {"x": 1})
    assert get(app, "garden.example") == "part 1 garden"
    assert get(app, "kitchen.example") == "part 1 shared"


def test_templates_get_what_pyramid_and_pyramid_mako_give_them(world: World) -> None:
    world.write(
        "templates/page.mako", "${_context.__class__.__name__} ${renderer_name} ${req is request} ${view and 1}"
    )
    assert get(world.app("page.mako"), "garden.example") == "DefaultRootFactory page.mako True 1"
    with pytest.raises(ValueError, match="the view returned str"):
        get(world.app("page.mako", "text"), "garden.example")


@pytest.mark.parametrize(
    "includes", [("multisite.web.renderer", "pyramid_mako"), ("pyramid_mako", "multisite.web.renderer")]
)
@pytest.mark.parametrize("commit", [False, True])
@pytest.mark.parametrize("extension", ["mako", "mak"])
def test_it_takes_precedence_over_pyramid_mako(
    world: World, includes: tuple[str, str], commit: bool, extension: str
) -> None:
    world.write(f"app/templates/page.{extension}", "package")
    world.write(f"sites/garden/page.{extension}", "garden")
    config = world.config(includes[0])
    if commit:
        config.commit()
    config.include(includes[1])
    add_page(config, f"templates/page.{extension}")
    app = TestApp(config.make_wsgi_app())
    assert [get(app, host) for host in SITES] == ["garden", "package"]


def test_pyramid_mako_alone_does_not_distinguish_sites(world: World) -> None:
    """The negative control of the test above."""
    world.write("app/templates/page.mako", "package")
    world.write("sites/garden/page.mako", "garden")
    config = world.config("pyramid_mako")
    add_page(config, "templates/page.mako")
    assert get(TestApp(config.make_wsgi_app()), "garden.example") == "package"


def test_pages_for_hosts_without_a_site_use_the_shared_templates(world: World) -> None:
    world.write("templates/404.mako", "<%inherit file='layout.mako'/>nothing here")
    world.write("templates/layout.mako", "shared ${self.body()}")
    world.write("sites/garden/layout.mako", "garden ${self.body()}")
    config = world.config()
    config.add_notfound_view(lambda request: {}, renderer="404.mako")
    app = TestApp(config.make_wsgi_app())
    assert get(app, "garden.example") == "garden nothing here"
    assert get(app, "unknown.example") == "shared nothing here"
    assert get(app, "bad..example") == "shared nothing here"


def test_without_a_request_the_current_site_decides_and_else_the_shared_templates(world: World) -> None:
    world.write("templates/page.mako", "shared ${x}")
    world.write("sites/garden/page.mako", "garden ${x}")
    config = world.config()
    config.commit()
    with testing.testConfig(registry=config.registry):
        assert render("page.mako", {"x": 1}) == "shared 1"
        assert render_to_response("/page.mako", {"x": 1}).text == "shared 1"
        with using_site(SITES["garden.example"]):
            assert render("page.mako", {"x": 1}) == "garden 1"
            # A request without `request.site`, as in a test.
            assert render("page.mako", {"x": 1}, request=testing.DummyRequest()) == "garden 1"
        request = testing.DummyRequest(site=SITES["garden.example"])
        with using_site(SITES["kitchen.example"]):
            assert render("page.mako", {"x": 1}, request=request) == "garden 1"


def test_an_error_keeps_its_type_and_names_site_file_and_line(world: World) -> None:
    world.write("templates/page.mako", "<%inherit file='layout.mako'/>page")
    world.write("templates/layout.mako", "shared ${self.body()}")
    broken = world.write("sites/garden/layout.mako", "line 1\nline 2\n${1 // 0}")
    app = world.app("page.mako")
    with pytest.raises(ZeroDivisionError) as caught:
        get(app, "garden.example")
    assert caught.value.__notes__ == [f"multisite: site garden.example, template {broken}, line 3"]
    assert get(app, "kitchen.example") == "shared page"


def test_a_mistake_in_a_template_names_site_file_and_line(world: World) -> None:
    world.write("templates/page.mako", "shared")
    broken = world.write("sites/garden/page.mako", "line 1\n% if x:\n")
    app = world.app("page.mako")
    with pytest.raises(SyntaxException) as caught:
        get(app, "garden.example")
    assert caught.value.__notes__[-1] == f"multisite: site garden.example, template {broken}, line 2"
    assert get(app, "kitchen.example") == "shared"


def test_a_missing_template_names_the_site_and_where_was_looked(world: World) -> None:
    with pytest.raises(TopLevelLookupException, match=str(world.root / "sites/garden/page.mako")) as caught:
        get(world.app("page.mako"), "garden.example")
    assert caught.value.__notes__ == ["multisite: site garden.example"]


def test_an_error_page_of_the_site_answers_a_broken_page(world: World) -> None:
    world.write("templates/page.mako", "${1 // 0}")
    world.write("templates/500.mako", "shared error")
    world.write("sites/garden/500.mako", "garden error")
    config = world.config()
    add_page(config, "page.mako")
    config.add_exception_view(lambda error, request: {}, context=ZeroDivisionError, renderer="500.mako")
    app = TestApp(config.make_wsgi_app())
    assert [get(app, host) for host in SITES] == ["garden error", "shared error"]


@pytest.mark.parametrize("setting", ["pyramid__reload_templates", "mako__reload_templates"])
def test_with_reload_the_next_request_sees_what_is_on_disk(world: World, setting: str) -> None:
    world.write("templates/page.mako", "shared")
    live, frozen = world.app("page.mako", **{setting: "true"}), world.app("page.mako")
    assert get(live, "garden.example") == get(frozen, "garden.example") == "shared"
    override = world.write("sites/garden/page.mako", "garden")
    assert get(live, "garden.example") == "garden"
    assert get(frozen, "garden.example") == "shared"
    override.unlink()
    assert get(live, "garden.example") == "shared"


def preprocess(text: str) -> str:
    return text.replace("OLD", "NEW")


def preprocess_with_settings(text: str, settings: Any) -> str:
    return text.replace("OLD", settings["word"])


def handle_error(context: Any, error: Exception) -> bool:
    context.write(f"handled {type(error).__name__}")
    return True


ESCAPING: list[tuple[dict[str, Any], str, str]] = [
    ({}, "${x}", "&lt;b&gt;"),
    ({"mako.default_filters": "str"}, "${x}", "<b>"),
    ({"mako.default_filters": ""}, "${x}", "<b>"),
    ({"mako.default_filters": "str h"}, "${x}", "&lt;b&gt;"),
    ({"mako.default_filters": ["trim"]}, "${' x '}", "x"),
    ({"mako.imports": "from math import pi\nfrom math import e"}, "${int(pi)} ${int(e)}", "3 2"),
    ({"mako.future_imports": "annotations"}, "${x}", "&lt;b&gt;"),
    ({"mako.preprocessor": f"{__name__}.preprocess"}, "OLD", "NEW"),
    (
        {"mako.preprocessor": f"{__name__}.preprocess_with_settings", "mako.preprocessor_wants_settings": "true"}
        | {"word": "WORD"},
        "OLD",
        "WORD",
    ),
    ({"mako.error_handler": f"{__name__}.handle_error"}, "${1 // 0}", "handled ZeroDivisionError"),
    ({"mako.input_encoding": "latin-1"}, "caf\xe9", "caf\xc3\xa9"),
    ({"mako.output_encoding": "latin-1"}, "caf\xe9", "caf\xe9"),
]


@pytest.mark.parametrize(("settings", "source", "page"), ESCAPING, ids=[" ".join(s[0]) or "none" for s in ESCAPING])
@pytest.mark.parametrize("include", ["multisite.web.renderer", "pyramid_mako"])
def test_mako_settings_mean_what_pyramid_mako_documents(
    world: World, settings: dict[str, Any], source: str, page: str, include: str
) -> None:
    world.write("templates/page.mako", source)
    directories = {"mako.directories": str(world.root / "templates")}
    config = world.config(include, **settings | directories)
    add_page(config, "page.mako", {"x": "<b>"})
    assert get(TestApp(config.make_wsgi_app()), "garden.example") == page


def test_an_undefined_name_is_an_error_if_strict_undefined(world: World) -> None:
    world.write("templates/page.mako", "${'there' if missing else 'not there'}")
    assert get(world.app("page.mako"), "garden.example") == "not there"
    with pytest.raises(NameError, match="'missing' is not defined"):
        get(world.app("page.mako", mako__strict_undefined="true"), "garden.example")


def test_mako_directories_and_module_directory_may_be_assets(world: World) -> None:
    world.write("app/more/page.mako", "more")
    name = world.package.__name__
    app = world.app("page.mako", mako__directories=f"{name}:more", mako__module_directory=f"{name}:modules")
    assert get(app, "garden.example") == "more"
    assert len(list((world.root / name / "modules").glob("*.py"))) == 1


def test_a_preprocessor_with_settings_has_modules_that_the_next_start_finds(world: World) -> None:
    world.write("templates/page.mako", "OLD")
    settings: dict[str, Any] = {
        "mako__preprocessor": f"{__name__}.preprocess_with_settings",
        "mako__preprocessor_wants_settings": "true",
        "mako__module_directory": str(world.root / "modules"),
        "word": "WORD",
    }
    for _ in range(2):
        assert get(world.app("page.mako", **settings), "garden.example") == "WORD"
        assert len(list((world.root / "modules").glob("*.py"))) == 1


def test_the_templates_are_in_the_registry(world: World) -> None:
    config = world.config(multisite__directory_size="7")
    templates = config.registry[TEMPLATES]
    assert isinstance(templates, SiteTemplates)
    assert templates.overlay.sites_dir == world.root / "sites"
    config.commit()
    (entry,) = config.introspector.get_category("multisite templates")
    assert entry["introspectable"]["templates"] is templates


def test_settings_that_were_parsed_already_are_used(world: World) -> None:
    config = Configurator()
    config.registry[SETTINGS] = parse_settings({"multisite.sites_dir": str(world.root / "elsewhere")})
    config.include("multisite.web.renderer")
    assert config.registry[TEMPLATES].overlay.sites_dir == world.root / "elsewhere"


def test_a_bad_setting_stops_the_start(world: World) -> None:
    with pytest.raises(SettingError, match="multisite.template_dir"):
        world.config(multisite__template_dir="x")


def test_a_renderer_s_name_cannot_leave_the_overlay(world: World) -> None:
    secret = world.write("outside.mako", "secret")
    for name in (str(secret), "../outside.mako", "templates/../../outside.mako", f"/{secret}"):
        with pytest.raises(TopLevelLookupException):
            get(world.app(name), "garden.example")


def test_a_template_that_renders_another_is_noted_once_for_each(world: World) -> None:
    world.write("templates/outer.mako", "${render('/inner.mako', {}, request, package)}")
    world.write("templates/inner.mako", "\n${1 // 0}")
    with pytest.raises(ZeroDivisionError) as caught:
        get(world.app("outer.mako", {"render": render, "package": world.package}), "garden.example")
    inner = f"multisite: site garden.example, template {world.root / 'templates/inner.mako'}, line 2"
    assert caught.value.__notes__ == [inner]


def test_responses_made_by_views_pass(world: World) -> None:
    config = world.config()
    config.add_route("page", "/")
    config.add_view(lambda request: Response("as it is"), route_name="page", renderer="missing.mako")
    assert get(TestApp(config.make_wsgi_app()), "garden.example") == "as it is"


def test_every_extension_of_pyramid_mako_is_covered() -> None:
    config = Configurator()
    config.include("pyramid_mako")
    config.commit()
    entries = config.introspector.get_category("renderer factories")
    assert {e["introspectable"]["name"] for e in entries} - {"json", "string"} == set(renderer.EXTENSIONS)


@pytest.mark.parametrize("includes", [["multisite.web.renderer"], ["multisite.web.renderer", "pyramid_mako"]])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_second_extension_by_the_directive_of_pyramid_mako(world: World, includes: list[str], reverse: bool) -> None:
    world.write("app/templates/page.html", "<%inherit file='layout.html'/>package")
    world.write("app/templates/layout.html", "${self.body()}")
    world.write("sites/garden/layout.html", "garden: ${self.body()}")
    config = world.config(*(reversed(includes) if reverse else includes))
    config.add_mako_renderer(".html")
    add_page(config, "templates/page.html")
    app = TestApp(config.make_wsgi_app())
    assert [get(app, host) for host in SITES] == ["garden: package", "package"]
    [(_, used)] = all_templates(config.registry)
    assert world.package.__name__ in str(used)


def test_an_extension_may_have_settings_of_its_own(world: World) -> None:
    world.write("templates/page.txt", "${x}")
    world.write("sites/garden/page.txt", "garden ${x}")
    world.write("templates/page.mako", "${x}")
    for name, pages in {"page.txt": ["garden <b>", "<b>"], "page.mako": ["&lt;b&gt;"] * 2}.items():
        config = world.config(**{"text.default_filters": "str"})
        config.add_mako_renderer(".txt", settings_prefix="text.")
        add_page(config, name, {"x": "<b>"})
        app = TestApp(config.make_wsgi_app())
        assert [get(app, host) for host in SITES] == pages


@pytest.mark.parametrize("includes", [["multisite.web.renderer"], ["pyramid_mako", "multisite.web.renderer"]])
def test_settings_may_come_after_the_extension(world: World, includes: list[str]) -> None:
    world.write("more/page.txt", "${x}")
    config = world.config(*includes)
    config.add_mako_renderer(".txt", settings_prefix="text.")
    config.add_settings({"text.directories": str(world.root / "more"), "text.default_filters": "str"})
    add_page(config, "page.txt", {"x": "<b>"})
    assert get(TestApp(config.make_wsgi_app()), "garden.example") == "<b>"


def test_settings_may_come_after_the_include(world: World) -> None:
    """As for pyramid_mako, which reads them when the configuration is committed."""
    world.write("more/page.mako", "${x}")
    world.write("more/page.html", "${x}")
    config = world.config()
    config.add_mako_renderer(".html")
    config.add_settings({"mako.directories": str(world.root / "more"), "mako.default_filters": "str"})
    for extension in ("mako", "html"):
        config.add_route(extension, f"/{extension}")
        config.add_view(lambda _: {"x": "<b>"}, route_name=extension, renderer=f"page.{extension}")
    app = TestApp(config.make_wsgi_app())
    for extension in ("mako", "html"):
        assert app.get(f"/{extension}", headers={"Host": "garden.example"}).text.strip() == "<b>"


def test_a_bad_setting_of_an_extension_stops_the_start(world: World) -> None:
    config = world.config(text__cache_impl="nothing")
    config.add_mako_renderer(".txt", settings_prefix="text.")
    config.add_settings({"text.preprocessor": "no.such.module"})
    with pytest.raises(ImportError, match="no"):
        config.make_wsgi_app()


def test_pages_without_a_site_of_an_extension_with_settings_are_looked_for_again(world: World) -> None:
    page = world.write("templates/page.txt", "old")
    config = world.config()
    config.add_mako_renderer(".txt", settings_prefix="text.")
    config.make_wsgi_app()
    config.begin()
    try:
        assert render("page.txt", {}).strip() == "old"
        page.unlink()
        world.write("more.txt", "new").rename(page)
        config.registry[TEMPLATES].shared_generation = lambda: 1
        assert render("page.txt", {}).strip() == "new"
    finally:
        config.end()


def test_the_template_of_a_renderer_is_that_of_the_current_site(world: World) -> None:
    """Applications of pyramid_mako read `get_renderer("page.mako").template`."""
    world.write("templates/page.mako", "shared<%def name='one()'>one</%def>")
    world.write("sites/garden/page.mako", "garden's")

    def view(_request: Any) -> Response:
        return Response(get_renderer("page.mako").template.render_unicode())

    config = world.config()
    config.add_route("page", "/")
    config.add_view(view, route_name="page")
    app = TestApp(config.make_wsgi_app())
    assert [get(app, host) for host in SITES] == ["garden's", "shared"]
    config.begin()
    try:
        found = get_renderer("page.mako")
        assert found.template.get_def("one").render_unicode() == "one"
        with using_site(SITES["garden.example"]):
            assert found.template.render_unicode() == "garden's"
    finally:
        config.end()


def test_renderer_names_may_be_given_at_render_time_and_by_the_request(world: World) -> None:
    world.write("sites/garden/other.mako", "other ${x}")
    world.write("templates/page.mako", "page")

    def view(request: Any) -> dict[str, int]:
        request.override_renderer = "/other.mako"
        return {"x": 1}

    config = world.config()
    config.add_route("page", "/")
    config.add_view(view, route_name="page", renderer="page.mako")
    assert get(TestApp(config.make_wsgi_app()), "garden.example") == "other 1"


@pytest.mark.usefixtures("uncollected")
def test_a_cycle_of_templates_is_named(world: World) -> None:
    world.write("templates/page.mako", "<%inherit file='layout.mako'/>")
    layout = world.write("sites/garden/layout.mako", "<%inherit file='layout.mako'/>")
    with pytest.raises(RecursionError) as caught:
        get(world.app("page.mako"), "garden.example")
    assert f"multisite: these templates inherit from or include each other without end: {layout}" in (
        caught.value.__notes__
    )


@pytest.mark.usefixtures("uncollected")
def test_a_recursion_of_python_is_not_taken_for_one_of_templates(world: World) -> None:
    def deep() -> None:
        deep()

    world.write("templates/page.mako", "${deep()}")
    with pytest.raises(RecursionError) as caught:
        get(world.app("page.mako", {"deep": deep}), "garden.example")
    assert not any("without end" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("modules", [False, True])
def test_tracebacks_show_the_lines_of_this_site_s_template(world: World, modules: bool) -> None:
    world.write("templates/page.mako", "<%inherit file='layout.mako'/>")
    for site in ("garden", "kitchen"):
        world.write(f"sites/{site}/layout.mako", f"line 1\n\n${{{site}_is_missing.x}}")
    settings: dict[str, Any] = {"mako__module_directory": str(world.root / "modules")} if modules else {}
    for _start in range(2):
        app = world.app("page.mako", **settings)
        for site in ("garden", "kitchen"):
            with pytest.raises(AttributeError) as caught:
                get(app, f"{site}.example")
            records = RichTraceback(error=caught.value, traceback=caught.value.__traceback__).records
            (file, line, source) = [(r[4], r[5], r[6]) for r in records if r[4] is not None][-1]
            assert (file, line) == (str(world.root / f"sites/{site}/layout.mako"), 3)
            assert source == f"${{{site}_is_missing.x}}"
