"""The loader of docs/jinja2.md, read from that page: the same overlay for another template language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import payloads
import pytest
from jinja2 import TemplateNotFound
from paths import ROOT
from pyramid.config import Configurator
from pyramid.renderers import render
from snippets import snippets

from multisite import Site, using_site

GARDEN = Site(1, "garden.example", "Garden", "garden", theme="dark")
KITCHEN = Site(2, "kitchen.example", "Kitchen", "kitchen")


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        namespace: dict[str, Any] = {}
        (snippet,) = snippets(ROOT / "docs" / "jinja2.md", "python")
        exec(snippet.text, namespace)
        folders = {"multisite.sites_dir": root / "sites", "multisite.templates_dir": root / "templates"}
        self.config = Configurator(settings=folders)
        self.config.include("multisite.web.renderer")
        namespace["use_jinja2"](self.config)
        self.config.commit()

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return file

    def pages(self, name: str) -> list[str]:
        found = []
        for site in (GARDEN, KITCHEN):
            with self.config, using_site(site):
                found.append(render(name, {"name": name, "x": "<b>"}))
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_all_layers_decide_for_every_call(world: World) -> None:
    world.write(
        "templates/blog/page.jinja2",
        "{% extends '/layout.jinja2' %}{% import 'macros.jinja2' as m %}"
        "{% block main %}{% include 'part.jinja2' %} {{ m.name() }} {{ x }}{% endblock %}",
    )
    world.write("templates/layout.jinja2", "shared: {% block main %}{% endblock %}")
    world.write("templates/blog/part.jinja2", "shared part")
    world.write("templates/blog/macros.jinja2", "{% macro name() %}shared macro{% endmacro %}")
    assert world.pages("blog/page.jinja2") == ["shared: shared part shared macro &lt;b&gt;"] * 2
    world.write("sites/kitchen/layout.jinja2", "kitchen: {% block main %}{% endblock %}")
    world.write("templates/themes/dark/blog/part.jinja2", "dark part")
    world.write("sites/garden/blog/macros.jinja2", "{% macro name() %}garden's macro{% endmacro %}")
    for _again in range(2):
        assert world.pages("/blog/page.jinja2") == [
            "shared: dark part garden's macro &lt;b&gt;",
            "kitchen: shared part shared macro &lt;b&gt;",
        ]


def test_a_changed_file_is_compiled_again_and_only_that(world: World) -> None:
    world.write("templates/page.jinja2", "{% extends 'layout.jinja2' %}")
    world.write("templates/layout.jinja2", "one")
    assert world.pages("page.jinja2") == ["one", "one"]
    loader = world.config.get_jinja2_environment().loader
    before = dict(loader.compiled)
    assert len(before) == 2
    assert world.pages("page.jinja2") == ["one", "one"]
    assert loader.compiled == before
    world.write("templates/layout.jinja2", "two, and longer")
    assert world.pages("page.jinja2") == ["two, and longer"] * 2


def test_with_jinja2_s_own_cache_one_site_gets_the_page_of_another(world: World) -> None:
    """The negative control for the line that removes it."""
    world.write("templates/page.jinja2", "shared")
    world.write("sites/garden/page.jinja2", "garden")
    assert world.pages("page.jinja2") == ["garden", "shared"]
    environment = world.config.get_jinja2_environment()
    environment.cache = {}
    assert world.pages("page.jinja2") == ["garden", "garden"]


@pytest.mark.parametrize("call", ["{% extends name %}", "{% include name %}", "{% import name as x %}"])
def test_nothing_outside_is_found(world: World, call: str) -> None:
    payloads.make(world.root)
    world.write("templates/call.jinja2", call)
    for names in payloads.NAMES.values():
        for name in (name.replace("{root}", str(world.root)) for name in names):
            with (
                world.config,
                using_site(GARDEN),
                pytest.raises((TemplateNotFound, UnicodeError)),
            ):
                render("call.jinja2", {"name": name})
