"""Layers: site over theme over shared templates, `parent:` between them, and that changes are noticed in time."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mako.exceptions import SyntaxException, TemplateLookupException, TopLevelLookupException
from mako.lookup import TemplateLookup
from template_world import GARDEN, KITCHEN, Counter, World, render

from multisite.core.site import Site
from multisite.templates import compiled, stable_reads
from multisite.templates.precompile import compile_all

DUSK_GARDEN, DUSK_KITCHEN = replace(GARDEN, theme="dusk"), replace(KITCHEN, theme="dusk")
DAWN_KITCHEN = replace(KITCHEN, theme="dawn")
SOAK = bool(os.environ.get("MULTISITE_SOAK"))


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


def test_the_site_wins_over_its_theme_and_that_over_the_shared_templates(world: World) -> None:
    for name in ("a", "b", "c"):
        world.write(f"templates/{name}.mako", f"shared {name}")
    for name in ("b", "c"):
        world.write(f"templates/themes/dusk/{name}.mako", f"dusk {name}")
    world.write("sites/garden/c.mako", "garden c")
    templates = world.templates()
    pages = {
        site: [render(templates, site, f"{name}.mako") for name in "abc"]
        for site in (DUSK_GARDEN, DUSK_KITCHEN, DAWN_KITCHEN, KITCHEN, None)
    }
    assert pages == {
        DUSK_GARDEN: ["shared a", "dusk b", "garden c"],
        DUSK_KITCHEN: ["shared a", "dusk b", "dusk c"],  # only a theme
        DAWN_KITCHEN: ["shared a", "shared b", "shared c"],  # a theme that is not there
        KITCHEN: ["shared a", "shared b", "shared c"],  # nothing
        None: ["shared a", "shared b", "shared c"],
    }
    assert render(templates, GARDEN, "b.mako") == "shared b"  # only files


def test_another_theme_is_another_look_at_the_files(world: World) -> None:
    world.write("templates/page.mako", "shared")
    for theme in ("dusk", "dawn"):
        world.write(f"templates/themes/{theme}/page.mako", theme)
    templates = world.templates()
    sites = [replace(GARDEN, theme=theme) for theme in ("dusk", "dawn", None, "dusk")]
    assert [render(templates, site) for site in sites] == ["dusk", "dawn", "shared", "dusk"]


def test_a_theme_lies_over_the_file_of_a_package(world: World, package: str) -> None:
    world.write(f"packages/{package}/templates/blog/page.mako", "<%inherit file='layout.mako'/>package page")
    world.write(f"packages/{package}/templates/blog/layout.mako", "package (${next.body()})")
    world.write("templates/themes/dusk/blog/layout.mako", "<%inherit file='parent:layout.mako'/>dusk ${next.body()}")
    templates = world.templates()
    name = f"{package}:templates/blog/page.mako"
    assert render(templates, DUSK_GARDEN, name) == "package (dusk package page)"
    assert render(templates, GARDEN, name) == "package (package page)"


CROSSINGS = [
    "/themes/dawn/page.mako",
    "themes/dawn/page.mako",
    "/./themes//dawn/page.mako",
    "/Themes/dawn/page.mako",
    "/\u017fites/../themes/dawn/page.mako",
    "parent:/themes/dawn/page.mako",
    "parent:../themes/dawn/page.mako",
    "parent:../dawn/page.mako",
    "below-theme:/themes/dawn/page.mako",
    "below-site:/../dawn/page.mako",
    "../dawn/page.mako",
    "linked.mako",
    "/linked/page.mako",
    "/linked_themes/dawn/page.mako",
    "to_dawn.mako",
    "to_dawn/page.mako",
    "{package}:templates/themes/dawn/page.mako",
    "{package}:shared/themes/dawn/page.mako",
]


@pytest.mark.parametrize("name", CROSSINGS)
@pytest.mark.parametrize(
    "caller", ["sites/garden/caller.mako", "templates/themes/dusk/caller.mako", "templates/caller.mako"]
)
def test_no_name_reaches_another_theme(world: World, package: str, name: str, caller: str) -> None:
    secret = world.write("templates/themes/dawn/page.mako", "CANARY")
    shared = world.root / "templates"
    (shared / "linked.mako").symlink_to("themes/dawn/page.mako")
    (shared / "linked").symlink_to("themes/dawn")
    (shared / "linked_themes").symlink_to("themes")
    for folder in (world.root / "sites/garden", shared / "themes/dusk"):
        folder.mkdir(exist_ok=True)
        (folder / "to_dawn.mako").symlink_to(secret)
        (folder / "to_dawn").symlink_to(secret.parent)
    (world.root / f"packages/{package}/templates").symlink_to(shared)
    (world.root / f"packages/{package}/shared").symlink_to(shared)
    world.write(caller, f"<%include file='{name.replace('{package}', package)}'/>")
    with pytest.raises(TemplateLookupException):
        render(world.templates(), DUSK_GARDEN, "caller.mako")
    # The control: plain Mako over the same folders shows it.
    plain = TemplateLookup([str(shared)]).get_template("/themes/dawn/page.mako")
    assert plain.render_unicode() == "CANARY"


def test_names_that_look_like_themes_in_other_layers_are_ordinary(world: World) -> None:
    world.write("sites/garden/themes/dawn/page.mako", "garden's own")
    world.write("more/themes/page.mako", "more")
    world.write("templates/themes/dawn/page.mako", "theme")
    templates = world.templates(directories=[world.root / "more"])
    assert render(templates, GARDEN, "/themes/dawn/page.mako") == "garden's own"
    assert render(templates, GARDEN, "/themes/page.mako") == "more"


@pytest.mark.parametrize("theme", ["", ".", "..", "../../outside", "/etc", "a/b", "a\\b", "a\0", ".dusk"])
def test_a_theme_is_one_name(world: World, theme: str) -> None:
    world.write("templates/page.mako", "shared")
    with pytest.raises(TemplateLookupException, match=r"the theme of site garden\.example is not a valid name"):
        render(world.templates(), replace(GARDEN, theme=theme))


def test_a_theme_that_is_a_link_is_refused_and_the_folder_of_themes_may_be_one(world: World) -> None:
    world.write("outside/dusk/page.mako", "dusk")
    world.write("templates/page.mako", "shared")
    (world.root / "templates/themes").symlink_to(world.root / "outside")
    (world.root / "outside/dawn").symlink_to("dusk")
    templates = world.templates()
    assert render(templates, DUSK_KITCHEN) == "dusk"
    with pytest.raises(TemplateLookupException, match="lies outside of"):
        render(templates, DAWN_KITCHEN)


# --- parent: ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["parent:layout.mako", "parent:/blog/layout.mako", "parent:./layout.mako"])
def test_parent_reaches_the_next_layer_below_the_file_that_says_it(world: World, name: str) -> None:
    world.write("templates/blog/page.mako", "<%inherit file='layout.mako'/>page")
    inherits = f"<%inherit file='{name}'/>"
    world.write("sites/garden/blog/layout.mako", f"{inherits}garden(${{next.body()}})")
    world.write("templates/themes/dusk/blog/layout.mako", f"{inherits}dusk(${{next.body()}})")
    world.write("templates/blog/layout.mako", f"{inherits}shared(${{next.body()}})")
    world.write("more/blog/layout.mako", "more(${next.body()})")
    counter = Counter()
    templates = world.templates(directories=[world.root / "more"], preprocessor=counter)
    # Each has an id of its own, so that no lookup, and with it what was compiled, is forgotten meanwhile.
    sites = [replace(site, id=number) for number, site in enumerate((DUSK_GARDEN, DUSK_KITCHEN, GARDEN, KITCHEN), 1)]
    assert [render(templates, site, "blog/page.mako") for site in sites] == [
        "more(shared(dusk(garden(page))))",
        "more(shared(dusk(page)))",
        "more(shared(garden(page)))",
        "more(shared(page))",
    ]
    # Each of the five files once, by whichever name it was reached.
    assert counter.count == 5


def test_parent_includes_and_gives_defs(world: World) -> None:
    world.write("templates/parts.mako", "<%def name='greet()'>hello</%def>shared parts")
    world.write(
        "sites/garden/parts.mako",
        "<%namespace name='below' file='parent:parts.mako'/><%def name='greet()'>${below.greet()}, moin</%def>"
        "garden (<%include file='parent:parts.mako'/>)",
    )
    world.write(
        "templates/page.mako", "<%namespace name='p' file='parts.mako'/>${p.greet()} <%include file='parts.mako'/>"
    )
    templates = world.templates()
    assert render(templates, GARDEN) == "hello, moin garden (shared parts)"
    assert render(templates, KITCHEN) == "hello shared parts"


def test_parent_skips_a_layer_without_the_file_and_takes_any_name(world: World, package: str) -> None:
    world.write("sites/garden/a.mako", "<%include file='parent:b.mako'/>")
    world.write("sites/garden/b.mako", "garden b")
    world.write("templates/b.mako", "shared b")
    world.write(f"packages/{package}/templates/c.mako", "package c")
    world.write("sites/garden/c.mako", f"garden (<%include file='parent:{package}:templates/c.mako'/>)")
    templates = world.templates()
    assert render(templates, DUSK_GARDEN, "a.mako") == "shared b"
    assert render(templates, GARDEN, f"{package}:templates/c.mako") == "garden (package c)"


@pytest.mark.usefixtures("uncollected")
def test_without_parent_a_file_that_inherits_from_its_name_is_its_own_parent(world: World) -> None:
    """The control: this is why there is `parent:`."""
    world.write("templates/layout.mako", "shared ${next.body()}")
    world.write("sites/garden/layout.mako", "<%inherit file='layout.mako'/>garden")
    with pytest.raises(RecursionError):
        render(world.templates(), GARDEN, "layout.mako")


def test_below_the_lowest_layer_there_is_nothing_and_the_error_says_so(world: World) -> None:
    world.write("templates/layout.mako", "<%inherit file='parent:layout.mako'/>")
    world.write("sites/garden/alone.mako", "<%inherit file='parent:alone.mako'/>")
    templates = world.templates()
    with pytest.raises(
        TemplateLookupException, match=r"no parent '/layout\.mako': below the layer 'shared' there is none"
    ):
        render(templates, GARDEN, "layout.mako")
    with pytest.raises(TemplateLookupException, match=r"no parent '/alone\.mako' below the layer 'site'") as caught:
        render(templates, GARDEN, "alone.mako")
    assert str(world.root / "templates/alone.mako") in str(caught.value)
    for name in ("parent:layout.mako", "below-nothing:/layout.mako", "parent:"):
        with pytest.raises(TopLevelLookupException, match="is not the name of a template"):
            render(templates, GARDEN, name)


# --- compiled once ---------------------------------------------------------------------------------------------------


def many_sites(count: int) -> list[Site]:
    return [
        Site(number, f"{number}.example", "", f"f{number}", theme=("dusk", "dawn")[number % 2])
        for number in range(count)
    ]


def write_eight(world: World) -> list[str]:
    """Write eight shared templates, of which themes replace two; return their names."""
    for number in range(8):
        world.write(f"templates/page{number}.mako", f"page {number} ${{x}} " * 50)
    for theme in ("dusk", "dawn"):
        for number in range(2):
            world.write(
                f"templates/themes/{theme}/page{number}.mako", f"<%inherit file='parent:page{number}.mako'/>{theme}"
            )
    return [f"/page{number}.mako" for number in range(8)]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as written long ago, and are not read repeatedly."""
    monkeypatch.setattr(compiled, "SETTLED_NS", -1)
    monkeypatch.setattr(stable_reads, "FRESH_SECONDS", 0)


