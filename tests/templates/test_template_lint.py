"""`multisite check` of templates: every issue of every file, with its line, and nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from content_sites import GARDEN, STERNWARTE, ContentSites
from paths import ROOT

import multisite.check
from multisite.check import Finding
from multisite.check.templates import sites_to_check
from multisite.core.settings import parse_settings
from multisite.core.site import Site
from multisite.directory.listing import TemplateSource
from multisite.sites.updates import set_theme
from multisite.templates import SiteTemplates
from multisite.templates.lint import lint

SITES = [Site(1, "garden.example", "Garden", "garden"), Site(2, "kitchen.example", "Kitchen", "kitchen", theme="dark")]


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("templates/page.mako", "<%inherit file='layout.mako'/>page")
        self.write("templates/layout.mako", "${self.body()}")
        for folder in ("sites/garden", "sites/kitchen", "templates/themes/dark"):
            (root / folder).mkdir(parents=True)

    def write(self, path: str, content: str | bytes) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def faults(self) -> list[str]:
        """Return the faults as lines: path, line, reason, and the site if it is one site's."""
        templates = SiteTemplates(self.root / "sites", self.root / "templates")
        return sorted(
            f"{fault.path.relative_to(self.root).as_posix()}:{fault.line or ''} "
            + fault.reason.replace(f"{self.root}/", "")
            + "".join(f" [{site.host}]" for site in fault.sites)
            for fault in lint(templates, SITES)
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_templates_without_a_fault_have_none(world: World) -> None:
    world.write("templates/starter/layout.mako", "<%inherit file='base.mako'/>")
    world.write("sites/garden/layout.mako", "<%inherit file='parent:layout.mako'/>${self.body()}")
    world.write("templates/themes/dark/layout.mako", "<%inherit file='parent:layout.mako'/><%include file='${name}'/>")
    assert world.faults() == []


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("1\n% if x:\n", 2, "unterminated control keyword: 'if'"),
        ("1\n\n${1 +}", 3, "(SyntaxError) invalid syntax"),
        ("1\n<%def name='x'>", 2, "missing parenthesis in %def"),
        (b"1\n\xff", "", "unicode decode operation of encoding 'utf-8' failed"),
        (b"x" * 2_000_001, "", "is larger than 2000000 bytes"),
        ("<%! raise OSError('no') %>", "", "no"),
        ("<%! 1 / 0 %>", "", "it cannot be compiled (ZeroDivisionError: division by zero)"),
        ("1\n\n<%inherit file='gone.mako'/>", 3, "target of <%inherit> does not exist: no template '/gone.mako'"),
        ("1\n<%include file='gone.mako'/>", 2, "target of <%include> does not exist: no template '/gone.mako'"),
        ("% if x:\n<%namespace name='n' file='../x.mako'/>\n% endif", 2, "does not exist: '../x.mako' is not the name"),
        ("<%include file='parent:gone.mako'/>", 1, "no parent '/gone.mako'"),
        ("<%inherit file='layout.mako'/>", 1, "it inherits from itself, through layout.mako"),
    ],
)
@pytest.mark.parametrize("layer", ["sites/garden", "templates/themes/dark", "templates"])
def test_each_fault_is_found_with_its_line(
    world: World, layer: str, content: str | bytes, line: object, reason: str
) -> None:
    world.write(f"{layer}/layout.mako", content)
    faults = world.faults()
    (fault,) = [fault for fault in faults if reason in fault]
    assert fault.startswith(f"{layer}/layout.mako:{line} ")
    assert len(faults) == 1, faults


def test_a_circle_of_two_is_found_once_for_each_of_them(world: World) -> None:
    world.write("sites/garden/layout.mako", "<%inherit file='other.mako'/>")
    world.write("sites/garden/other.mako", "\n<%inherit file='layout.mako'/>")
    assert world.faults() == [
        "sites/garden/layout.mako:1 it inherits from itself, through other.mako, layout.mako [garden.example]",
        "sites/garden/other.mako:2 it inherits from itself, through layout.mako, other.mako [garden.example]",
    ]


def test_what_one_site_lacks_is_that_site_s_fault(world: World) -> None:
    world.write("templates/page.mako", "<%inherit file='layout.mako'/>\n<%include file='menu.mako'/>")
    world.write("sites/garden/menu.mako", "menu")
    (fault,) = world.faults()
    missing = "the target of <%include> does not exist: no template '/menu.mako'"
    assert fault == f"templates/page.mako:2 {missing} [kitchen.example]"


