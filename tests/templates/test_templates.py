"""The overlay: which file wins, that it is compiled once, is never another site's, and is never outside its layer."""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mako
import markupsafe
import pytest
from mako.exceptions import RichTraceback, SyntaxException, TemplateLookupException, TopLevelLookupException
from mako.template import Template
from pyramid_debugtoolbar.tbtools import get_traceback
from template_world import GARDEN, KITCHEN, Counter, World, render

from multisite.core.site import Site
from multisite.errors import SettingError
from multisite.templates import SiteTemplates, compiled, names
from multisite.templates.escaping import html_escape, html_escape_to_text
from multisite.templates.stable_reads import MAX_TEMPLATE_BYTES


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def package(world: World, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """A real imported package with a folder of templates."""
    name = f"app_{abs(hash(request.node.nodeid))}"
    world.write(f"packages/{name}/__init__.py", "")
    monkeypatch.syspath_prepend(str(world.root / "packages"))
    importlib.import_module(name)
    yield name
    del sys.modules[name]


# --- which file wins -------------------------------------------------------------------------------------------------


def test_the_site_s_file_wins_over_the_shared_one(world: World) -> None:
    world.write("templates/page.mako", "shared")
    world.write("sites/garden/page.mako", "garden")
    templates = world.templates()
    assert [render(templates, site) for site in (GARDEN, KITCHEN, None)] == ["garden", "shared", "shared"]


@pytest.mark.parametrize("name", ["layout.mako", "/layout.mako", "./layout.mako"])
def test_inherit_include_and_namespace_in_a_shared_template_ask_the_overlay(world: World, name: str) -> None:
    world.write("templates/layout.mako", "<%def name='greet()'>hello</%def>shared(${next.body()})")
    world.write("sites/garden/layout.mako", "<%def name='greet()'>moin</%def>garden(${next.body()})")
    world.write("templates/inherit.mako", f"<%inherit file='{name}'/>page")
    world.write("templates/include.mako", f"a <%include file='{name.replace('layout', 'part')}'/>")
    world.write("templates/part.mako", "shared part")
    world.write("sites/garden/part.mako", "garden part")
    world.write("templates/namespace.mako", f"<%namespace name='n' file='{name}'/>${{n.greet()}}")
    templates = world.templates()
    for site, layout, greeting in ((GARDEN, "garden", "moin"), (KITCHEN, "shared", "hello"), (None, "shared", "hello")):
        assert render(templates, site, "inherit.mako") == f"{layout}(page)"
        assert render(templates, site, "include.mako") == f"a {layout} part"
        assert render(templates, site, "namespace.mako") == greeting


def test_names_are_relative_to_the_folder_of_the_calling_template(world: World) -> None:
    world.write("templates/blog/page.mako", "<%inherit file='../layout.mako'/><%include file='part.mako'/>")
    world.write("templates/blog/part.mako", "blog part")
    world.write("templates/part.mako", "root part")
    world.write("templates/layout.mako", "shared ${self.body()}")
    world.write("sites/garden/blog/part.mako", "garden part")
    world.write("sites/garden/layout.mako", "garden ${self.body()}")
    templates = world.templates()
    assert render(templates, GARDEN, "blog/page.mako") == "garden garden part"
    assert render(templates, KITCHEN, "blog/page.mako") == "shared blog part"


def test_an_asset_spec_is_overridden_by_what_stands_behind_its_templates_folder(world: World, package: str) -> None:
    world.write(f"packages/{package}/web/templates/sub/page.mako", "<%inherit file='layout.mako'/>package page")
    world.write(f"packages/{package}/web/templates/sub/layout.mako", "package ${self.body()}")
    world.write("sites/garden/sub/layout.mako", "garden ${self.body()}")
    world.write("sites/kitchen/sub/page.mako", "<%inherit file='layout.mako'/>kitchen page")
    templates = world.templates()
    name = f"{package}:web/templates/sub/page.mako"
    assert render(templates, GARDEN, name) == "garden package page"
    # An override is a copy that was changed: what it calls by a relative name is still found in the package.
    assert render(templates, KITCHEN, name) == "package kitchen page"
    assert render(templates, None, name) == "package package page"
    world.write("templates/by_spec.mako", f"<%include file='{name}'/>")
    assert render(templates, GARDEN, "by_spec.mako") == "garden package page"


def test_an_asset_in_the_shared_folder_is_the_shared_template(world: World, package: str) -> None:
    file = world.write(f"packages/{package}/skin/blog/page.mako", "package")
    world.write("sites/garden/blog/page.mako", "garden")
    templates = SiteTemplates(world.root / "sites", file.parents[1])
    assert render(templates, GARDEN, f"{package}:skin/blog/page.mako") == "garden"
    view = templates.lookup(KITCHEN).get_template(f"{package}:skin/blog/page.mako")
    assert view is templates.lookup(KITCHEN).get_template("blog/page.mako")
    assert view.uri == "blog/page.mako"


def test_a_template_has_the_uri_that_mako_gives_it(world: World) -> None:
    """Templates compare with it: `% if self.uri == "page.mako"`."""
    uris = "${self.uri} ${local.uri} ${context.lookup.get_template('other.mako', self.uri).uri}"
    world.write("templates/base.mako", f"{uris} ${{next.uri}}")
    for folder in ("", "blog/"):
        world.write(f"templates/{folder}page.mako", "<%inherit file='/base.mako'/>")
        world.write(f"templates/{folder}other.mako", "other")
        page = f"{folder}page.mako"
        assert render(world.templates(), GARDEN, page) == f"{page} base.mako {folder}other.mako {page}"
    world.write("templates/alone.mako", "${self.uri} ${local.uri}")
    for templates in (world.templates().lookup(GARDEN), world.plain_lookup(GARDEN)):
        assert templates.get_template("alone.mako").render_unicode().strip() == "alone.mako alone.mako"


def test_further_directories_come_below_the_shared_templates(world: World) -> None:
    world.write("more/a.mako", "more a")
    world.write("more/b.mako", "more b")
    world.write("templates/a.mako", "shared a")
    templates = world.templates(directories=[world.root / "more"])
    assert [render(templates, GARDEN, name) for name in ("a.mako", "b.mako")] == ["shared a", "more b"]


def test_what_is_not_a_file_is_an_error_of_that_site_and_is_not_opened(world: World) -> None:
    (world.root / "sites/garden/page.mako").mkdir()
    os.mkfifo(world.root / "sites/kitchen/page.mako")  # Opening it would wait for ever.
    world.write("templates/page.mako", "shared")
    templates = world.templates()
    for site in (GARDEN, KITCHEN):
        with pytest.raises(TemplateLookupException, match=f"sites/{site.folder}/page.mako is not a file"):
            render(templates, site)
    assert render(templates, None) == "shared"


def test_expressions_are_escaped_unless_told_otherwise(world: World) -> None:
    world.write("templates/page.mako", "${text} ${text | n}")
    assert render(world.templates(), GARDEN, text="<b>") == "&lt;b&gt; <b>"
    assert render(world.templates(default_filters=["str"]), GARDEN, text="<b>") == "<b> <b>"


def test_defs_can_be_rendered_alone(world: World) -> None:
    world.write("templates/page.mako", "page<%def name='part(x)'>part ${x} <%include file='who.mako'/></%def>")
    world.write("templates/who.mako", "shared")
    world.write("sites/garden/who.mako", "garden")
    part = world.templates().lookup(GARDEN).get_template("page.mako").get_def("part")
    assert part.render_unicode(x=1) == "part 1 garden"


def test_the_shared_folder_may_not_be_one_of_the_sites(world: World) -> None:
    with pytest.raises(SettingError, match=r"multisite\.templates_dir"):
        SiteTemplates(world.root / "sites", world.root / "sites/shared")


# --- compiled once ---------------------------------------------------------------------------------------------------


def test_a_shared_file_is_compiled_once_for_all_sites(world: World) -> None:
    world.write("templates/page.mako", "<%inherit file='layout.mako'/>page")
    world.write("templates/layout.mako", "shared ${self.body()}")
    world.write("sites/garden/layout.mako", "garden ${self.body()}")
    counter = Counter()
    templates = world.templates(preprocessor=counter)
    render(templates, GARDEN)
    for number in range(50):
        assert render(templates, Site(100 + number, f"{number}.example", "", f"f{number}")) == "shared page"
    assert counter.count == 3
    # The control: Mako's own lookups compile for each site.
    plain = Counter()
    for site in (GARDEN, KITCHEN):
        world.plain_lookup(site, preprocessor=plain).get_template("page.mako").render_unicode()
    assert plain.count == 4


def test_the_lookups_are_bounded(world: World) -> None:
    templates = world.templates(max_sites=200)
    sites = [Site(number, "", "", f"f{number}") for number in range(450)]
    first = templates.lookup(sites[0])
    for site in sites:
        templates.lookup(site)
    assert len(templates._lookups) == 200
    assert templates.lookup(sites[0]) is not first


def test_files_nobody_uses_any_more_are_forgotten(world: World) -> None:
    world.write("sites/garden/page.mako", "garden")
    templates = world.templates(max_sites=1)
    render(templates, GARDEN)
    assert len(templates._store._compiled) == 1
    templates.lookup(KITCHEN)
    gc.collect()
    assert len(templates._store._compiled) == 0


def test_a_site_with_another_folder_gets_another_lookup(world: World) -> None:
    world.write("sites/garden/page.mako", "garden")
    world.write("sites/new/page.mako", "new")
    templates = world.templates()
    assert render(templates, GARDEN) == "garden"
    assert render(templates, Site(1, "garden.example", "Garden", "new")) == "new"


# --- never mixed -----------------------------------------------------------------------------------------------------


def test_sites_that_share_a_module_directory_get_their_own_pages(world: World) -> None:
    old = world.write("sites/kitchen/page.mako", "kitchen")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    world.write("sites/garden/page.mako", "garden")
    modules = world.root / "modules"
    for _ in range(2):  # The second time it is a new start, which finds what was compiled.
        templates = world.templates(module_directory=modules)
        assert [render(templates, site) for site in (GARDEN, KITCHEN)] == ["garden", "kitchen"]
    assert len(list(modules.glob("*.py"))) == 2
    # The control: Mako's own lookups give the garden's page to the kitchen.
    plain = [world.plain_lookup(site, module_directory=str(world.root / "plain")) for site in (GARDEN, KITCHEN)]
    assert [lookup.get_template("page.mako").render_unicode() for lookup in plain] == ["garden", "garden"]


def test_a_second_start_compiles_nothing(world: World) -> None:
    world.write("templates/page.mako", "<%inherit file='layout.mako'/>page ${x}")
    world.write("templates/layout.mako", "<p>${self.body()}</p>")
    for starts in (2, 0):
        counter = Counter()
        templates = world.templates(module_directory=world.root / "modules", lexer_cls=None, imports=["import re"])
        templates._store._options["preprocessor"] = counter  # Not a part of the names of modules, as an option is.
        assert render(templates, GARDEN, x="<") == "<p>page &lt;</p>"
        assert counter.count == starts


def test_what_was_compiled_with_other_options_is_not_used(world: World) -> None:
    world.write("templates/page.mako", "${x}")
    modules = world.root / "modules"
    assert render(world.templates(module_directory=modules), GARDEN, x="<") == "&lt;"
    assert render(world.templates(module_directory=modules, default_filters=["str"]), GARDEN, x="<") == "<"


def test_damaged_modules_are_made_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.write("templates/page.mako", "page")
    modules = world.root / "modules"
    render(world.templates(module_directory=modules), GARDEN)
    (module,) = modules.glob("*.py")
    for damage in (b"", b"def render_body(", b"\0\0\0\0"):
        module.write_bytes(damage)
        assert render(world.templates(module_directory=modules), GARDEN) == "page"
        assert "is damaged" in caplog.text
        assert module.read_bytes() != damage
        caplog.clear()


def test_a_module_cut_anywhere_is_made_again(world: World) -> None:
    """Even if the rest is valid Python: loaded, it would lack a def, a part of the page, or a name it uses."""
    modules = world.root / "modules"
    world.write("templates/page.mako", "<%def name='a()'>a</%def><%def name='b()'>b</%def>${a()}${b()}")
    assert render(world.templates(module_directory=modules), GARDEN) == "ab"
    [file] = modules.glob("*.py")
    whole = file.read_bytes()
    for length in range(0, len(whole), 11):
        file.write_bytes(whole[:length])
        for cached in modules.glob("__pycache__/*"):
            cached.unlink()
        assert render(world.templates(module_directory=modules), GARDEN) == "ab", whole[:length]
        assert file.read_bytes().rstrip()[-30:] == whole.rstrip()[-30:], "whole again"


def test_python_s_own_copy_of_a_module_cut_anywhere_is_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    modules = world.root / "modules"
    world.write("templates/page.mako", "<%def name='a()'>a</%def><%def name='b()'>b</%def>${a()}${b()}")
    for _ in range(2):
        render(world.templates(module_directory=modules), GARDEN)
    [file] = modules.glob("__pycache__/*.pyc")
    whole = file.read_bytes()
    for length in range(0, len(whole), 20):
        file.write_bytes(whole[:length])
        assert render(world.templates(module_directory=modules), GARDEN) == "ab"


def test_a_module_directory_that_cannot_be_written_stops_nobody(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.write("templates/page.mako", "page")
    blocked = world.write("modules", "a file, not a folder")
    assert render(world.templates(module_directory=blocked), GARDEN) == "page"
    assert "was not saved" in caplog.text


@pytest.mark.parametrize("modules", [None, "modules"])
def test_a_traceback_shows_the_source_of_the_site(world: World, modules: str | None) -> None:
    world.write("sites/garden/page.mako", "garden line 1\n${1 // zero}")
    world.write("sites/kitchen/page.mako", "kitchen line 1\n\n\n${1 // zero}")
    directory = None if modules is None else world.root / modules
    for _ in range(2):
        templates = world.templates(module_directory=directory)
        views = {site: templates.lookup(site).get_template("page.mako") for site in (GARDEN, KITCHEN)}
        for site, line in ((GARDEN, 2), (KITCHEN, 4)):
            traceback = _failure(views[site])
            assert traceback.source.startswith(site.folder)
            assert traceback.lineno == line
            assert traceback.records[-1][4] == str(world.root / "sites" / site.folder / "page.mako")
    # The control: plain Mako shows the kitchen's source for the garden's mistake.
    plain = [world.plain_lookup(site).get_template("page.mako") for site in (GARDEN, KITCHEN)]
    assert _failure(plain[0]).source.startswith("kitchen")


def _failure(template: Template) -> RichTraceback:
    with pytest.raises(ZeroDivisionError) as caught:
        template.render_unicode(zero=0)
    return RichTraceback(error=caught.value, traceback=caught.value.__traceback__)


@pytest.mark.parametrize("modules", [None, "modules"])
def test_the_debug_toolbar_shows_the_code_of_the_site(world: World, modules: str | None) -> None:
    """The toolbar shows the code that Mako generated, which Python finds by the name of the module."""
    world.write("templates/themes/dusk/page.mako", "dusk ${1 // zero}")
    world.write("sites/garden/page.mako", "garden ${1 // zero}")
    world.write("sites/kitchen/page.mako", "kitchen ${1 // zero}")
    options: dict[str, Any] = {} if modules is None else {"module_directory": world.root / modules}
    templates = world.templates(**options)
    sites = {"garden": GARDEN, "kitchen": KITCHEN, "dusk": Site(3, "third.example", "", "third", theme="dusk")}
    views = {word: templates.lookup(site).get_template("page.mako") for word, site in sites.items()}
    # Mako before 1.4 does not tell Python the code of a template that was compiled in this process.
    shows_code = not mako.__version__.startswith("1.3.")
    for word, view in views.items():
        shown = [other for other in sites if f"'{other} '" in _shown_by_toolbar(view)]
        assert shown == ([word] if shows_code else [])
    if modules is not None:
        # The control: with plain Mako the kitchen's code lies where the garden's was.
        plain = []
        for number, site in enumerate((GARDEN, KITCHEN)):
            os.utime(world.root / "sites" / site.folder / "page.mako", (2e9 + number, 2e9 + number))
            plain.append(world.plain_lookup(site, module_directory=str(world.root / "plain")).get_template("page.mako"))
        assert "'kitchen '" in _shown_by_toolbar(plain[0])


def _shown_by_toolbar(template: Any) -> str:
    try:
        template.render_unicode(zero=0)
    except ZeroDivisionError:
        return "\n".join(get_traceback(info=sys.exc_info()).frames[-1].sourcelines)
    raise AssertionError("it did not fail")


def test_names_that_differ_only_in_punctuation_are_two_templates(world: World) -> None:
    world.write("templates/a-b.mako", "minus ${1 // zero}")
    world.write("templates/a_b.mako", "underscore")
    templates = world.templates(module_directory=world.root / "modules")
    minus = templates.lookup(GARDEN).get_template("a-b.mako")
    assert render(templates, GARDEN, "a_b.mako") == "underscore"
    assert _failure(minus).source.startswith("minus")


@pytest.mark.parametrize("reload", [False, True])
def test_threads_that_render_same_named_templates_never_mix(world: World, reload: bool) -> None:
    world.write("templates/page.mako", "<%inherit file='layout.mako'/><%include file='part.mako'/>|${who}")
    for site in (GARDEN, KITCHEN):
        world.write(f"sites/{site.folder}/layout.mako", f"{site.folder} ${{self.body()}}")
        world.write(f"sites/{site.folder}/part.mako", f"{site.folder} part")
    counter = Counter()
    for _ in range(5):
        templates = world.templates(reload=reload, preprocessor=counter)
        start = threading.Barrier(32)

        def work(number: int, templates: SiteTemplates = templates, start: threading.Barrier = start) -> set[str]:
            site = (GARDEN, KITCHEN)[number % 2]
            start.wait()
            return {render(templates, site, who=site.folder) for _ in range(20)}

        with ThreadPoolExecutor(32) as pool:
            for number, pages in enumerate(pool.map(work, range(32))):
                folder = (GARDEN, KITCHEN)[number % 2].folder
                assert pages == {f"{folder} {folder} part|{folder}"}
    assert counter.count == 5 * 5


# --- seen at once, with reload ---------------------------------------------------------------------------------------


def test_with_reload_an_override_added_changed_and_removed_is_seen(world: World) -> None:
    world.write("templates/page.mako", "<%inherit file='layout.mako'/>page")
    world.write("templates/layout.mako", "shared ${self.body()}")
    templates, frozen = world.templates(reload=True), world.templates()
    assert render(templates, GARDEN) == render(frozen, GARDEN) == "shared page"
    override = world.write("sites/garden/layout.mako", "one ${self.body()}")
    assert render(templates, GARDEN) == "one page"
    override.write_text("two ${self.body()}")
    assert render(templates, GARDEN) == "two page"
    assert render(templates, KITCHEN) == "shared page"
    override.unlink()
    assert render(templates, GARDEN) == "shared page"
    world.write("templates/page.mako", "new")
    assert render(templates, KITCHEN) == "new"
    (world.root / "templates/page.mako").unlink()
    with pytest.raises(TopLevelLookupException, match=r"no template '/page\.mako'"):
        render(templates, KITCHEN)
    # Without reload, what was found is not looked for again.
    assert render(frozen, GARDEN) == "shared page"


@pytest.mark.parametrize("modules", [None, "modules"])
def test_a_file_replaced_twice_in_a_moment_is_what_the_next_request_shows(world: World, modules: str | None) -> None:
    templates = world.templates(reload=True, module_directory=None if modules is None else world.root / modules)
    file = world.write("templates/page.mako", "a")
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    for text in "abcdef":
        file.write_text(text)  # The same size and inode, and the same time:
        os.utime(file, ns=times)
        assert render(templates, GARDEN) == text


@pytest.mark.parametrize("modules", [None, "modules"])
def test_a_file_replaced_by_an_older_one_is_what_the_next_request_shows(world: World, modules: str | None) -> None:
    templates = world.templates(reload=True, module_directory=None if modules is None else world.root / modules)
    world.write("templates/page.mako", "new")
    assert render(templates, GARDEN) == "new"
    older = world.write("outside/older.mako", "old")
    os.utime(older, (1_000_000_000, 1_000_000_000))
    older.rename(world.root / "templates/page.mako")
    assert render(templates, GARDEN) == "old"


def test_plain_mako_goes_on_showing_the_newer_file(world: World) -> None:
    """The control of the test above."""
    world.write("templates/page.mako", "new")
    lookup = world.plain_lookup(GARDEN)
    assert lookup.get_template("page.mako").render_unicode() == "new"
    older = world.write("outside/older.mako", "old")
    os.utime(older, (1_000_000_000, 1_000_000_000))
    older.rename(world.root / "templates/page.mako")
    assert lookup.get_template("page.mako").render_unicode() == "new"


def test_a_settled_file_is_not_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With reload, files that have not changed for a while are only checked, not read."""
    file = world.write("templates/page.mako", "page")
    templates = world.templates(reload=True)
    render(templates, GARDEN)
    with opened_files() as opened:
        render(templates, GARDEN)
    assert str(file) in opened
    monkeypatch.setattr(compiled, "SETTLED_NS", -1)  # As if the file had been written long ago.
    render(templates, GARDEN)
    with opened_files() as opened:
        assert render(templates, GARDEN) == "page"
    assert str(file) not in opened


def test_files_removed_and_put_back_while_being_rendered_never_fail(world: World) -> None:
    world.write("templates/page.mako", "shared")
    override = world.root / "sites/garden/page.mako"
    templates = world.templates(reload=True)
    done = threading.Event()

    def flicker() -> None:
        while not done.is_set():
            world.write("outside/page.mako", "garden").rename(override)
            override.unlink()

    writer = threading.Thread(target=flicker)
    writer.start()
    try:
        assert {render(templates, GARDEN) for _ in range(300)} <= {"shared", "garden"}
    finally:
        done.set()
        writer.join()


# --- one broken template is one site's -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (b"% if x:\n", SyntaxException),
        (b"${x +}", SyntaxException),
        (b"<%! import no_such_module %>", ModuleNotFoundError),
        (b"<%! return %>", SyntaxError),
        (b"\xff\xfe caf\xe9", Exception),
        (b"x" * (MAX_TEMPLATE_BYTES + 1), TemplateLookupException),
    ],
    ids=["unfinished", "expression", "import", "python", "encoding", "size"],
)
@pytest.mark.parametrize("modules", [None, "modules"])
def test_a_broken_template_is_an_error_of_that_site_which_names_the_file(
    world: World, source: bytes, error: type[Exception], modules: str | None
) -> None:
    world.write("templates/page.mako", "shared")
    broken = world.root / "sites/garden/page.mako"
    broken.write_bytes(source)
    templates = world.templates(module_directory=None if modules is None else world.root / modules)
    for _ in range(2):
        with pytest.raises(error) as caught:
            render(templates, GARDEN)
        assert str(broken) in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
        assert render(templates, KITCHEN) == "shared"


@pytest.mark.usefixtures("uncollected")
def test_a_template_that_inherits_from_itself_is_an_error(world: World) -> None:
    world.write("templates/page.mako", "<%inherit file='page.mako'/>")
    with pytest.raises(RecursionError):
        render(world.templates(), GARDEN)


def test_a_file_that_cannot_be_looked_at_is_an_error_that_names_it(world: World) -> None:
    world.write("templates/page.mako", "shared")
    file = world.root / "sites/garden/page.mako"
    file.symlink_to(file)  # As an unreadable folder would be, but for root as well.
    with pytest.raises(TemplateLookupException, match=f"cannot access the template {re.escape(str(file))}"):
        render(world.templates(), GARDEN)
    assert render(world.templates(), KITCHEN) == "shared"


# --- nothing outside -------------------------------------------------------------------------------------------------

_opened: list[str] | None = None


def _note_open(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else str(arguments[0]))


sys.addaudithook(_note_open)


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Note the path of every file that this process opens inside of the block."""
    global _opened  # noqa: PLW0603  An audit hook cannot be taken away, so it is told where to write.
    _opened = opened = []
    try:
        yield opened
    finally:
        _opened = None


SECRET = "CANARY"
ROOT = "{root}"  # Stands for the folder of the test in a payload.

PAYLOADS = [
    # Up and out.
    "../outside/secret.mako",
    "../../outside/secret.mako",
    "/../outside/secret.mako",
    "/../../outside/secret.mako",
    "a/../../outside/secret.mako",
    "./../outside/secret.mako",
    ".//..//outside/secret.mako",
    "a/b/../../../outside/secret.mako",
    "..",
    "../",
    "/..",
    ".",
    "/",
    "//",
    "../templates/../outside/secret.mako",
    "....//outside/secret.mako",
    "..;/outside/secret.mako",
    # Absolute.
    "{root}/outside/secret.mako",
    "/{root}/outside/secret.mako",
    "//{root}/outside/secret.mako",
    "file://{root}/outside/secret.mako",
    "file:{root}/outside/secret.mako",
    "/etc/passwd",
    "//etc/passwd",
    "/proc/self/environ",
    "/dev/stdin",
    "~/secret.mako",
    "~root/secret.mako",
    # Other spellings of slashes and dots.
    "..\\outside\\secret.mako",
    "..\\..\\outside\\secret.mako",
    "\\..\\outside\\secret.mako",
    "a\\..\\..\\outside/secret.mako",
    "%2e%2e/outside/secret.mako",
    "%2e%2e%2foutside%2fsecret.mako",
    "..%2foutside%2fsecret.mako",
    "..%5coutside%5csecret.mako",
    "%252e%252e%252foutside/secret.mako",
    "..%c0%afoutside/secret.mako",
    "\uff0e\uff0e/outside/secret.mako",
    "..\u2215outside\u2215secret.mako",
    "..\u2044outside/secret.mako",
    "\u2025/outside/secret.mako",
    # NUL, control characters and lone surrogates.
    "page.mako\0",
    "../outside/secret.mako\0.mako",
    "\0../outside/secret.mako",
    "page.mako\n",
    "..\r/outside/secret.mako",
    "\udcff/../outside/secret.mako",
    # Drives, shares and streams.
    "C:/outside/secret.mako",
    "C:\\outside\\secret.mako",
    "C:../outside/secret.mako",
    "\\\\host\\share\\secret.mako",
    "//?/C:/outside/secret.mako",
    "page.mako::$DATA",
    # Another site's folder.
    "../kitchen/secret.mako",
    "/../kitchen/secret.mako",
    "../sites/kitchen/secret.mako",
    "/sites/kitchen/secret.mako",
    "kitchen/secret.mako",
    "{root}/sites/kitchen/secret.mako",
    # Links that lead out, of files and of folders.
    "link.mako",
    "link_folder/secret.mako",
    "link_root/etc/passwd",
    "link_kitchen/secret.mako",
    "shared_link.mako",
    "shared_folder/secret.mako",
    "shared_to_site/secret.mako",
    "link_hidden.mako",
    "page.mako/../link.mako",
    # Dot files.
    ".hidden.mako",
    ".git/config",
    "a/.hidden.mako",
    "./.hidden.mako",
    # Packages.
    "os:../outside/secret.mako",
    "mako:template.py",
    "mako:/template.py",
    "multisite:errors.py",
    "multisite:templates/store.py/../../errors.py",
    "antigravity:x.mako",
    "no.such.package:templates/page.mako",
    "..:page.mako",
    ":page.mako",
    "os;system:page.mako",
    "__main__:../../etc/passwd",
    # Neither name nor path.
    "",
    "x" * 2000,
    "x" * 300,
    "a/" * 400 + "page.mako",
    "page.mako#def",
    "http://example.com/page.mako",
]
assert len(set(PAYLOADS)) >= 60

WAYS = {
    "inherit": "<%inherit file=\"${context['name']}\"/>x",
    "include": "<%include file=\"${context['name']}\"/>x",
    "namespace": "<%namespace name='n' file=\"${context['name']}\"/>${n.body()}",
    "get_template": "<% local.get_template(context['name']) %>x",
}


@pytest.fixture
def hostile(world: World) -> World:
    """A world with a canary in every file that must not be served, and links to these files."""
    world.write("outside/secret.mako", SECRET)
    for folder in ("sites/kitchen/", "sites/kitchen/a/", "sites/", ""):
        world.write(f"{folder}secret.mako", SECRET)
    for folder in ("sites/garden", "templates"):
        for name in (".hidden.mako", "a/.hidden.mako", ".git/config"):
            world.write(f"{folder}/{name}", SECRET)
    garden, shared = world.root / "sites/garden", world.root / "templates"
    (garden / "link.mako").symlink_to(world.root / "outside/secret.mako")
    (garden / "link_hidden.mako").symlink_to(".hidden.mako")
    (garden / "link_folder").symlink_to("../../outside")
    (garden / "link_root").symlink_to("/")
    (garden / "link_kitchen").symlink_to("../kitchen")
    (shared / "shared_link.mako").symlink_to("../outside/secret.mako")
    (shared / "shared_folder").symlink_to(world.root / "outside")
    (shared / "shared_to_site").symlink_to(world.root / "sites/kitchen")
    world.write("templates/page.mako", "page")
    for way, source in WAYS.items():
        world.write(f"templates/{way}.mako", source)
        world.write(f"sites/garden/own_{way}.mako", source)
    return world


@pytest.mark.parametrize("way", [*WAYS, *(f"own_{way}" for way in WAYS), "lookup"])
@pytest.mark.parametrize("reload", [False, True])
def test_no_name_leads_outside(hostile: World, way: str, reload: bool) -> None:
    templates = hostile.templates(reload=reload)
    lookup = templates.lookup(GARDEN)
    use = lookup.get_template if way == "lookup" else _caller(lookup.get_template(f"{way}.mako"))
    for payload in PAYLOADS:
        name = payload.replace(ROOT, str(hostile.root))
        with opened_files() as opened, pytest.raises(TemplateLookupException):
            use(name)
        # Python itself opens modules; Mako reads the calling template for its traceback.
        outside = [path for path in opened if not _is_allowed(hostile, path)]
        assert outside == [], payload


def _caller(template: Template) -> Callable[[str], object]:
    return lambda name: template.render_unicode(name=name)


def _is_allowed(world: World, path: str) -> bool:
    library = Path(os.__file__).parent
    allowed = (world.root / "sites/garden", world.root / "templates", library, Path(sys.prefix))
    return any(Path(path).is_relative_to(folder) for folder in allowed) and not Path(path).name.startswith(".")


def test_plain_lookups_open_what_lies_outside(hostile: World) -> None:
    """The control of the test above: the hook sees what Mako's and pyramid_mako's lookups open."""
    from pyramid_mako import PkgResourceTemplateLookup

    outside = str(hostile.root / "outside/secret.mako")
    with opened_files() as opened:
        assert hostile.plain_lookup(GARDEN).get_template("link_folder/secret.mako").render_unicode() == SECRET
        assert hostile.plain_lookup(GARDEN).get_template(".hidden.mako").render_unicode() == SECRET
        lookup = PkgResourceTemplateLookup([str(hostile.root / "templates")])
        assert lookup.get_template(outside).render_unicode() == SECRET
    assert outside in opened
    assert not all(_is_allowed(hostile, path) for path in opened)


def test_a_link_that_stays_in_its_layer_is_followed(world: World) -> None:
    world.write("sites/garden/real/page.mako", "garden")
    (world.root / "sites/garden/page.mako").symlink_to("real/page.mako")
    (world.root / "sites/garden/linked").symlink_to("real")
    assert render(world.templates(), GARDEN) == render(world.templates(), GARDEN, "linked/page.mako") == "garden"


def test_the_folders_themselves_may_be_reached_by_links(world: World) -> None:
    world.write("templates/page.mako", "shared")
    world.write("sites/garden/own.mako", "garden")
    for folder in ("sites", "templates"):
        (world.root / f"current_{folder}").symlink_to(folder)
    templates = SiteTemplates(world.root / "current_sites", world.root / "current_templates")
    assert render(templates, GARDEN) == "shared"
    assert render(templates, GARDEN, "own.mako") == "garden"


def test_a_site_s_folder_that_is_a_link_is_refused(world: World) -> None:
    world.write("sites/kitchen/page.mako", "kitchen")
    (world.root / "sites/linked").symlink_to("kitchen")
    with pytest.raises(TemplateLookupException, match="lies outside of"):
        render(world.templates(), Site(3, "linked.example", "", "linked"))


@pytest.mark.parametrize("folder", ["", ".", "..", "../outside", "/etc", "a/b", "a\\b", "a\0", ".pending", "kitchen/"])
def test_a_site_s_folder_is_one_name(world: World, folder: str) -> None:
    world.write("templates/page.mako", "shared")
    with pytest.raises(TemplateLookupException, match=r"the folder of site bad\.example"):
        render(world.templates(), Site(4, "bad.example", "", folder))


def test_shared_names_do_not_reach_sites_that_lie_below_them(world: World) -> None:
    """If the sites' folders are in the shared one, they still belong only to their sites."""
    world.write("sites/kitchen/secret.mako", SECRET)
    templates = SiteTemplates(world.root / "sites", world.root)
    with pytest.raises(TemplateLookupException):
        render(templates, GARDEN, "/sites/kitchen/secret.mako")


def test_names_in_templates_import_nothing(world: World) -> None:
    world.write("templates/page.mako", "<%include file='antigravity:templates/x.mako'/>")
    with pytest.raises(TemplateLookupException, match="the package antigravity is not imported"):
        render(world.templates(), GARDEN)
    assert "antigravity" not in sys.modules


def test_canonical_names_are_their_own_canonical_names() -> None:
    for name in ("/a.mako", "/a/b.mako", "a.b:templates/c.mako"):
        assert names.canonical(name) == name
        assert names.canonical(name, "/x/y.mako#site-0") == name
    assert names.canonical("../c.mako", "a.b:templates/d/e.mako#site-0") == "a.b:templates/c.mako"


def test_an_error_says_where_was_looked(world: World) -> None:
    with pytest.raises(TopLevelLookupException) as caught:
        render(world.templates(), GARDEN, "missing.mako")
    assert str(world.root / "sites/garden/missing.mako") in str(caught.value)
    assert str(world.root / "templates/missing.mako") in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "${'<' | h, kind}",
        "${kind(globals()['filters'].html_escape('<')) | n}",
        "<%! from mako import filters as own %>${kind(own.html_escape('<')) | n}",
        "<%! from mako import filters %><% escape = getattr(filters, 'html_' + 'escape') %>${kind(escape('<')) | n}",
        "<%def name='a()' buffered='True' filter='h'><</%def>${kind(a()) | n}",
    ],
)
def test_what_a_template_does_with_escaped_text_sees_no_difference(world: World, source: str) -> None:
    """Code in a template that gets the result of the filter gets the type that Mako's own filter returns."""
    world.write("templates/page.mako", "${'<'}" + source)
    expected = Template(source, default_filters=["h"]).render_unicode(kind=kind)
    assert render(world.templates(default_filters=["h"]), GARDEN, kind=kind) == f"&lt;{expected}"
    assert "Markup" in expected or "buffered" in source


