"""The wheel works when it is built and installed into an empty environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from paths import ROOT

INI = """\
[app:main]
use = egg:pyramid-multisite
sqlalchemy.url = sqlite:///%(here)s/sites.db
multisite.sites_dir = %(here)s/sites
multisite.templates_dir = %(here)s/templates

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:6543
"""

NOT_OURS = shutil.ignore_patterns(".git", ".venv", "var", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")
"""Files of a working copy that no clone has."""


def run(*command: str | Path, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `command` without environment variables of this test's Python."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MULTISITE_"))}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == status, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def pip_for(python: Path) -> Sequence[str]:
    """Return a pip command for another environment: the pip of this Python, or of its base Python."""
    for candidate in (sys.executable, sys._base_executable):  # type: ignore[attr-defined]
        found = subprocess.run([candidate, "-m", "pip", "--version"], capture_output=True, check=False)
        if found.returncode == 0:
            return [candidate, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    raise AssertionError("neither this Python nor the one behind it has pip")


@dataclass(frozen=True)
class Installed:
    """An environment that contains only the wheel and its dependencies, and a working folder."""

    bin: Path
    folder: Path

    def run(self, command: str, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment in the working folder."""
        return run(self.bin / command, *arguments, cwd=self.folder, status=status)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the source distribution, and the wheel built from it."""
    source = tmp_path_factory.mktemp("source") / "multisite"
    shutil.copytree(ROOT, source, ignore=NOT_OURS)
    folder = tmp_path_factory.mktemp("distributions")
    # Not isolated, so that nothing is downloaded: the setuptools that Pyramid requires is installed and recent enough.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source, cwd=source)
    return folder


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> Path:
    """Return the path of the wheel."""
    (found,) = distributions.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin folder of an environment in which the wheel and the reference application are installed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt").create(folder)
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    # Of the modules of all dependencies, the tests import few: those are compiled then.
    run(*pip_for(commands / "python"), "install", "--quiet", "--no-compile", f"{wheel}[content]", cwd=folder)
    return commands


@pytest.fixture
def installed(environment: Path, tmp_path: Path) -> Installed:
    """Return the environment with a new folder that contains an ini file for the reference application."""
    (tmp_path / "app.ini").write_text(INI, "utf-8")
    return Installed(environment, tmp_path)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name.startswith("pyramid_multisite-")
    version = wheel.name.split("-")[1]
    assert {name.split("/")[0] for name in names} == {"multisite", f"pyramid_multisite-{version}.dist-info"}
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "multisite").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here - set(zipfile.ZipFile(wheel).namelist()) == set()
    assert "multisite/py.typed" in here
    assert [name for name in here if name.startswith("multisite/directory/migrations/versions/")]


def test_the_source_distribution_holds_what_a_clone_holds(distributions: Path) -> None:
    (archive,) = distributions.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    wanted = {
        "dev.py",
        "setup.py",
        "LICENSE",
        "CHANGES.md",
        "README.md",
        "development.ini",
        "tests/system/test_packaging.py",
    }
    assert wanted - names == set()


def test_help_imports_neither_pyramid_nor_sqlalchemy(installed: Installed) -> None:
    script = (
        "import sys\n"
        "from multisite.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    done = installed.run("python", "-c", script)
    assert "add-site" in done.stdout
    modules = set(json.loads(done.stderr.replace("'", '"')))
    assert modules & {"pyramid", "sqlalchemy", "alembic", "mako", "webob", "pkg_resources"} == set()
    assert "click" in modules  # Otherwise the list would prove nothing.


def test_help_names_the_commands(installed: Installed) -> None:
    done = installed.run("multisite", "--help")
    for command in ("migrate", "add-site", "list-sites", "show-site", "add-domain", "remove-domain", "import-entries"):
        assert command in done.stdout
    assert done.stderr == ""


def test_migrate_and_add_site_work_from_the_wheel(installed: Installed) -> None:
    for _ in range(2):
        assert installed.run("multisite", "-c", "app.ini", "migrate").stderr == ""
    added = installed.run("multisite", "-c", "app.ini", "add-site", "first.example", "--name", "The First")
    assert "first.example" in added.stdout
    assert added.stderr == ""
    sites = json.loads(installed.run("multisite", "-c", "app.ini", "list-sites", "--json").stdout)
    assert [(site["host"], site["name"]) for site in sites] == [("first.example", "The First")]
    assert (installed.folder / "sites" / sites[0]["folder"]).is_dir()


def test_a_bad_host_ends_with_one_line_and_no_row(installed: Installed) -> None:
    installed.run("multisite", "-c", "app.ini", "migrate")
    done = installed.run("multisite", "-c", "app.ini", "add-site", "a..b", status=1)
    assert len(done.stderr.splitlines()) == 1
    assert json.loads(installed.run("multisite", "-c", "app.ini", "list-sites", "--json").stdout) == []


def test_alembic_loads_our_plugin(installed: Installed) -> None:
    script = "import alembic.autogenerate\nfrom alembic.runtime import plugins\nprint(*plugins._all_plugins)"
    assert "alembic.autogenerate.multisite" in installed.run("python", "-c", script).stdout.split()
