"""What `cached="True"` keeps: of each site, file and block apart, with Beaker, dogpile.cache and any other plug-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dogpile.cache import make_region
from mako.cache import CacheImpl, register_plugin
from mako.ext import beaker_cache as beaker_plugin
from pyramid.path import DottedNameResolver
from template_world import GARDEN, KITCHEN, World, render

from multisite.core.site import Site
from multisite.errors import MultisiteError, SettingError
from multisite.templates import SiteTemplates
from multisite.web.mako_settings import parse_mako_options


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class CacheByKeyAlone(CacheImpl):
    """A cache plug-in that looks at the key and at nothing else."""

    values: dict[str, str] = {}

    def get_or_create(self, key: str, creation_function: Any, **kw: Any) -> str:
        if key not in self.values:
            self.values[key] = creation_function()
        return self.values[key]

    def set(self, key: str, value: str, **kw: Any) -> None:
        self.values[key] = value

    def get(self, key: str, **kw: Any) -> str | None:
        return self.values.get(key)

    def invalidate(self, key: str, **kw: Any) -> None:
        self.values.pop(key, None)


register_plugin("by_key_alone", __name__, "CacheByKeyAlone")


def settings_options(**settings: str) -> dict[str, Any]:
    """Return the options that `mako.*` settings of an ini give."""
    named = {f"mako.{name.replace('__', '.')}": value for name, value in settings.items()}
    options = parse_mako_options(named, DottedNameResolver().maybe_resolve)
    return {name: value for name, value in options.items() if name.startswith("cache_")}


@pytest.fixture(params=["by key alone", "beaker", "beaker file", "dogpile", "dogpile file"])
def cache_options(request: pytest.FixtureRequest, world: World) -> dict[str, Any]:
    """Options of templates for a cache that is empty."""
    CacheByKeyAlone.values.clear()
    # Beaker's caches are one for the process.
    beaker_plugin._beaker_cache = beaker_plugin.beaker_cache.CacheManager()
    options = {
        "by key alone": {"cache_impl": "by_key_alone"},
        "beaker": {"cache_impl": "beaker", "cache__type": "memory"},
        "beaker file": {"cache_impl": "beaker", "cache__type": "file", "cache__dir": str(world.root / "cache")},
        "dogpile": {"cache_impl": "multisite.dogpile", "cache__backend": "dogpile.cache.memory"},
        "dogpile file": {
            "cache_impl": "multisite.dogpile",
            "cache__backend": "dogpile.cache.dbm",
            "cache__arguments__filename": str(world.root / "cache.dbm"),
            "cache__expiration_time": "3600",
        },
    }
    return settings_options(**options[request.param])


CACHED = """<%page cached="True" cache_key="page"/>
${who} ${part()} <%block name="block" cached="True">${who}</%block>
<%def name="part()" cached="True">${who}</%def>"""


def test_cached_text_of_a_site_is_never_another_site_s(world: World, cache_options: dict[str, Any]) -> None:
    world.write("templates/page.mako", CACHED)
    world.write("sites/kitchen/other.mako", CACHED)
    world.write("templates/other.mako", CACHED)
    templates = world.templates(**cache_options)
    views = [templates.lookup(s).get_template(n) for n in ("page.mako", "other.mako") for s in (GARDEN, KITCHEN, None)]
    pages = [view.render_unicode(who=f"w{number}").split() for number, view in enumerate(views)]
    assert pages == [[f"w{number}"] * 3 for number in range(6)]
    # It is cached indeed, and each site invalidates its own.
    assert [view.render_unicode(who="new").split() for view in views] == pages
    views[0].cache.invalidate("page", __M_defname="render_body")
    assert views[0].render_unicode(who="new").split()[0] == "new"
    assert views[1].render_unicode(who="new").split() == pages[1]


def test_plain_mako_gives_the_cached_text_of_one_site_to_the_other(world: World, cache_options: dict[str, Any]) -> None:
    """The control of the test above."""
    world.write("templates/page.mako", CACHED)
    views = [world.plain_lookup(site, **cache_options).get_template("page.mako") for site in (GARDEN, KITCHEN)]
    assert [view.render_unicode(who=who).split()[0] for view, who in zip(views, "ab", strict=True)] == ["a", "a"]


TWO_BLOCKS = """<%def name="title()" cached="True" cache_key="${str(number)}">title</%def>\\
<%def name="text()" cached="True" cache_key="${str(number)}">text</%def>${title()} ${text()}"""


def test_blocks_with_the_same_key_are_kept_apart(world: World, cache_options: dict[str, Any]) -> None:
    world.write("templates/page.mako", TWO_BLOCKS)
    assert render(world.templates(**cache_options), GARDEN, number=7) == "title text"


def test_plain_mako_gives_the_text_of_one_block_for_the_other(world: World, cache_options: dict[str, Any]) -> None:
    """The control of the test above."""
    world.write("templates/page.mako", TWO_BLOCKS)
    page = world.plain_lookup(GARDEN, **cache_options).get_template("page.mako").render_unicode(number=7)
    assert page.strip() == "title title"


def test_sites_of_a_theme_have_texts_of_their_own(world: World, cache_options: dict[str, Any]) -> None:
    world.write("templates/themes/dusk/page.mako", CACHED)
    templates = world.templates(**cache_options)
    sites = [Site(number, f"{number}.example", "", f"f{number}", theme="dusk") for number in (1, 2)]
    for _ in range(2):
        assert [render(templates, site, who=site.host).split() for site in sites] == [
            ["1.example"] * 3,
            ["2.example"] * 3,
        ]


NESTED = """<%page cached="True"/>${who} ${outer()} \\
<%def name="outer()" cached="True"><%def name="inner()" cached="True">${who}</%def>${who} ${inner()}</%def>"""


def test_texts_are_forgotten_by_page_def_and_key(world: World, cache_options: dict[str, Any]) -> None:
    world.write("templates/page.mako", NESTED)
    world.write("templates/keyed.mako", TWO_BLOCKS.replace(">title<", ">title ${who}<"))
    templates = world.templates(**cache_options)
    cache = templates.lookup(GARDEN).get_template("page.mako").cache
    assert render(templates, GARDEN, who="a") == "a a a"
    cache.invalidate_body()
    assert render(templates, GARDEN, who="b") == "b a a"
    cache.invalidate_body()
    cache.invalidate_def("outer")
    assert render(templates, GARDEN, who="c") == "c c a"
    cache.invalidate_body()
    cache.invalidate_def("outer")
    cache.invalidate_closure("inner")
    assert render(templates, GARDEN, who="d") == "d d d"
    # By a key of its own, without knowing the name that Mako gives to the block.
    assert render(templates, GARDEN, "keyed.mako", who="a", number=7) == "title a text"
    templates.lookup(GARDEN).get_template("keyed.mako").cache.invalidate("7")
    assert render(templates, GARDEN, "keyed.mako", who="b", number=7) == "title b text"


def test_a_changed_file_starts_with_an_empty_cache(world: World, cache_options: dict[str, Any]) -> None:
    world.write("templates/page.mako", CACHED)
    templates = world.templates(reload=True, **cache_options)
    assert render(templates, GARDEN, who="old").startswith("old")
    world.write("templates/page.mako", "!" + CACHED)
    assert render(templates, GARDEN, who="new").split() == ["!", "new", "new", "new"]


def test_reload_templates_forgets_the_texts_of_the_site(world: World, cache_options: dict[str, Any]) -> None:
    world.write("templates/page.mako", CACHED)
    templates = world.templates(**cache_options)
    for site in (GARDEN, KITCHEN, None):
        render(templates, site, who="old")
    again = Site(GARDEN.id, GARDEN.host, GARDEN.name, GARDEN.folder, template_generation=1)
    assert render(templates, again, who="new").split() == ["new"] * 3
    assert render(templates, KITCHEN, who="new").split() == ["old"] * 3
    templates.shared_generation = lambda: 1
    assert render(templates, None, who="new").split() == ["new"] * 3


def test_two_applications_with_the_same_shared_templates_keep_their_texts_apart(
    world: World, cache_options: dict[str, Any]
) -> None:
    """As in one process, or with one Redis: the first site of either has the id 1."""
    world.write("templates/page.mako", CACHED)
    for folder in ("sites", "other_sites"):
        templates = SiteTemplates(world.root / folder, world.root / "templates", **cache_options)
        assert render(templates, GARDEN, who=folder).split() == [folder] * 3


def test_a_template_s_cache_used_by_hand_is_the_site_s_too(world: World) -> None:
    world.write("templates/page.mako", "page")
    for options in (
        {"cache_impl": "by_key_alone"},
        settings_options(cache_impl="multisite.dogpile", cache__backend="dogpile.cache.memory"),
    ):
        templates = world.templates(**options)
        caches = [templates.lookup(site).get_template("page.mako").cache for site in (GARDEN, KITCHEN)]
        caches[0].put("key", "garden")
        assert [cache.get("key") for cache in caches] == ["garden", None]
        caches[1].put("key", "")
        caches[0].invalidate("key")
        assert [cache.get("key") for cache in caches] == [None, ""]


def test_texts_in_files_are_found_by_the_next_start(world: World) -> None:
    world.write("templates/page.mako", CACHED)
    for who in ("first", "second"):
        options = settings_options(
            cache_impl="multisite.dogpile",
            cache__backend="dogpile.cache.dbm",
            cache__arguments__filename=str(world.root / "cache.dbm"),
        )
        assert render(world.templates(**options), GARDEN, who=who).split() == ["first"] * 3


def test_a_text_is_made_again_when_its_time_is_over(world: World) -> None:
    world.write("templates/page.mako", '<%page cached="True" cache_timeout="${0}"/>${who}')
    world.write("templates/kept.mako", '<%page cached="True"/>${who}')
    options = settings_options(cache_impl="multisite.dogpile", cache__backend="dogpile.cache.memory")
    templates = world.templates(**options)
    for name, page in (("page.mako", "new"), ("kept.mako", "old")):
        render(templates, GARDEN, name, who="old")
        # With a timeout of 0 it is old at once.
        assert render(templates, GARDEN, name, who="new") == page


def test_nothing_is_kept_where_caching_is_switched_off(world: World) -> None:
    world.write("templates/page.mako", CACHED)
    templates = world.templates(**settings_options(cache_enabled="false"))
    assert [render(templates, GARDEN, who=who).split()[0] for who in "ab"] == ["a", "b"]


def test_what_a_template_says_about_another_cache_is_an_error_that_names_it(world: World) -> None:
    page = world.write("templates/page.mako", '<%page cached="True" cache_region="short"/>')
    options = settings_options(cache_impl="multisite.dogpile", cache__backend="dogpile.cache.memory")
    with pytest.raises(MultisiteError, match=f"{page} says cache_region, which"):
        render(world.templates(**options), GARDEN)


@pytest.mark.parametrize("backend", [{}, {"cache__backend": "dogpile.cache.memry"}])
def test_a_backend_that_is_none_stops_the_start(backend: dict[str, str]) -> None:
    with pytest.raises(SettingError, match=r"mako\.cache\.backend = .*expected the name of a backend"):
        settings_options(cache_impl="multisite.dogpile", **backend)


BY_REGION = """<%page cached="True" cache_region="all"/>${who}"""


def test_dogpile_s_own_plug_in_mixes_templates_unless_it_is_used_through_multisite(world: World) -> None:
    for name in ("one", "two"):
        world.write(f"templates/{name}.mako", BY_REGION)

    def options() -> dict[str, Any]:
        return {
            "cache_impl": "dogpile.cache",
            "cache_args": {"regions": {"all": make_region().configure("dogpile.cache.memory")}},
        }

    plain = world.plain_lookup(GARDEN, **options())
    assert [plain.get_template(f"{who}.mako").render_unicode(who=who) for who in ("one", "two")] == ["one", "one"]
    templates = world.templates(**options())
    for site in (GARDEN, KITCHEN):
        pages = [render(templates, site, f"{name}.mako", who=f"{site.host} {name}") for name in ("one", "two")]
        assert pages == [f"{site.host} one", f"{site.host} two"]
