"""The commands for templates: themes, `which`, reloading and compiling."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_folder import MULTISITE, Folder
from paths import ROOT

from multisite.directory import Directory, engine_from_url


@pytest.fixture
def folder(tmp_path: Path, sqlite_database_url: str) -> Folder:
    """Two sites, one with a layout of its own, over shared templates."""
    made = Folder(tmp_path, sqlite_database_url)
    write(made, "templates/layout.mako", "shared ${next.body()}")
    write(made, "templates/page.mako", "<%inherit file='layout.mako'/>page")
    for arguments in (["migrate"], ["add-site", "garden.example"], ["add-site", "kitchen.example"]):
        assert made.invoke(*arguments).exit_code == 0
    (made.path / "sites/kitchen.example/layout.mako").unlink()
    return made


def write(folder: Folder, path: str, text: str) -> Path:
    file = folder.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def done(folder: Folder, *arguments: str) -> str:
    result = folder.invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_theme_is_created_set_shown_and_cleared(folder: Folder) -> None:
    place = folder.path / "templates/themes/dusk"
    assert done(folder, "new-theme", "dusk").splitlines() == [
        "Created the theme dusk.",
        f"Edit its layout in {place}",
        "Use it for a site: multisite set-theme HOST dusk",
    ]
    assert (place / "layout.mako").is_file()
    said = done(folder, "set-theme", "KITCHEN.example", "dusk")
    assert said == "kitchen.example now has the theme dusk. Running servers use it within 1 second.\n"
    assert f"  theme     {place}" in done(folder, "show-site", "kitchen.example").splitlines()
    assert json.loads(done(folder, "show-site", "kitchen.example", "--json"))["theme"] == "dusk"
    assert "kitchen.example now has no theme." in done(folder, "set-theme", "kitchen.example", "--none")
    assert json.loads(done(folder, "set-theme", "kitchen.example", "--none", "--json"))["theme"] is None
    assert "  theme " not in done(folder, "show-site", "kitchen.example")
    assert json.loads(done(folder, "new-theme", "dawn", "--json"))["path"] == str(place.with_name("dawn"))
    done(folder, "add-site", "fourth.example", "--theme", "dawn")
    assert json.loads(done(folder, "show-site", "fourth.example", "--json"))["theme"] == "dawn"
    assert not (folder.path / "sites/fourth.example/layout.mako").exists()


def test_files_that_override_those_of_the_theme_are_listed(folder: Folder) -> None:
    """The layout that `add-site` copies into a site's folder overrides that of any theme."""
    done(folder, "new-theme", "dusk")
    for path in ("page.mako", "other.mako", "static/style.css", "README.txt"):
        write(folder, f"templates/themes/dusk/{path}", "the theme's")
    own = folder.path / "sites/garden.example"
    write(folder, "sites/garden.example/page.mako", "<%inherit file='parent:page.mako'/>")
    for path in ("static/style.css", "README.txt"):
        write(folder, f"sites/garden.example/{path}", "the site's")
    said = done(folder, "set-theme", "garden.example", "dusk").splitlines()
    first = (
        "garden.example now has the theme dusk. Running servers use it within 1 second, except for files that the site"
    )
    remove = "overrides the theme's file of that name: remove it"
    assert said == [
        f"{first} overrides.",
        f'{own}/layout.mako {remove}, or let it inherit from "parent:layout.mako".',
        f"{own}/static/style.css {remove}.",
        "Or rename them all: multisite set-theme garden.example dusk --set-aside",
    ]
    assert "hides" not in done(folder, "set-theme", "garden.example", "--none")
    write(folder, "sites/new.example/layout.mako", "there before")
    assert "overrides the theme's file" in done(folder, "add-site", "new.example", "--theme", "dusk")
    for number in range(12):
        for place in ("templates/themes/dusk", "sites/new.example"):
            write(folder, f"{place}/static/{number}.css", "")
    assert done(folder, "set-theme", "new.example", "dusk").splitlines()[-2:] == [
        "3 more files override those of the theme.",
        "Or rename them all: multisite set-theme new.example dusk --set-aside",
    ]


def test_errors_of_themes_are_one_line(folder: Folder) -> None:
    assert folder.fails("set-theme", "kitchen.example", "dusk").endswith("create it: multisite new-theme dusk")
    assert "no site is known as 'nowhere.example'" in folder.fails("set-theme", "nowhere.example", "--none")
    assert "create it: multisite new-theme dusk" in folder.fails("add-site", "fifth.example", "--theme", "dusk")
    assert "is not a valid theme name" in folder.fails("new-theme", "../dusk")
    done(folder, "new-theme", "dusk")
    assert folder.fails("new-theme", "dusk").startswith("the theme 'dusk' already exists")
    for arguments in (["set-theme", "kitchen.example"], ["set-theme", "kitchen.example", "dusk", "--none"]):
        assert folder.invoke(*arguments).exit_code == 2