@pytest.mark.usefixtures("settled")
def test_what_a_thousand_sites_share_is_compiled_and_held_once(world: World) -> None:
    names = write_eight(world)
    counter = Counter()
    templates = world.templates(preprocessor=counter)
    for site in many_sites(1000):
        for name in names if SOAK else names[::7]:
            render(templates, site, name, x=1)
    assert counter.count == (12 if SOAK else 4)
    assert len(templates._store._compiled) == counter.count


def memory_of(use: Callable[[], None]) -> int:
    """Return the size in bytes of the objects of multisite and Mako that `use` leaves in memory."""
    gc.collect()
    tracemalloc.start()
    try:
        use()
        gc.collect()
        # What threads that other tests left behind take meanwhile is none of it.
        ours = [tracemalloc.Filter(True, pattern) for pattern in ("*/multisite/*", "*/mako/*", __file__)]
        return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("settled")
def test_a_site_without_files_takes_less_than_a_kilobyte(world: World) -> None:
    """Eight templates, of which the site's theme replaces one and extends another."""
    names = write_eight(world)
    world.write("templates/themes/dusk/page0.mako", "dusk")
    world.write("templates/themes/dawn/page0.mako", "dawn")
    templates = world.templates(max_sites=1000)
    sites = many_sites(1002 if SOAK else 42)

    def use(of: list[Site]) -> None:
        for site in of:
            for name in names:
                templates.lookup(site).get_template(name).render_unicode(x=1)

    use(sites[:2])
    assert memory_of(lambda: use(sites[2:])) / (len(sites) - 2) < 1000