def test_all_faults_are_listed_and_each_once(world: World) -> None:
    for number in range(5):
        world.write(f"templates/{number}.mako", "% if")
        world.write(f"sites/garden/own{number}.mako", "<%include file='gone.mako'/>" * 2)
    faults = world.faults()
    assert len(faults) == 10
    assert {fault.partition(" ")[0] for fault in faults} == {
        *(f"templates/{number}.mako:1" for number in range(5)),
        *(f"sites/garden/own{number}.mako:1" for number in range(5)),
    }


def test_a_folder_and_a_link_in_the_place_of_a_template_are_named(world: World, tmp_path: Path) -> None:
    (world.root / "sites/garden/layout.mako").mkdir()
    (tmp_path / "outside.mako").write_text("secret")
    (world.root / "sites/garden/page.mako").symlink_to(tmp_path / "outside.mako")
    folder, link = world.faults()
    assert folder == "sites/garden/layout.mako: it is a folder with the name of a template"
    assert link.startswith("sites/garden/page.mako: the template sites/garden/page.mako is not used: it lies outside")


# The check


def check(sites: ContentSites, host: str | None = None) -> list[str]:
    found: list[Finding] = multisite.check.run(sites.app, host, metadata=[])
    return [str(each) for each in found if each.kind in {"template", "check-failed"}]


def test_the_reference_application_and_its_demo_sites_have_no_faults(sqlite_sites: ContentSites) -> None:
    sites = Path(sqlite_sites.settings["multisite.sites_dir"])
    for host, demo in ((GARDEN, "kitchen.localhost"), (STERNWARTE, "sternwarte.localhost")):
        shutil.copytree(ROOT / "sites" / demo, sites / host, dirs_exist_ok=True)
    assert check(sqlite_sites) == []


def test_the_check_names_file_line_and_site_and_looks_at_one_site_if_told(sqlite_sites: ContentSites) -> None:
    sites = Path(sqlite_sites.settings["multisite.sites_dir"])
    theme = Path(sqlite_sites.settings["multisite.templates_dir"], "themes", "dark")
    theme.mkdir(parents=True)
    set_theme(sqlite_sites.engine, STERNWARTE, "dark", settings=parse_settings(sqlite_sites.settings))
    (sites / GARDEN / "layout.mako").write_text("1\n% if", "utf-8")
    (theme / "parts.mako").write_text("\n\n${1 +}", "utf-8")
    garden = f"fault template {sites}/{GARDEN}/layout.mako, line 2: "
    dark = f"fault template {theme}/parts.mako, line 3: "
    first, second = check(sqlite_sites)
    assert (first.startswith(dark), second.startswith(garden)) == (True, True)
    assert [line.startswith(garden) for line in check(sqlite_sites, GARDEN)] == [True]
    assert [line.startswith(dark) for line in check(sqlite_sites, STERNWARTE)] == [True]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_an_unreadable_template_is_named(world: World) -> None:
    file = world.write("sites/garden/layout.mako", "${1}")
    file.chmod(0)
    for path in (world.root, *world.root.parents[:-2]):
        path.chmod(path.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        faults = world.faults()
    finally:
        os.seteuid(0)
    assert faults == ["sites/garden/layout.mako: permission denied"]


def test_sites_without_a_folder_stand_for_each_other(tmp_path: Path) -> None:
    """`multisite check` looks at one of them for each theme, and finds the same."""
    world, (garden, kitchen) = World(tmp_path), SITES
    world.write("sites/garden/page.mako", "${broken")
    world.write("sites/kitchen/notes.txt", "no template")
    world.write("templates/page.mako", '<%include file="missing.mako"/>')
    world.write("templates/themes/dark/page.mako", '<%inherit file="absent.mako"/>')
    templates = SiteTemplates(world.root / "sites", world.root / "templates")
    plain = [Site(number, f"{number}.example", "", f"none-{number}") for number in range(3, 6)]
    dark = [Site(number, f"{number}.example", "", f"none-{number}", theme="dark") for number in range(6, 9)]
    mixed = [plain[0], garden, dark[0], plain[1], kitchen, *dark[1:], plain[2]]

    def checked(sites: list[Site], folder: str = "sites") -> list[Site]:
        sources = [TemplateSource(site.id, site.folder, site.theme) for site in sites]
        by_id = {site.id: site for site in sites}
        return [by_id[site_id] for site_id in sites_to_check(sources, world.root / folder)]

    for sites in (mixed, mixed[::-1], [*dark, *plain], [kitchen, *plain]):
        chosen = checked(sites)
        assert list(lint(templates, chosen)) == list(lint(templates, sites)) != []
        assert len([site for site in chosen if site in dark]) <= 1
    assert checked(mixed) == [plain[0], garden, dark[0], kitchen]
    assert checked(plain, "nowhere") == plain[:1]