def test_which_shows_the_layers_and_the_winner(folder: Folder) -> None:
    done(folder, "new-theme", "dusk")
    done(folder, "set-theme", "garden.example", "dusk")
    site, theme, shared = (
        folder.path / f"{place}/layout.mako" for place in ("sites/garden.example", "templates/themes/dusk", "templates")
    )
    assert done(folder, "which", "garden.example", "layout.mako").splitlines() == [
        f"* site     {site}",
        f"  theme    {theme}",
        f"  shared   {shared}",
    ]
    site.unlink()
    site.symlink_to("/etc/hostname")
    theme.unlink()
    found = json.loads(done(folder, "which", "garden.example", "/layout.mako", "--json"))
    assert (found["host"], found["name"], found["winner"]) == ("garden.example", "/layout.mako", str(shared))
    assert [layer["layer"] for layer in found["layers"]] == ["site", "theme", "shared"]
    refused, *others = [layer["state"] for layer in found["layers"]]
    assert "is not used: it lies outside of" in refused
    assert others == ["has none", "has it"]
    # In another place the package's own file is the last layer.
    lines = done(folder, "which", "kitchen.example", "multisite:content/templates/page.mako").splitlines()
    assert lines[0].endswith("sites/kitchen.example/page.mako (has none)")
    assert lines[1] == f"* shared   {folder.path / 'templates/page.mako'}"
    assert lines[2].startswith("  package  ")


def test_which_reports_a_missing_template_in_one_line(folder: Folder) -> None:
    message = folder.fails("which", "garden.example", "missing.mako")
    assert message.startswith("no layer of garden.example has a template 'missing.mako'; looked for ")
    assert str(folder.path / "templates/missing.mako") in message
    assert "it leads out of its root" in folder.fails("which", "garden.example", "../layout.mako")
    assert "multisite list-sites" in folder.fails("which", "nowhere.example", "layout.mako")
    assert "only names in a template have a parent" in folder.fails("which", "garden.example", "parent:a.mako")


def test_reload_templates_raises_the_generation_that_running_servers_see(folder: Folder) -> None:
    engine = engine_from_url(folder.database_url)
    directory = Directory(engine, refresh_seconds=0)
    said = done(folder, "reload-templates")
    assert said == "Running servers reload the templates of all sites within 1 second.\n"
    said = done(folder, "reload-templates", "garden.example")
    assert said == "Running servers reload the templates of garden.example within 1 second.\n"
    generations = [directory.resolve(host) for host in ("garden.example", "kitchen.example")]
    assert [site and site.template_generation for site in generations] == [2, 1]
    assert directory.template_generation() == 1
    assert "multisite list-sites" in folder.fails("reload-templates", "nowhere.example")
    engine.dispose()


def test_compile_templates_compiles_all_and_lists_failures_at_the_end(folder: Folder) -> None:
    assert folder.fails("compile-templates").startswith("no folder for compiled templates: set mako.module_directory")
    folder.write(app="mako.module_directory = %(here)s/var/templates")
    done(folder, "new-theme", "dusk")
    compiled = folder.path / "var/templates"
    # Two shared files, one of the theme, and the layout that the garden got when it was made.
    # And those of the editor.
    count = 4 + len(list((ROOT / "multisite/content").glob("**/templates/**/*.mako")))
    assert done(folder, "compile-templates") == f"Compiled {count} templates into {compiled}.\n"
    assert len(list(compiled.glob("*.py"))) == count
    times = {path: path.stat().st_mtime_ns for path in compiled.glob("*.py")}
    assert done(folder, "compile-templates") == f"Compiled {count} templates into {compiled}.\n"
    assert {path: path.stat().st_mtime_ns for path in compiled.glob("*.py")} == times
    unfinished = write(folder, "sites/kitchen.example/a.mako", "line 1\n% if x:\n")
    write(folder, "templates/themes/dusk/b.mako", "<%! import no_such_module %>")
    write(folder, "templates/z.mako", "fine")
    result = folder.invoke("compile-templates")
    assert (result.exit_code, result.stdout) == (
        1,
        f"Compiled {count + 1} templates into {compiled}. 2 could not be compiled.\n",
    )
    theme, site = result.stderr.splitlines()
    assert theme == f"{folder.path / 'templates/themes/dusk/b.mako'}: No module named 'no_such_module'"
    assert site.startswith(f"{unfinished}: ")
    assert "line: 2" in site