def test_a_second_start_compiles_nothing_and_what_was_compiled_ahead_neither(world: World, package: str) -> None:
    names = write_eight(world)
    world.write("sites/garden/page7.mako", "<%include file='parent:page7.mako'/>")
    world.write(f"packages/{package}/templates/blog/entry.mako", "<%include file='part.mako'/>")
    world.write(f"packages/{package}/templates/blog/part.mako", "package part")
    world.write("sites/kitchen/blog/part.mako", "kitchen part")
    world.write("more/more.mako", "more")
    names += ["more.mako", f"{package}:templates/blog/entry.mako"]
    sites = [DUSK_GARDEN, DAWN_KITCHEN]
    for modules, fill in (("by_use", False), ("ahead", True)):
        options: dict[str, Any] = {"directories": [world.root / "more"], "module_directory": world.root / modules}
        if fill:
            outcomes = list(compile_all(world.templates(**options), sites, names))
            assert [outcome for outcome in outcomes if outcome.error] == []
            assert len(set(outcomes)) == len(outcomes)
            assert len(outcomes) == len(list((world.root / modules).glob("*.py")))
        for expected in (0,) if fill else (17, 0):
            counter = Counter()
            templates = world.templates(**options)
            templates._store._options["preprocessor"] = counter  # Not a part of the names of modules, as an option is.
            for site in sites:
                for name in names:
                    render(templates, site, name, x=1)
            assert counter.count == expected


