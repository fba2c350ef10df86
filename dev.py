#!/usr/bin/env python3
"""Run, test and check multisite from a clone, with nothing but Python and pip.

    python3 dev.py serve    make .venv, fill the database with three demo sites, serve them
    python3 dev.py test     run the tests; arguments go to pytest
    python3 dev.py lint     ruff, mypy and import-linter
    python3 dev.py docs     build the documentation; a warning is an error
    python3 dev.py bench    run the benchmark; arguments go to it
    python3 dev.py architecture  draw docs/architecture.svg from the imports
    python3 dev.py screenshots   take the screenshots of the documentation from the demo sites

This file uses the standard library only. It makes a private environment in .venv and installs the project and what
it needs there, once: the next run finds its note in .venv/dev.json and starts at once. It works where
`python3 -m venv` does not, on a Debian without ensurepip, because it asks the system's pip to fill the environment.

Python older than 3.11 must still be able to read this file, to be told that it is too old.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "multisite needs Python 3.11 or newer, and this is {}.{} ({}): run dev.py with a newer one, "
        "such as python3.11 dev.py".format(sys.version_info[0], sys.version_info[1], sys.executable)
    )

import argparse
import configparser
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import venv
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
NOTE = VENV / "dev.json"
FORMER_METADATA = ROOT / "multisite.egg-info"
INSTALL_LOG = VENV / "install.log"
INI = ROOT / "development.ini"
VAR = ROOT / "var"
DEMO_NOTE = VAR / "demo.json"
SERVER_FILE = VAR / "server"
"""Where the server listens, for the commands of multisite: `multisite.server_file` in development.ini."""

DEMO_SITES = {
    "garden.localhost": ["--name", "The Slow Garden"],
    "kitchen.localhost": ["--name", "Kitchen Notes"],
    "sternwarte.localhost": ["--name", "Sternwarte am Hang", "--locale", "de", "--timezone", "Europe/Berlin"],
}
"""The sites that `serve` adds where they are missing, with the options given to `multisite add-site`."""

PKG_RESOURCES = "ignore:pkg_resources is deprecated as an API"
"""Pyramid imports pkg_resources, and setuptools says at that import that it will go. Nobody here can mend that."""

NETWORK_FAILURES = (
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "Max retries exceeded",
    "Network is unreachable",
    "Temporary failure in name resolution",
    "Connection reset",
    "ProxyError",
    "Read timed out",
)
"""What pip writes when it cannot reach the package index; anything else is a failure of another kind."""


class DevError(Exception):
    """Something that stops us, as one line for the person in front of the terminal."""


def say(text=""):
    """Print one line now: a person waits for it, and a pipe would hold it back."""
    print(text, flush=True)


def main(arguments=None):
    """Do what the command line says and return the exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    os.chdir(ROOT)
    # Ends as an error would, so that what we have started is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return options.run(options)
    except (DevError, OSError) as error:
        print(f"dev.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say()
        return 130


def parse(arguments):
    """Return the parsed options; `rest` holds the arguments that are meant for the program behind the verb."""
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def add(name, run, sentence, passes_on=False):
        verb = verbs.add_parser(name, help=sentence, description=sentence, allow_abbrev=False)
        verb.set_defaults(run=run, passes_on=passes_on)
        return verb

    add("serve", serve, "Serve the demo sites.").add_argument(
        "--port", type=port_number, help="the port, if not the one in development.ini"
    )
    add("test", test, "Run the tests; arguments unknown here go to pytest.", passes_on=True).add_argument(
        "--soak", action="store_true", help="run the long tests too"
    )
    add("lint", lint, "Check style, types and the layers of imports.")
    add("docs", docs, "Build the documentation into docs/_build/html.")
    add("bench", bench, "Run the benchmark; arguments unknown here go to it.", passes_on=True)
    add("architecture", architecture, "Draw docs/architecture.svg from the imports.")
    add("screenshots", screenshots, "Take the screenshots of the documentation from the demo sites.")
    options, options.rest = parser.parse_known_args(arguments)
    if options.rest and not options.passes_on:
        parser.error("unrecognized arguments: {}".format(" ".join(options.rest)))
    return options


def port_number(text):
    """Return `text` as a port; raise `ArgumentTypeError` if it is none."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port from 1 to 65535")
    return int(text)


# The private environment


def ensure_environment(*extras):
    """Make sure that .venv holds the project, editable, with `extras` and those it was given before."""
    with one_at_a_time() as lock:
        note = read_json(NOTE)
        wanted = {
            "state": "ready",
            "root": str(ROOT),  # The commands in .venv name it, so an environment that was moved is of no use.
            "python": identity_of_python(),
            "setup": digest_of(ROOT / "setup.py"),
            "extras": sorted({*extras, *note.get("extras", [])}),
        }
        if note == wanted and not FORMER_METADATA.exists() and environment_works():
            return
        refuse_foreign(VENV)
        # A note that says "installing" was left by a run that was killed: what it left behind may be half a package.
        # The distribution was called multisite once: if both are installed, alembic refuses the plugin of the second.
        if (
            note.get("state") == "installing"
            or note.get("root", str(ROOT)) != str(ROOT)
            or FORMER_METADATA.exists()
            or not python_works()
        ):
            make_environment()
        write_json(NOTE, {**wanted, "state": "installing"})
        install(wanted["extras"], lock)
        if not environment_works():
            raise DevError(f"the installation into {VENV} is not complete: see {INSTALL_LOG}")
        write_json(NOTE, wanted)


def refuse_foreign(path):
    """Raise `DevError` if this user cannot write to the folder `path`, or make it where it is missing."""
    there = path if path.exists() else path.parent
    if os.access(there, os.W_OK):
        return
    try:
        owner = there.owner()
    except (KeyError, NotImplementedError):
        owner = f"user {there.stat().st_uid}"
    remedy = "remove it as that user" if there == path else "run dev.py as that user"
    raise DevError(f"{there} cannot be written: it belongs to {owner}. Either {remedy}, or use a clone of your own")


def identity_of_python():
    """Return what tells the Python that runs this file from others: its version with compiler and date, and its file.

    Two of one minor version differ: Debian's 3.11.2 has faults that a later one of pyenv's has not.
    """
    return [sys.version, os.path.realpath(sys._base_executable)]


def python_works():
    """Tell whether .venv has a Python that starts, and is the one that runs this file."""
    own = "[sys.version, os.path.realpath(sys._base_executable)]"
    return run_quietly([PYTHON, "-c", f"import os, sys; sys.exit({own} != {identity_of_python()!r})"])


def environment_works():
    """Tell whether .venv has our command, and the metadata of all that multisite needs."""
    script = (
        "import re\n"
        "from importlib.metadata import distribution\n"
        "for line in distribution('pyramid-multisite').requires:\n"
        "    'extra ==' in line or distribution(re.match(r'[\\w.-]+', line)[0])\n"
    )
    command = BIN / ("multisite.exe" if os.name == "nt" else "multisite")
    return command.exists() and run_quietly([PYTHON, "-c", script])


def run_quietly(command):
    """Run `command` without a word and tell whether it ended well."""
    try:
        return subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_environment():
    """Make an empty .venv, in place of whatever is there."""
    say(f"{'Making .venv anew' if VENV.exists() else 'Making a private environment in .venv'}")
    try:
        VENV.unlink() if VENV.is_symlink() or VENV.is_file() else shutil.rmtree(VENV)
    except FileNotFoundError:
        pass
    except PermissionError as error:
        raise DevError(f"{VENV} cannot be removed, since a part of it belongs to somebody else ({error})") from None
    shutil.rmtree(FORMER_METADATA, ignore_errors=True)
    venv.EnvBuilder(symlinks=os.name != "nt", with_pip=False).create(VENV)


def install(extras, lock):
    """Install the project into .venv, with `extras`; what pip says goes to a log. `lock` is an open file or None."""
    say("Installing multisite and what it needs (once; this may take a minute)")
    project = ".[{}]".format(",".join(extras)) if extras else "."
    options = ["--no-input", "--disable-pip-version-check", "--editable", project]
    with INSTALL_LOG.open("w", encoding="utf-8") as log:
        # pip --python starts a second pip, so they get a group of their own, by which both can be ended. The lock is
        # theirs as well: if only we are killed, the next run waits until nobody writes into .venv any more.
        pip = subprocess.Popen(
            [*pip_command(), "install", *options],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[lock.fileno()] if lock else [],
        )
        try:
            if pip.wait() == 0:
                return
        except BaseException:
            os.killpg(pip.pid, signal.SIGKILL) if hasattr(os, "killpg") else pip.kill()
            raise
    said = INSTALL_LOG.read_text("utf-8", errors="replace")
    if any(sign in said for sign in NETWORK_FAILURES):
        raise DevError("the package index cannot be reached: check the network, then run the same command again")
    errors = [line for line in said.splitlines() if line.lower().startswith("error")] or ["pip failed"]
    raise DevError(f"{errors[-1]} (the whole story: {INSTALL_LOG})")


def pip_command():
    """Return the beginning of a pip command that works on .venv."""
    for python in dict.fromkeys([sys.executable, getattr(sys, "_base_executable", sys.executable)]):
        if run_quietly([python, "-m", "pip", "--version"]):
            return [python, "-m", "pip", "--python", str(PYTHON)]
    if run_quietly([PYTHON, "-m", "ensurepip"]):
        return [str(PYTHON), "-m", "pip"]
    raise DevError("this Python has no pip: install it (on Debian: apt-get install python3-pip), then run this again")


def environment(**more):
    """Return the environment of the programs we start: nothing of another Python's, and one warning less."""
    foreign = {"PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"}
    env = {name: value for name, value in os.environ.items() if name not in foreign}
    given = env.get("PYTHONWARNINGS")
    env["PYTHONWARNINGS"] = f"{given},{PKG_RESOURCES}" if given else PKG_RESOURCES
    env.update(more)
    return env


@contextlib.contextmanager
def one_at_a_time():
    """Wait until no other dev.py of this clone is installing; give the file that is locked meanwhile."""
    try:
        import fcntl
    except ImportError:  # Windows: two first runs at once are not guarded against there.
        yield None
        return
    with Path(__file__).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def read_json(path):
    """Return the mapping in the file, or an empty one if the file is missing or spoilt."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path, value):
    """Write the mapping in one step, so that a killed run leaves the old file or the new one."""
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
    draft.replace(path)


# serve


def serve(options):
    """Make everything ready, serve the demo sites, and say where they are."""
    address, port = server_address()
    port = options.port or port
    refuse_taken_port(address, port)
    ensure_environment("content")
    refuse_foreign(VAR)
    prepare_demo()
    say("Starting the server")
    server = subprocess.Popen(server_command(options.port), env=environment())
    try:
        wait_until_listening(server, address, port)
        SERVER_FILE.write_text(f"{address}:{port}\n", "utf-8")
        announce(address, port)
        return server.wait()
    except KeyboardInterrupt:
        # The terminal has sent the interrupt to the server as well, which then ends by itself.
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=3)
        say("\nStopped")
        return 0
    finally:
        stop(server)
        SERVER_FILE.unlink(missing_ok=True)


def server_command(port=None):
    """Return the command that serves the reference application, where its ini file says or on another port."""
    command = [str(BIN / "pserve"), "--quiet"]
    return [*command, str(INI)] if port is None else [*command, "--server-name", "port", str(INI), f"http_port={port}"]


def server_address():
    """Return the address and port that development.ini tells the server to listen on."""
    parser = configparser.RawConfigParser()
    parser.read(INI, "utf-8")
    address, _, port = parser.get("server:main", "listen", fallback="127.0.0.1:6543").split()[0].rpartition(":")
    return address.strip("[]"), int(port)


def refuse_taken_port(address, port):
    """Raise `DevError` if something listens on the port already, before anything slow is begun."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except OSError as error:
        raise DevError(
            f"cannot listen on {address}:{port} ({error.strerror}): stop what uses it, "
            f"or choose another with: python3 dev.py serve --port {port + 1 if port < 65535 else 8080}"
        ) from None


def prepare_demo():
    """Bring the database up to date, and add the demo sites and their content, if anything of these has changed."""
    VAR.mkdir(exist_ok=True)
    note = read_json(DEMO_NOTE)
    contents = {host: digest_of(ROOT / "sites" / host / "content") for host in DEMO_SITES}
    if note.get("contents") == contents and note.get("database") == database_key() is not None:
        return
    say("Bringing the database up to date")
    multisite("migrate")
    known = {site["host"] for site in json.loads(multisite("list-sites", "--json"))}
    for host, options in DEMO_SITES.items():
        if host not in known:
            say(f"Adding the site {host}")
            multisite("add-site", host, *options)
        folder = ROOT / "sites" / host / "content"
        if folder.is_dir() and (host not in known or note.get("contents", {}).get(host) != contents[host]):
            say(f"Importing the content of {host}")
            multisite("import-entries", host, str(folder))
    write_json(DEMO_NOTE, {"contents": contents, "database": database_key()})


def multisite(*arguments):
    """Run one of our own commands and return what it prints; raise `DevError` with its own words if it could not."""
    command = [str(BIN / "multisite"), "-c", str(INI), *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise DevError(f"multisite {' '.join(arguments)} failed: {reason}")
    return done.stdout


def database_key():
    """Return what tells this database in this state of its migrations from another; None if that is not known."""
    parser = configparser.ConfigParser({"here": str(ROOT)}, interpolation=None)
    parser.read(INI, "utf-8")
    url = parser.get("app:main", "sqlalchemy.url", fallback="").replace("%(here)s", str(ROOT))
    if not url.startswith("sqlite:///"):
        return None
    try:
        found = Path(url.removeprefix("sqlite:///")).stat()
    except OSError:
        return None
    revisions = [digest_of(ROOT / "migrations"), digest_of(ROOT / "multisite" / "migrations")]
    return [str(found.st_ino), digest_of(INI), *revisions]


def digest_of(path):
    """Return a digest of the names and bytes of a file, or of all files below a folder."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    for file in files:
        if file.is_file() and file.suffix != ".pyc":
            digest.update(f"{file.relative_to(path.parent)}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def wait_until_listening(server, address, port):
    """Return once the server takes connections; raise `DevError` if it ends before that."""
    while server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
            return
        time.sleep(0.05)
    raise DevError("the server could not start: the reason stands above")


def announce(address, port):
    """Print the addresses of the demo sites, and what to try next."""
    say()
    for host, options in DEMO_SITES.items():
        say(f"  {options[1]:<20} http://{host}:{port}/")
    first = next(iter(DEMO_SITES))
    command = BIN.relative_to(ROOT) / "multisite"
    say(f"\nFrom a shell:   curl -H 'Host: {first}' http://{address}:{port}/")
    say(f"Another site:   {command} add-site fourth.localhost")
    say("To stop:        Ctrl-C\n")


def stop(server):
    """End the server, if it has not ended by itself."""
    for end in (server.terminate, server.kill):
        with contextlib.suppress(subprocess.TimeoutExpired):
            if server.poll() is None:
                end()
                server.wait(timeout=5)


# test, lint, docs, bench


def test(options):
    """Run pytest, list by name what was skipped, and return pytest's exit code."""
    ensure_environment("test", "postgresql")
    more = {"MULTISITE_SOAK": "1"} if options.soak else {}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        # One process a core; a file stays together, since its tests share servers and environments that take seconds
        # to make. "-n 0" among the arguments runs everything in one process, as a debugger needs it.
        # Files are begun in the order that tests/conftest.py gives them: the longest first.
        spread = ["-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder"]
        status = run_to_end([PYTHON, "-m", "pytest", *spread, f"--junitxml={report}", *options.rest], **more)
        skips = read_skips(report)
    say("Skipped tests: {}".format(len(skips) or "none"))
    for skip in skips:
        say(f"skipped: {skip}")
    return status


def read_skips(report):
    """Return name and reason of each skipped test in pytest's report; nothing if there is no report."""
    try:
        cases = ET.parse(report).iter("testcase")  # noqa: S314 - pytest has just written it.
    except (OSError, ET.ParseError):
        return []
    found = []
    for case in cases:
        skipped = case.find("skipped")
        if skipped is not None and skipped.get("type") == "pytest.skip":
            name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
            found.append(f"{name}: {skipped.get('message', '')}")
    return sorted(found)


def lint(_options):
    """Run all checks, name those that fail, and return 1 if any did."""
    ensure_environment("lint", "test")
    checks = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports"]]
    failed = [" ".join(check) for check in checks if run_to_end([BIN / check[0], *check[1:]])]
    say("Failed: {}".format(", ".join(failed)) if failed else "All checks passed")
    return 1 if failed else 0


def docs(_options):
    """Build the documentation and return Sphinx's exit code."""
    ensure_environment("docs", "test")  # The API reference imports the modules of all extras.
    return run_to_end([BIN / "sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html"])


def bench(options):
    """Run the benchmark and return its exit code."""
    ensure_environment("test")
    return run_to_end([PYTHON, "-m", "benchmarks", *options.rest])


def architecture(_options):
    """Draw the picture of the rooms and return the exit code; it needs no environment."""
    return subprocess.run([sys.executable, str(ROOT / "docs" / "architecture.py")], check=False).returncode


def screenshots(_options):
    """Take the screenshots and return the exit code."""
    ensure_environment("test")
    return run_to_end([PYTHON, "docs/screenshots.py"])


def run_to_end(command, **more):
    """Run `command` with the terminal's own input and output and return its exit code, also when interrupted."""
    words = [str(word) for word in command]
    with subprocess.Popen(words, env=environment(**more)) as program:
        # An interrupt reaches the program too, which then says what it has to say; we wait for that.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return program.wait()
        finally:
            signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(main())