def test_compile_templates_prunes_unused_compiled_templates(folder: Folder) -> None:
    folder.write(app="mako.module_directory = %(here)s/var/templates")
    page = write(folder, "templates/page.mako", "old")
    done(folder, "compile-templates")
    done(folder, "compile-templates")  # Python keeps what it reads.
    compiled = folder.path / "var/templates"
    before = set(compiled.glob("*.py"))
    mine = [compiled / name for name in ("mine.py", f"{'a' * 32}.txt")]
    for file in mine:
        file.touch()
    page.write_text("new")
    assert "Removed" not in done(folder, "compile-templates"), "nobody has asked for it"
    assert done(folder, "compile-templates", "--prune").endswith("Removed 1 unused compiled template.\n")
    (old,) = before - set(compiled.glob("*.py"))
    assert len(list(compiled.glob("*.py"))) == len(before) + 1, "the new one, and the file that is none"
    assert not list((compiled / "__pycache__").glob(f"{old.stem}.*"))
    assert all(file.exists() for file in mine)
    assert done(folder, "compile-templates", "--prune").endswith("Removed 0 unused compiled templates.\n")


def test_compile_templates_shows_progress_on_a_terminal(folder: Folder) -> None:
    folder.write(app="mako.module_directory = %(here)s/var/templates")
    terminal, end = os.openpty()
    subprocess.run(
        [sys.executable, "-W", "ignore", *MULTISITE, "compile-templates"],
        cwd=folder.path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=end,
        check=True,
    )
    os.close(end)
    assert b"1 templates so far, now at " in os.read(terminal, 1000)
    os.close(terminal)


# Extensions that an application adds


APPLICATION = """
from pyramid.config import Configurator


def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.include("multisite")
        config.add_mako_renderer(".tmpl")
        config.add_mako_renderer(".html")
        config.add_mako_renderer(".txt", settings_prefix="text.")
        config.add_settings({"text.default_filters": "str", "text.directories": settings["text_folder"]})
        config.add_route("page", "/")
        config.add_view(lambda request: {}, route_name="page", renderer="page.tmpl")
        return config.make_wsgi_app()
"""


@pytest.fixture
def extended(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """An application that renders `.tmpl`, `.html` and, with settings of its own, `.txt`."""
    name = f"extended_{os.getpid()}_{folder.path.name}"
    write(folder, f"{name}.py", APPLICATION)
    monkeypatch.syspath_prepend(str(folder.path))
    folder.write(app="mako.module_directory = %(here)s/var/templates\ntext_folder = %(here)s/texts")
    ini = folder.path / "development.ini"
    ini.write_text(re.sub("^use = .*$", f"use = call:{name}:main", ini.read_text(), count=1, flags=re.MULTILINE))
    return folder


def test_templates_with_an_added_extension_are_checked(extended: Folder) -> None:
    for path in ("templates/base.tmpl", "sites/garden.example/own.html", "texts/mail.txt"):
        write(extended, path, "% if x:\nbroken\n")
    write(extended, "templates/page.tmpl", "<%inherit file='nowhere.tmpl'/>")
    for path in ("templates/static/hello.html", "sites/garden.example/static/hello.html"):
        write(extended, path, "% if this is a static file:\n")
    result = extended.invoke("check")
    found = [line for line in result.stdout.splitlines() if "template" in line]
    assert [sum(name in line for line in found) for name in ("base.tmpl", "own.html", "mail.txt", "nowhere.tmpl")] == [
        1, 1, 1, 1
    ], result.output  # fmt: skip
    assert "static" not in result.stdout


def test_templates_with_an_added_extension_are_precompiled(extended: Folder) -> None:
    write(extended, "templates/page.tmpl", "<%inherit file='layout.mako'/>page")
    write(extended, "sites/garden.example/own.html", "own")
    write(extended, "texts/mail.txt", "mail")
    write(extended, "templates/static/hello.html", "% if this is a static file:\n")
    compiled = extended.path / "var/templates"
    # The two shared ones and the garden's layout as ever, page.tmpl and own.html.
    assert done(extended, "compile-templates") == f"Compiled 5 templates into {compiled}.\n"
    ini = extended.path / "development.ini"
    ini.write_text(ini.read_text().replace("text_folder", "text.module_directory = %(here)s/var/texts\ntext_folder"))
    texts = extended.path / "var/texts"
    assert done(extended, "compile-templates", "--prune") == (
        f"Compiled 6 templates into {compiled} and {texts}.\nRemoved 0 unused compiled templates.\n"
    )
    assert (len(list(compiled.glob("*.py"))), len(list(texts.glob("*.py")))) == (5, 1)


def test_which_asks_the_templates_of_the_extension(extended: Folder) -> None:
    mail = write(extended, "texts/mail.txt", "mail")
    assert f"* shared2  {mail}" in done(extended, "which", "garden.example", "mail.txt").splitlines()
    assert "no layer" in extended.fails("which", "garden.example", "mail.tmpl")