def test_names_are_all_templates_that_a_site_sees(world: World) -> None:
    for path in (
        "templates/a.mako", "templates/b/c.mak", "templates/themes/dusk/d.mako", "templates/themes/dawn/e.mako",
        "sites/garden/a.mako", "sites/garden/f.mako", "sites/kitchen/g.mako",
        "templates/.hidden.mako", "templates/.git/h.mako", "templates/i.txt", "templates/static/j.css",
    ):  # fmt: skip
        world.write(path, "")
    templates = world.templates()
    assert templates.names(None) == ["/a.mako", "/b/c.mak"]
    assert templates.names(DUSK_GARDEN) == ["/a.mako", "/b/c.mak", "/d.mako", "/f.mako"]
    assert templates.names(DAWN_KITCHEN) == ["/a.mako", "/b/c.mak", "/e.mako", "/g.mako"]


# --- another generation ----------------------------------------------------------------------------------------------


def test_without_reload_a_change_is_seen_in_the_next_generation(world: World) -> None:
    world.write("templates/page.mako", "<%inherit file='layout.mako'/>page")
    world.write("templates/layout.mako", "old ${next.body()}")
    templates = world.templates()
    sites: list[Site | None] = [GARDEN, DUSK_KITCHEN, None]
    assert {render(templates, site) for site in sites} == {"old page"}
    world.write("templates/layout.mako", "new ${next.body()}")
    world.write("templates/themes/dusk/layout.mako", "<%inherit file='parent:layout.mako'/>dusk ${next.body()}")
    # The whole text is a new one, but the sites go on with what they have, each as one.
    assert {render(templates, site) for site in sites} == {"old page"}
    assert render(templates, replace(GARDEN, template_generation=1)) == "new page"
    assert [render(templates, site) for site in (DUSK_KITCHEN, None)] == ["old page"] * 2
    assert render(templates, replace(DUSK_KITCHEN, template_generation=1)) == "new dusk page"
    templates.shared_generation = lambda: 1
    assert render(templates, None) == "new page"


def test_the_same_site_read_again_keeps_its_lookup(world: World) -> None:
    templates = world.templates()
    lookup = templates.lookup(GARDEN)
    assert templates.lookup(replace(GARDEN)) is lookup
    assert templates.lookup(replace(GARDEN, name="renamed")) is lookup
    assert templates.lookup(replace(GARDEN, template_generation=1)) is not lookup


# --- seen at once, while it is being written -------------------------------------------------------------------------


