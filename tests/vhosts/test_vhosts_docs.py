"""The example of docs/vhosts.md works: it is written to files, served by waitress, and requested as on the page."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import paste.deploy
import pytest
from click.testing import CliRunner
from paths import ROOT
from snippets import Command, commands_in, headings, snippets
from waitress_server import serving

from multisite.alembic.migrate import upgrade_own
from multisite.cli import main
from multisite.content.models import Base
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.directory import engine_from_url
from multisite.sites.creation import add_site
from multisite.vhosts.options import PREFIX, VhostOptions

PAGE = ROOT / "docs" / "vhosts.md"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder with the parts of a clone that the example needs: development.ini, templates, and two sites."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "templates", folder / "templates")
    shutil.copyfile(ROOT / "development.ini", folder / "development.ini")
    (folder / "var").mkdir()
    engine = engine_from_url(f"sqlite:///{folder / 'var' / 'multisite.db'}")
    upgrade_own(engine)
    Base.metadata.create_all(engine)
    folders = {f"multisite.{name}_dir": folder / name for name in ("sites", "templates")}
    for host in ("garden.localhost", "kitchen.localhost"):
        add_site(engine, host, settings=parse_settings(folders))
    engine.dispose()
    for snippet in snippets(PAGE, "python", "ini"):
        if named := re.match(r"# (\w+\.(?:py|ini))\n", snippet.text):
            (folder / named[1]).write_text(snippet.text, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        importlib.invalidate_caches()
        yield folder
        for name in ("hello", "files"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def app(clone: Path) -> Iterator[Any]:
    app = paste.deploy.loadapp(f"config:{clone / 'portal.ini'}")
    yield app
    directory = app.applications["sites"].get().registry[DIRECTORY]
    directory.deactivate()
    directory.engine.dispose()


def curl(address: tuple[str, int], command: str) -> str:
    """Return what `curl` would print; supports the options that the page uses."""
    words = shlex.split(command)
    host = words[words.index("-H") + 1].removeprefix("Host: ")
    connection = HTTPConnection(*address, timeout=30)
    path = words[-1].removeprefix("http://127.0.0.1:6543")
    connection.request("HEAD" if "-I" in words else "GET", path, headers={"Host": host})
    answer = connection.getresponse()
    text = answer.read().decode()
    if "-I" in words:
        text = f"HTTP/1.1 {answer.status} {answer.reason}\n"
        text += "".join(f"{name}: {value}\n" for name, value in answer.getheaders())
    connection.close()
    return text


def test_the_example_serves_what_the_page_says(app: Any, clone: Path) -> None:
    asked = 0
    with serving(app) as address:
        for command in commands():
            if command.text.startswith("curl "):
                printed = curl(address, command.text)
            elif "--find" in command.text:
                words = shlex.split(command.text)[1:]
                done = CliRunner().invoke(main, [words[0], str(clone / words[1]), *words[2:]])
                assert done.exception is None, done.exception
                printed = done.output
            else:
                continue
            assert command.prints(printed), f"{command.text} prints\n{printed}"
            asked += 1
    assert asked >= 6
    assert app.applications["sites"].get().registry.settings["mako.module_directory"] == str(
        clone / "var" / "vhosts" / "sites" / "mako"
    )


def commands() -> list[Command]:
    return [command for snippet in snippets(PAGE, "console") for command in commands_in(snippet)]


def test_the_table_is_printed_as_documented(clone: Path) -> None:
    (command,) = [each for each in commands() if each.text == "multisite vhosts portal.ini"]
    done = subprocess.run(
        [Path(sys.executable).parent / "multisite", "vhosts", "portal.ini"],
        cwd=clone, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(clone)},
    )  # fmt: skip
    assert command.prints(done.stdout), done.stdout
    assert done.returncode == 0, done.stderr


def test_every_setting_has_a_heading() -> None:
    known = {PREFIX + field.name for field in dataclasses.fields(VhostOptions)}
    assert {heading for heading in headings(PAGE) if heading.startswith(PREFIX)} == known


def test_every_block_of_the_page_is_tested_here_or_in_another_test_of_vhosts() -> None:
    tested = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests" / "vhosts").glob("test_vhosts*.py"))
    for snippet in snippets(PAGE, "python", "ini"):
        if re.match(r"# \w+\.(?:py|ini)\n", snippet.text):
            continue
        names = re.findall(r"multisite\.[\w.]+[A-Z]\w+|using_application|multisite:shared", snippet.text)
        assert names, f"{snippet} shows nothing to look for"
        assert all(name in tested for name in names), snippet
    assert {snippet.language for snippet in snippets(PAGE)} == {"python", "ini", "console", "text"}
