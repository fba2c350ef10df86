"""dev.py, run in a fresh copy of the clone by a Python with pip and without ensurepip, as on Debian."""

from __future__ import annotations

import ast
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from paths import ROOT

pytestmark = pytest.mark.slow

BASE = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
"""The Python that created our own environment."""

PARTS = ["dev.py", "setup.py", "pyproject.toml", "LICENSE", "README.md", "development.ini", ".gitignore"]
FOLDERS = ["multisite", "migrations", "templates", "sites"]
HOSTS = ["garden.localhost", "kitchen.localhost", "sternwarte.localhost", "workshop.localhost"]

SMALL_TESTS = """\
import os
import pytest

def test_passes():
    pass

@pytest.mark.skipif("MULTISITE_SOAK" not in os.environ, reason="only with MULTISITE_SOAK=1")
def test_long():
    pass

def test_fails():
    raise AssertionError
"""

NO_NETWORK = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_RETRIES": "1",
}
"""Keep pip from the network: an index on a port on which nothing listens."""


ENTRIES = 3
"""How many entries of each demo site are copied: tests/system/test_docs.py imports all of them."""


def copy_clone(folder: Path) -> Path:
    """Copy the parts of this clone that dev.py needs to `folder`, with some entries of each site."""
    folder.mkdir()
    for name in PARTS:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder)
    for name in FOLDERS:
        if (ROOT / name).exists():
            # With the compiled modules, which each clone would compile again; without those that are being written.
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc.*"))
    for content in folder.glob("sites/*/content"):
        for path in sorted(content.glob("*.md"))[ENTRIES:]:
            path.unlink()
    return folder


def make_python(folder: Path, *missing: str) -> Path:
    """Create a Python like the one running this, without the modules named in `missing`, and return its path.

    The binary is copied, and everything else is links to the original's files: a Python looks for its library beside
    itself.
    """
    library = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    library.mkdir(parents=True)
    for path in Path(sysconfig.get_path("stdlib")).iterdir():
        if path.name not in missing:
            (library / path.name).symlink_to(path)
    packages = Path(sysconfig.get_path("stdlib")).parent / "python3"  # where Debian installs pip
    if packages.exists() and "site-packages" not in missing:
        (folder / "lib" / "python3").symlink_to(packages)
    (folder / "bin").mkdir()
    python = folder / "bin" / "python3"
    shutil.copy(BASE, python)
    return python


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python with pip and without ensurepip."""
    return make_python(tmp_path_factory.mktemp("python"), "ensurepip")


def environment(**more: str) -> dict[str, str]:
    """Return an environment without variables of this test's Python, extended by `more`."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MULTISITE_"))} | more