@contextmanager
def writing(step: Callable[[int], None]) -> Iterator[None]:
    """Call `step` in a thread repeatedly with a rising number, during the block."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        number = 0
        while not stop.is_set():
            try:
                step(number)
            except BaseException as error:
                failures.append(error)
                return
            number += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert failures == []


LAYERS = {"site": "sites/garden", "theme": "templates/themes/dusk", "shared": "templates"}
TEMPLATE = "<%inherit file='base.mako'/><%def name='who()'>{who}</%def>\n{filler}% if True:\n{who} {number}\n% endif\n"


def text_of(who: str, number: int) -> str:
    return TEMPLATE.format(who=who, number=number, filler="## nothing\n" * (number % 400))


def rename_in(world: World, layer: str, number: int) -> None:
    """Put a file there as deployment scripts do, or remove it."""
    place = world.root / LAYERS[layer] / "page.mako"
    if number % 3 == 2 and layer != "shared":
        place.unlink(missing_ok=True)
    else:
        world.write(f"outside/{layer}", text_of(layer, number)).replace(place)


def write_in_place(world: World, layer: str, number: int) -> None:
    """Write like editors that keep the inode: truncate first, then write in pieces."""
    text = text_of(layer, number)
    with (world.root / LAYERS[layer] / "page.mako").open("w") as file:
        for start in range(0, len(text), 1000):
            file.write(text[start : start + 1000])
            file.flush()
    time.sleep(0.005)


@pytest.mark.parametrize("change", [rename_in, write_in_place])
@pytest.mark.parametrize("modules", [None, "modules"])
def test_files_of_all_layers_that_change_while_they_are_rendered_never_fail(
    world: World, change: Callable[[World, str, int], None], modules: str | None
) -> None:
    world.write("templates/base.mako", "${self.who()}: ${self.body()}")
    for layer, folder in LAYERS.items():
        world.write(f"{folder}/page.mako", text_of(layer, 0))
    templates = world.templates(reload=True, module_directory=None if modules is None else world.root / modules)
    seen: set[str] = set()

    def step(number: int) -> None:
        for layer in LAYERS:
            change(world, layer, number)

    with writing(step):
        until = time.monotonic() + (30 if SOAK else 0.6)
        while time.monotonic() < until or len(seen) < 10:
            page = render(templates, DUSK_GARDEN)
            seen.add(page)
            if change is rename_in:
                who, says, _number = page.split()
                assert f"{says}:" == who
    if change is write_in_place:
        # A writer that pauses in the middle shows what it has written.
        assert {page.partition(":")[0] for page in seen} <= {"site", ""}
    # When all is quiet, the next page shows what is there.
    world.write("sites/garden/page.mako", text_of("site", 12345))
    assert render(templates, DUSK_GARDEN).split() == ["site:", "site", "12345"]


def test_a_file_that_makes_no_sense_yet_is_waited_for_and_a_mistake_is_not_waited_for_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = world.write("sites/garden/page.mako", "% if True:\n")
    # The control: plain Mako fails at what has been written so far.
    with pytest.raises(SyntaxException):
        world.plain_lookup(GARDEN).get_template("page.mako")
    page.write_text("% if True:\n")
    with monkeypatch.context() as patch:
        # However busy the machine is when the file is completed.
        patch.setattr(stable_reads, "FRESH_SECONDS", 60)
        patch.setattr(stable_reads, "CHANGING_TIMEOUT_SECONDS", 60)
        completed = threading.Timer(0.03, lambda: page.write_text("% if True:\nwhole\n% endif\n"))
        completed.start()
        assert render(world.templates(), GARDEN) == "whole"
        completed.join()
    world.write("sites/kitchen/page.mako", "% if True:\n")
    with pytest.raises(SyntaxException):
        render(world.templates(), KITCHEN)


def test_an_empty_file_is_an_empty_page(world: World) -> None:
    world.write("sites/garden/page.mako", "")
    assert render(world.templates(), GARDEN) == ""


def test_two_hundred_threads_render_same_named_templates_of_two_sites(world: World) -> None:
    world.write("templates/page.mako", "<%inherit file='layout.mako'/><%include file='part.mako'/>|${who}")
    world.write("templates/layout.mako", "shared[${self.body()}]")
    for theme in ("dusk", "dawn"):
        world.write(f"templates/themes/{theme}/layout.mako", f"<%inherit file='parent:layout.mako'/>{theme}")
    for site in (GARDEN, KITCHEN):
        world.write(f"sites/{site.folder}/part.mako", f"{site.folder} part")
    counter = Counter()
    templates = world.templates(preprocessor=counter)
    start = threading.Barrier(200)
    sites = (DUSK_GARDEN, DAWN_KITCHEN)

    def work(number: int) -> set[str]:
        site = sites[number % 2]
        start.wait()
        return {render(templates, site, who=site.folder) for _ in range(50 if SOAK else 5)}

    with ThreadPoolExecutor(200) as pool:
        for number, pages in enumerate(pool.map(work, range(200))):
            folder = sites[number % 2].folder
            assert pages == {f"shared[{folder} part|{folder}]"}
    assert counter.count == 6