def kind(value: object) -> str:
    return f"{type(value).__name__}: {value}"


# The filter h


class Html:
    def __html__(self) -> str:
        return "<b>"


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value", ["", "a & <b> \"c\" 'd'", "é\0\ud800", markupsafe.Markup("<i>"), Html(), Text("<x>"), None, 1, 2.5, b"<"]
)
def test_the_filter_h_escapes_as_markupsafe_does(world: World, value: Any) -> None:
    escaped, expected = html_escape(value), markupsafe.escape(value)
    assert (type(escaped), escaped) == (type(expected), expected)
    world.write("templates/page.mako", "[${value} ${value | h} ${value | trim}]")
    page = render(world.templates(default_filters=["h"]), GARDEN, value=value)
    assert page == f"[{expected} {expected} {expected.strip()}]"
    text = html_escape_to_text(value)
    assert (str(text), isinstance(text, str)) == (str(expected), True)
    world.write("templates/page.mako", "[${value}]")
    assert render(world.templates(default_filters=["h"]), GARDEN, value=value) == f"[{expected}]"


def test_the_compiled_template_uses_the_fast_filter(world: World) -> None:
    world.write("templates/page.mako", "<%! from mako import filters %>${'<'}")
    world.write(
        "templates/own.mako",
        "<%! import types; filters = types.SimpleNamespace(html_escape=lambda t: str(len(t))) %>${'four'}",
    )
    world.write("templates/written.mako", "<%def name='a(x)' filter='h'>${x}</%def>${a('<')} ${capture(a, '<')} ${'<'}")
    templates = world.templates(default_filters=["h"])
    assert templates.lookup(None).get_template("/page.mako").module.filters.html_escape is html_escape
    written = templates.lookup(None).get_template("/written.mako")
    assert written.module.filters.html_escape is html_escape_to_text
    # A def writes its text, which its filter escapes again, and the expression that captures it once more.
    assert written.render_unicode() == "&amp;lt; &amp;amp;lt; &lt;"
    assert templates.lookup(None).get_template("/own.mako").render_unicode() == "4"