def run_dev(python: Path, folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run dev.py in `folder` until it exits."""
    return subprocess.run(
        [str(python), "dev.py", *arguments],
        cwd=folder,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


NOT_COMPILED = {"PIP_NO_COMPILE": "no"}
"""Keep pip from compiling all modules that it installs, most of which no test imports. pip reads this as `compile`."""


LISTENS_TO_CTRL_C = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Starts a program like a terminal: programs that a shell runs in the background, and their children, ignore Ctrl-C."""


AS_A_USER = "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1); os.execv(sys.argv[1], sys.argv[1:])"
"""Starts a program to which permissions apply even as root: without CAP_DAC_OVERRIDE (see capabilities(7))."""


@contextmanager
def serving(
    python: Path, folder: Path, port: int, *, until: str = "To stop", **more: str
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run `dev.py serve` in its own process group, like a terminal; yield it and its lines up to one with `until`."""
    with subprocess.Popen(
        [sys.executable, "-c", LISTENS_TO_CTRL_C, str(python), "dev.py", "serve", "--port", str(port)],
        cwd=folder,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    ) as program:
        try:
            assert program.stdout is not None
            lines = []
            for line in program.stdout:
                lines.append(line.rstrip("\n"))
                if line.startswith((until, "To stop")):
                    break
            else:
                raise AssertionError("\n".join(lines))
            yield program, lines
        finally:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)


def get(port: int, host: str) -> tuple[int, str]:
    """Return status and body of the home page of `host`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/", headers={"Host": f"{host}:{port}"})
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8")
    finally:
        connection.close()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the clone in which the first run of dev.py was killed during the installation."""
    folder = copy_clone(tmp_path_factory.mktemp("dev") / "clone")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to("nowhere")
    (folder / ".venv" / "dev.json").write_text('{"state": "installing"}', "utf-8")
    return folder


@pytest.fixture(scope="module")
def first_run(python: Path, clone: Path) -> list[str]:
    """Return the output of the first `dev.py serve` in the clone, stopped with Ctrl-C once the sites have responded."""
    port = free_port()
    with serving(python, clone, port, **NOT_COMPILED) as (program, lines):
        for host in HOSTS:
            status, body = get(port, host)
            assert status == 200
            assert "<html" in body
        os.killpg(program.pid, signal.SIGINT)
        rest, _ = program.communicate(timeout=60)
        assert program.returncode == 0
        assert "Traceback" not in rest
    return lines


def test_the_standard_venv_does_not_work_here(python: Path, tmp_path: Path) -> None:
    """Negative control: with this Python, `python3 -m venv` fails."""
    command = [str(python), "-m", "venv", str(tmp_path / "env")]
    assert subprocess.run(command, env=environment(), capture_output=True, check=False).returncode != 0


def test_only_the_standard_library_is_imported() -> None:
    tree = ast.parse((ROOT / "dev.py").read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)


def test_an_old_python_gets_a_one_line_error() -> None:
    ast.parse((ROOT / "dev.py").read_text("utf-8"), feature_version=(3, 8))
    script = "import runpy, sys; sys.version_info = (3, 8, 1); runpy.run_path('dev.py', run_name='__main__')"
    done = subprocess.run([BASE, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer, and this is 3.8" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_lists_every_verb_and_creates_nothing(python: Path, tmp_path: Path) -> None:
    folder = copy_clone(tmp_path / "clone")
    done = run_dev(python, folder, "--help")
    assert done.returncode == 0
    for verb in ("serve", "test", "lint", "docs", "bench", "architecture", "screenshots"):
        assert f"python3 dev.py {verb}" in done.stdout
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize(
    "arguments", [[], ["sreve"], ["serve", "--prot", "1"], ["serve", "--port", "0"], ["serve", "--port", "65536"]]
)
def test_wrong_usage_exits_with_2(python: Path, tmp_path: Path, arguments: list[str]) -> None:
    folder = copy_clone(tmp_path / "clone")
    assert run_dev(python, folder, *arguments).returncode == 2
    assert not (folder / ".venv").exists()


def test_a_port_in_use_is_reported_before_anything_is_installed(python: Path, tmp_path: Path) -> None:
    folder = copy_clone(tmp_path / "clone")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run_dev(python, folder, "serve", "--port", str(port))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr
    assert not (folder / ".venv").exists()


def test_without_a_network_the_installation_fails_with_one_line(python: Path, tmp_path: Path) -> None:
    folder = copy_clone(tmp_path / "clone")
    done = run_dev(python, folder, "serve", "--port", str(free_port()), **NO_NETWORK)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "dev.py: the package index is unreachable: check the network, then run the same command again"
    ]
    assert json.loads((folder / ".venv" / "dev.json").read_text("utf-8"))["state"] == "installing"


def test_without_pip_the_error_is_one_line(tmp_path: Path) -> None:
    folder = copy_clone(tmp_path / "clone")
    bare = make_python(tmp_path / "bare", "ensurepip", "site-packages")
    done = run_dev(bare, folder, "docs")
    assert done.returncode == 1
    assert "apt-get install python3-pip" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("note", [{"state": "installing"}, {"state": "ready"}], ids=["incomplete", "outdated"])
def test_an_environment_of_another_user_is_reported(python: Path, tmp_path: Path, note: dict[str, str]) -> None:
    folder = copy_clone(tmp_path / "clone")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "dev.json").write_text(json.dumps(note), "utf-8")
    for path in (folder / ".venv" / "dev.json", folder / ".venv" / "bin", folder / ".venv"):
        path.chmod(0o555)
        if os.getuid() == 0:
            os.chown(path, 65534, 65534)
    command = [sys.executable, "-c", AS_A_USER, str(python), "dev.py", "docs"]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    (folder / ".venv").chmod(0o755)
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert str(folder / ".venv") in done.stderr
    assert f"belongs to {(folder / '.venv').owner()}. Either remove it as that user" in done.stderr


def test_the_first_run_replaces_an_incomplete_environment(first_run: list[str]) -> None:
    text = "\n".join(first_run)
    assert "Creating .venv again" in text
    assert "Installing multisite" in text
    assert "pkg_resources" not in text
    for host in HOSTS:
        assert f"Adding the site {host}" in text
        assert f"http://{host}:" in text
    assert "curl -H 'Host: garden.localhost'" in text


class SecondRun(NamedTuple):
    """What `dev.py serve` did when everything was installed, without a network, until it was told to end."""

    lines: list[str]
    """Its first lines."""
    port: int
    installed_nothing: bool
    statuses: set[int]
    """Of the first requests, which came at the same time."""
    printed: dict[str, str]
    """The output of commands while the server ran."""
    code: int
    rest: str
    """What it printed after its first lines."""
    listens: bool
    """Whether its port still accepted connections afterwards."""


def multisite(clone: Path, command: str) -> str:
    """Run a command of multisite in the clone, and return its output."""
    words = [str(clone / ".venv" / "bin" / "multisite"), *command.split()]
    return subprocess.run(words, cwd=clone, env=environment(), capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def second_run(python: Path, clone: Path, first_run: list[str]) -> SecondRun:
    log = clone / ".venv" / "install.log"
    before = log.stat()
    port = free_port()
    with serving(python, clone, port, **NO_NETWORK) as (program, lines):
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(get, [port] * 24, ["garden.localhost", "kitchen.localhost"] * 12))
        commands = [f"{name} fifth.localhost" for name in ("add-site", "show-site", "maintain-site")]
        printed = {command: multisite(clone, command) for command in commands}
        program.terminate()
        rest, _ = program.communicate(timeout=60)
    with socket.socket() as probe:
        listens = probe.connect_ex(("127.0.0.1", port)) == 0
    statuses = {status for status, _ in answers}
    return SecondRun(lines, port, log.stat() == before, statuses, printed, program.returncode, rest, listens)


def test_the_second_run_installs_and_imports_nothing(second_run: SecondRun) -> None:
    assert next(line for line in second_run.lines if line) == "Starting the server"
    assert second_run.installed_nothing


def test_concurrent_first_requests_cause_no_warning(second_run: SecondRun) -> None:
    """A browser opens six connections for each host, and waitress has four threads."""
    assert second_run.statuses == {200}
    assert "WARN" not in second_run.rest


def test_commands_print_the_port_of_the_running_server(second_run: SecondRun, clone: Path) -> None:
    url = f"http://fifth.localhost:{second_run.port}/"
    assert f"Open {url}\n" in second_run.printed["add-site fifth.localhost"]
    assert f"{url}\n" in second_run.printed["show-site fifth.localhost"]
    link = re.search(r"http://fifth\.localhost:\d+/\?\S+", second_run.printed["maintain-site fifth.localhost"])
    assert link is not None
    assert link[0].startswith(f"{url}?")
    assert "http://fifth.localhost:6543/\n" in multisite(clone, "show-site fifth.localhost")


def test_stopping_dev_py_stops_the_server(second_run: SecondRun) -> None:
    assert (second_run.code, second_run.listens) == (143, False)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.usefixtures("second_run")
def test_files_created_in_a_clone_are_ignored_by_git(clone: Path, tmp_path: Path) -> None:
    def git(*words: str) -> str:
        command = ["git", f"--git-dir={tmp_path / 'git'}", f"--work-tree={clone}", *words]
        return subprocess.run(command, cwd=clone, capture_output=True, text=True, check=True).stdout

    git("init", "--quiet")
    git("add", ".")
    tracked = git("ls-files").splitlines()
    for host in HOSTS:
        assert any(name.startswith(f"sites/{host}/content/") for name in tracked)
    assert [name for name in tracked if name.startswith((".venv", "var", "sites/fifth.localhost"))] == []
    for command in ("add-site sixth.localhost", "remove-site fifth.localhost --yes"):
        multisite(clone, command)
    assert (clone / "sites" / "sixth.localhost").is_dir()
    assert (clone / "sites" / ".trash").is_dir()
    assert git("status", "--porcelain", "--untracked-files=all").replace("A  ", "").splitlines() == tracked
    (clone / "sites" / "garden.localhost" / "new.mako").write_text("A demo site's own file is shown.", "utf-8")
    assert "?? sites/garden.localhost/new.mako" in git("status", "--porcelain")
    (clone / "sites" / "garden.localhost" / "new.mako").unlink()


@pytest.mark.usefixtures("first_run")
def test_changed_content_and_a_removed_database_are_noticed(python: Path, clone: Path) -> None:
    entry = next((clone / "sites" / "kitchen.localhost" / "content").glob("*.md"))
    entry.write_text(entry.read_text("utf-8") + "\nOne more sentence.\n", "utf-8")
    with serving(python, clone, free_port(), until="Starting the server") as (_, lines):
        assert [line for line in lines if line.startswith("Importing")] == [
            "Importing the content of kitchen.localhost"
        ]
    for database in (clone / "var").glob("*.db*"):
        database.unlink()
    with serving(python, clone, free_port(), until="Adding the site garden.localhost") as (_, lines):
        assert "Adding the site garden.localhost" in lines


@pytest.mark.usefixtures("first_run")
def test_the_test_verb_passes_arguments_and_lists_skipped_tests(python: Path, clone: Path) -> None:
    (clone / "tests").mkdir()
    (clone / "tests" / "test_small.py").write_text(SMALL_TESTS, "utf-8")
    # The dependencies of the tests take half a minute to install, and are not needed here.
    setup = (clone / "setup.py").read_text("utf-8")
    setup, count = re.subn(r"^test = \[.*?^\]", 'test = ["pytest>=8.2", "pytest-xdist>=3.6"]', setup, flags=re.M | re.S)
    assert count == 1
    (clone / "setup.py").write_text(setup, "utf-8")
    done = run_dev(python, clone, "test", "-q", "--deselect", "tests/test_small.py::test_fails", **NOT_COMPILED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout
    last = done.stdout.splitlines()[-2:]
    assert last == ["Skipped tests: 1", "skipped: tests.test_small::test_long: only with MULTISITE_SOAK=1"]
    done = run_dev(python, clone, "test", "--soak", "-n", "0")
    assert done.returncode == 1  # the exit code of pytest if a test fails
    assert done.stdout.splitlines()[-1] == "Skipped tests: none"


def test_an_environment_with_the_former_distribution_is_replaced(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = tmp_path / "multisite.egg-info"
    former.mkdir()
    (tmp_path / ".venv").mkdir()
    stale = tmp_path / ".venv" / "stale"
    stale.touch()
    for name, value in {"FORMER_METADATA": former, "VENV": tmp_path / ".venv", "NOTE": tmp_path / "dev.json"}.items():
        monkeypatch.setattr(dev, name, value)
    installed = []
    monkeypatch.setattr(dev, "install", lambda extras, lock: installed.append(extras))
    for name in ("python_works", "environment_works"):
        monkeypatch.setattr(dev, name, lambda: True)
    dev.ensure_environment("test")
    assert (stale.exists(), former.exists(), installed) == (False, False, [["test"]])
    dev.ensure_environment("test")
    assert len(installed) == 1


@pytest.mark.parametrize(
    ("change", "is_the_same"),
    [("pass", True), ("sys.version = '3.11.99 (main) [GCC]'", False), ("sys._base_executable = chr(47)", False)],
)
def test_an_environment_of_another_python_is_replaced(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, is_the_same: bool
) -> None:
    """The same version from another path is another Python: Debian's 3.11.2 differs from pyenv's."""
    python = tmp_path / "python"
    pretend = f"import sys; {change}; exec(sys.argv[2])"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{pretend}" "$@"\n', "utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(dev, "PYTHON", python)
    assert dev.python_works() is is_the_same


def test_concurrent_first_runs_wait_for_each_other(dev: ModuleType) -> None:
    with dev.installation_lock() as lock:
        script = f"import fcntl; fcntl.flock(open({dev.__file__!r}, 'rb'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        assert lock is not None
        done = subprocess.run([BASE, "-c", script], capture_output=True, text=True, check=False)
    assert "BlockingIOError" in done.stderr


@pytest.mark.parametrize(
    ("operators", "made", "printed"),
    [
        ([], "add-operator", "http://console.localhost:80/login/x"),
        ([{"login": "demo", "has_password": False}], "reset-operator", "http://console.localhost:80/login/x"),
        ([{"login": "demo", "has_password": True}], None, "http://console.localhost:6543/"),
        ([{"login": "jane", "has_password": False}], None, "http://console.localhost:6543/"),
    ],
)
def test_the_log_in_of_the_console_is_printed(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, operators: list[object], made: str | None, printed: str
) -> None:
    calls, lines = [], []

    def multisite(*arguments: str) -> str:
        calls.append(arguments[0])
        found = operators if arguments[0] == "list-operators" else {"link": "http://console.localhost:80/login/x"}
        return json.dumps(found)

    monkeypatch.setattr(dev, "multisite", multisite)
    monkeypatch.setattr(dev, "say", lines.append)
    dev.print_console(6543)
    assert calls == ["list-operators", *([made] if made else [])]
    assert printed in lines[0]


def test_a_missing_or_invalid_report_lists_no_skipped_tests(dev: ModuleType, tmp_path: Path) -> None:
    assert dev.read_skips(tmp_path / "missing.xml") == []
    (tmp_path / "half.xml").write_text("<testsuites><testsu", "utf-8")
    assert dev.read_skips(tmp_path / "half.xml") == []
