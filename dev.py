#!/usr/bin/env python3
"""Run, test and check multisite from a clone, with nothing but Python and pip.

    python3 dev.py serve    make .venv, fill the database with four demo sites, serve them
    python3 dev.py test     run the tests; arguments go to pytest
    python3 dev.py lint     ruff, mypy, import-linter and the list of words
    python3 dev.py docs     build the documentation; a warning is an error
    python3 dev.py bench    run the benchmark; arguments go to it
    python3 dev.py architecture  draw docs/architecture.svg from the imports
    python3 dev.py screenshots   take the screenshots of the documentation from the demo sites

This file uses only the standard library. It creates a private environment in .venv and installs the project and its
dependencies there, once: later runs find the note in .venv/dev.json and start at once. It works where
`python3 -m venv` does not, on a Debian without ensurepip, because it uses the system's pip to fill the environment.

Older versions of Python must be able to parse this file, in order to report that they are too old.
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
PEERS = VENV / "peers"
FORMER_METADATA = ROOT / "multisite.egg-info"
INSTALL_LOG = VENV / "install.log"
INI = ROOT / "development.ini"
VAR = ROOT / "var"
DEMO_NOTE = VAR / "demo.json"
SERVER_FILE = VAR / "server"
"""Where the server listens, for multisite's commands: `multisite.server_file` in development.ini."""

DEMO_SITES = {
    "garden.localhost": ["--name", "The Slow Garden"],
    "kitchen.localhost": ["--name", "Kitchen Notes"],
    "sternwarte.localhost": ["--name", "Sternwarte am Hang", "--locale", "de", "--timezone", "Europe/Berlin"],
    "workshop.localhost": ["--name", "The Quiet Bindery", "--theme", "folio"],
}
"""The sites that `serve` adds if they are missing, with their options of `multisite add-site`."""

CONSOLE_HOST = "console.localhost"
"""The host of the demo's console, as in development.ini."""

CONSOLE_LOGIN = "demo"
"""The operator of the demo's console."""

DEMO_SETTINGS = {
    "workshop.localhost": [
        "tagline=Books, mended and made by hand",
        "theme.accent=#1f5f6b",
        "theme.imprint=Four Cooper’s Yard, open from nine until the light goes",
    ],
}
"""Settings of these sites, for `multisite set` after they are added."""

PKG_RESOURCES = "ignore:pkg_resources is deprecated as an API"
"""Pyramid imports pkg_resources, whose deprecation warning cannot be fixed here."""

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
"""Messages of pip if the package index is unreachable; any other message is a different failure."""


class DevError(Exception):
    """An error that is reported to the user as one line."""


def say(text=""):
    """Print one line and flush it, since a pipe would buffer it."""
    print(text, flush=True)


def main(arguments=None):
    """Run the command line and return the exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    os.chdir(ROOT)
    # Exits like an error does, so that child processes are stopped.
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
    """Return the parsed options; `rest` holds the arguments for the program behind the verb."""
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def add(name, run, sentence, passes_on=False):
        verb = verbs.add_parser(name, help=sentence, description=sentence, allow_abbrev=False)
        verb.set_defaults(run=run, passes_on=passes_on)
        return verb

    add("serve", serve, "Serve the demo sites.").add_argument(
        "--port", type=port_number, help="port to use instead of the one in development.ini"
    )
    add("test", test, "Run the tests; unknown arguments are passed to pytest.", passes_on=True).add_argument(
        "--soak", action="store_true", help="run the long tests too"
    )
    add("lint", lint, "Check style, types and import layers.")
    add("docs", docs, "Build the documentation into docs/_build/html.")
    add("bench", bench, "Run the benchmark; unknown arguments are passed to it.", passes_on=True)
    add("architecture", architecture, "Draw docs/architecture.svg from the imports.")
    add("screenshots", screenshots, "Take the screenshots of the documentation from the demo sites.")
    options, options.rest = parser.parse_known_args(arguments)
    if options.rest and not options.passes_on:
        parser.error("unrecognized arguments: {}".format(" ".join(options.rest)))
    return options


def port_number(text):
    """Return `text` as a port number. Raises `ArgumentTypeError` if it is not one."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port from 1 to 65535")
    return int(text)


# The private environment


def ensure_environment(*extras):
    """Make sure that the project is installed in .venv, editable, with `extras` and those of previous runs."""
    with installation_lock() as lock:
        note = read_json(NOTE)
        wanted = {
            "state": "ready",
            "root": str(ROOT),  # Scripts in .venv contain it, so a moved environment does not work.
            "python": python_identity(),
            "setup": digest_of(ROOT / "setup.py"),
            "extras": sorted({*extras, *note.get("extras", [])}),
        }
        if note == wanted and not FORMER_METADATA.exists() and environment_works():
            return
        check_writable(VENV)
        # The state "installing" was left by a run that was killed: packages may be incomplete.
        # The distribution used to be called multisite: if both are installed, alembic rejects the second plugin.
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
            raise DevError(f"the installation into {VENV} is incomplete: see {INSTALL_LOG}")
        write_json(NOTE, wanted)


def check_writable(path):
    """Raise `DevError` if this user cannot write to the folder `path`, or create it."""
    there = path if path.exists() else path.parent
    if os.access(there, os.W_OK):
        return
    try:
        owner = there.owner()
    except (KeyError, NotImplementedError):
        owner = f"user {there.stat().st_uid}"
    remedy = "remove it as that user" if there == path else "run dev.py as that user"
    raise DevError(f"{there} cannot be written: it belongs to {owner}. Either {remedy}, or use a clone of your own")


def python_identity():
    """Return the identity of the Python that runs this file: its version with compiler and date, and its path.

    Builds of the same version differ: Debian's 3.11.2 has bugs that pyenv's does not have.
    """
    return [sys.version, os.path.realpath(sys._base_executable)]


def python_works():
    """Return whether .venv has a working Python, which is the one that runs this file."""
    own = "[sys.version, os.path.realpath(sys._base_executable)]"
    return run_quietly([PYTHON, "-c", f"import os, sys; sys.exit({own} != {python_identity()!r})"])


def environment_works():
    """Return whether .venv has the command `multisite`, and the metadata of all its dependencies."""
    script = (
        "import re\n"
        "from importlib.metadata import distribution\n"
        "for line in distribution('pyramid-multisite').requires:\n"
        "    'extra ==' in line or distribution(re.match(r'[\\w.-]+', line)[0])\n"
    )
    command = BIN / ("multisite.exe" if os.name == "nt" else "multisite")
    return command.exists() and run_quietly([PYTHON, "-c", script])


def run_quietly(command):
    """Run `command` without output and return whether it succeeded."""
    try:
        return subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_environment():
    """Create an empty .venv, replacing an existing one."""
    say(f"{'Creating .venv again' if VENV.exists() else 'Creating a private environment in .venv'}")
    try:
        VENV.unlink() if VENV.is_symlink() or VENV.is_file() else shutil.rmtree(VENV)
    except FileNotFoundError:
        pass
    except PermissionError as error:
        raise DevError(f"{VENV} cannot be removed, since a part of it belongs to another user ({error})") from None
    shutil.rmtree(FORMER_METADATA, ignore_errors=True)
    venv.EnvBuilder(symlinks=os.name != "nt", with_pip=False).create(VENV)


def install(extras, lock):
    """Install the project into .venv, with `extras`; pip's output goes to a log. `lock` is an open file or None."""
    say("Installing multisite and its dependencies (once; this may take a minute)")
    project = ".[{}]".format(",".join(extras)) if extras else "."
    options = ["--no-input", "--disable-pip-version-check", "--editable", project]
    with INSTALL_LOG.open("w", encoding="utf-8") as log:
        # pip --python starts a second pip: a process group lets us kill both. They also inherit the lock: if only we
        # are killed, the next run waits until nothing writes into .venv any more.
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
        raise DevError("the package index is unreachable: check the network, then run the same command again")
    errors = [line for line in said.splitlines() if line.lower().startswith("error")] or ["pip failed"]
    raise DevError(f"{errors[-1]} (full log: {INSTALL_LOG})")


def pip_command():
    """Return the beginning of a pip command for .venv."""
    for python in dict.fromkeys([sys.executable, getattr(sys, "_base_executable", sys.executable)]):
        if run_quietly([python, "-m", "pip", "--version"]):
            return [python, "-m", "pip", "--python", str(PYTHON)]
    if run_quietly([PYTHON, "-m", "ensurepip"]):
        return [str(PYTHON), "-m", "pip"]
    raise DevError("this Python has no pip: install it (on Debian: apt-get install python3-pip), then run this again")


def environment(**more):
    """Return the environment of child processes: without variables of another Python, and with one warning less.

    Child processes write bytecode: otherwise each of hundreds would compile multisite and the tests again.
    """
    removed = {"PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"}
    removed.add("PYTHONDONTWRITEBYTECODE")
    env = {name: value for name, value in os.environ.items() if name not in removed}
    given = env.get("PYTHONWARNINGS")
    env["PYTHONWARNINGS"] = f"{given},{PKG_RESOURCES}" if given else PKG_RESOURCES
    env.update(more)
    return env


@contextlib.contextmanager
def installation_lock():
    """Wait until no other dev.py of this clone is installing; yield the file that is locked, or None."""
    try:
        import fcntl
    except ImportError:  # On Windows, concurrent first runs are not prevented.
        yield None
        return
    with Path(__file__).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def read_json(path):
    """Return the mapping in the file, or an empty one if the file is missing or not valid."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path, value):
    """Write the mapping atomically, so that a killed run leaves the old file or the new one."""
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
    draft.replace(path)


# serve


def serve(options):
    """Prepare everything, serve the demo sites, and print their URLs."""
    address, port = server_address()
    port = options.port or port
    check_port_free(address, port)
    ensure_environment("content", "console")
    check_writable(VAR)
    prepare_demo()
    say("Starting the server")
    server = subprocess.Popen(server_command(options.port), env=environment())
    try:
        wait_until_listening(server, address, port)
        SERVER_FILE.write_text(f"{address}:{port}\n", "utf-8")
        print_urls(address, port)
        print_console(port)
        return server.wait()
    except KeyboardInterrupt:
        # The terminal has sent the interrupt to the server too, which exits by itself.
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=3)
        say("\nStopped")
        return 0
    finally:
        stop(server)
        SERVER_FILE.unlink(missing_ok=True)


def server_command(port=None):
    """Return the command that serves the reference application, on the port of its ini file or another one."""
    command = [str(BIN / "pserve"), "--quiet"]
    return [*command, str(INI)] if port is None else [*command, "--server-name", "port", str(INI), f"http_port={port}"]


def server_address():
    """Return the address and port that development.ini configures."""
    parser = configparser.RawConfigParser()
    parser.read(INI, "utf-8")
    address, _, port = parser.get("server:main", "listen", fallback="127.0.0.1:6543").split()[0].rpartition(":")
    return address.strip("[]"), int(port)


def check_port_free(address, port):
    """Raise `DevError` if the port is in use, before anything slow is started."""
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
    """Upgrade the database, and add the demo sites and their content, if anything of these has changed."""
    VAR.mkdir(exist_ok=True)
    note = read_json(DEMO_NOTE)
    contents = {host: digest_of(ROOT / "sites" / host / "content") for host in DEMO_SITES}
    if note.get("contents") == contents and note.get("database") == database_key() is not None:
        return
    say("Upgrading the database")
    multisite("migrate")
    known = {site["host"] for site in json.loads(multisite("list-sites", "--json"))}
    for host, options in DEMO_SITES.items():
        if host not in known:
            say(f"Adding the site {host}")
            multisite("add-site", host, *options)
            if host in DEMO_SETTINGS:
                multisite("set", host, *DEMO_SETTINGS[host])
        folder = ROOT / "sites" / host / "content"
        if folder.is_dir() and (host not in known or note.get("contents", {}).get(host) != contents[host]):
            say(f"Importing the content of {host}")
            multisite("import-entries", host, str(folder))
    write_json(DEMO_NOTE, {"contents": contents, "database": database_key()})


def multisite(*arguments):
    """Run a command of multisite and return its output. Raises `DevError` with its last line if it fails."""
    command = [str(BIN / "multisite"), "-c", str(INI), *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise DevError(f"multisite {' '.join(arguments)} failed: {reason}")
    return done.stdout


def database_key():
    """Return the identity of the database and the state of its migrations, or None if that is unknown."""
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
    """Return a digest of the name and content of a file, or of all files below a folder."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    for file in files:
        if file.is_file() and file.suffix != ".pyc":
            digest.update(f"{file.relative_to(path.parent)}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def wait_until_listening(server, address, port):
    """Wait until the server accepts connections. Raises `DevError` if it exits before that."""
    while server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
            return
        time.sleep(0.05)
    raise DevError("the server could not start: see the error above")


def print_urls(address, port):
    """Print the URLs of the demo sites, and what to try next."""
    say()
    for host, options in DEMO_SITES.items():
        say(f"  {options[1]:<20} http://{host}:{port}/")
    first = next(iter(DEMO_SITES))
    command = BIN.relative_to(ROOT) / "multisite"
    say(f"\nFrom a shell:   curl -H 'Host: {first}' http://{address}:{port}/")
    say(f"Another site:   {command} add-site fifth.localhost")
    say("To stop:        Ctrl-C\n")


def print_console(port):
    """Print the URL of the operator's console, or a link to choose a password as long as nobody has chosen one."""
    operators = {each["login"]: each for each in json.loads(multisite("list-operators", "--json"))}
    if not operators:
        made = ("add-operator", CONSOLE_LOGIN, "--role", "everything", "--json")
    elif CONSOLE_LOGIN in operators and not operators[CONSOLE_LOGIN]["has_password"]:
        made = ("reset-operator", CONSOLE_LOGIN, "--json")
    else:
        say(f"The operator's console:   http://{CONSOLE_HOST}:{port}/\n")
        return
    url = f"http://{CONSOLE_HOST}:{port}"
    link = json.loads(multisite(*made, "--url", url))["link"]
    say(f"The operator's console, where you log in as {CONSOLE_LOGIN}; choose a password:\n\n  {link}\n")


def stop(server):
    """Stop the server, unless it has exited."""
    for end in (server.terminate, server.kill):
        with contextlib.suppress(subprocess.TimeoutExpired):
            if server.poll() is None:
                end()
                server.wait(timeout=5)


# test, lint, docs, bench


def test(options):
    """Run pytest, list the skipped tests, and return pytest's exit code."""
    ensure_environment("test", "postgresql")
    more = {"MULTISITE_SOAK": "1"} if options.soak else {}
    memory = memory_folder()
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        if memory:
            more["TMPDIR"] = folder
            Path(folder).chmod(0o711)  # For PostgreSQL, which runs as another user if this one is root.
        report = Path(folder, "report.xml")
        # Two processes more than there are cores, because tests wait for the servers and programs that they start. The
        # tests of a file stay together, because they share servers and environments that take seconds to create;
        # tests/conftest.py starts the longest files first. For a debugger, pass "-n 0".
        spread = ["-n", str(cores() + 2), "--dist", "loadfile", "--no-loadscope-reorder"]
        status = run_to_end([PYTHON, "-m", "pytest", *spread, f"--junitxml={report}", *options.rest], **more)
        skips = read_skips(report)
    say("Skipped tests: {}".format(len(skips) or "none"))
    for skip in skips:
        say(f"skipped: {skip}")
    return status


def memory_folder():
    """Return a folder in memory for the files of the tests, which wait for each commit to a disk, or None.

    None if programs cannot be run from it, or if less than 8 GiB are available. For the files of a test that fails,
    pass `--basetemp` with a folder elsewhere.
    """
    folder = "/dev/shm"  # noqa: S108
    try:
        status = os.statvfs(folder)
        memory = Path("/proc/meminfo").read_text("ascii")
    except OSError:
        return None
    (kilobytes,) = [line.split()[1] for line in memory.splitlines() if line.startswith("MemAvailable:")]
    available = min(status.f_bavail * status.f_frsize, int(kilobytes) * 1024)
    return folder if available >= 8 << 30 and not status.f_flag & os.ST_NOEXEC else None


def cores():
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_skips(report):
    """Return name and reason of each skipped test in pytest's report, or nothing without a report."""
    try:
        cases = ET.parse(report).iter("testcase")  # noqa: S314 - Written by pytest.
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
    """Run all checks, print those that fail, and return 1 if any did."""
    ensure_environment("lint", "test")
    words = [PYTHON.name, "docs/words.py"]
    checks = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports"], words]
    failed = [" ".join(check) for check in checks if run_to_end([BIN / check[0], *check[1:]])]
    say("Failed: {}".format(", ".join(failed)) if failed else "All checks passed")
    return 1 if failed else 0


def docs(_options):
    """Build the documentation and return the exit code of Sphinx."""
    ensure_environment("docs", "test")  # The API reference imports the modules of all extras.
    return run_to_end([BIN / "sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html"])


def bench(options):
    """Run the benchmark and return its exit code."""
    ensure_environment("test")
    if not options.rest:
        install_peers()
    return run_to_end([PYTHON, "-m", "benchmarks", *options.rest])


def install_peers():
    """Install the other frameworks of the benchmark's table, which leaves them out if they cannot be installed.

    Into a folder of their own, because the package of django-multisite2 is called `multisite` as well.
    """
    if PEERS.exists():
        return
    say("Installing Flask and Django, to compare with")
    draft = PEERS.with_suffix(".new")
    shutil.rmtree(draft, ignore_errors=True)
    packages = ["Flask>=3.1", "Django>=5.2", "django-multisite2>=2.0"]
    if run_quietly([*pip_command(), "install", "--no-input", "--target", str(draft), *packages]):
        draft.rename(PEERS)


def architecture(_options):
    """Draw the picture of the rooms and return the exit code; it needs no environment."""
    return subprocess.run([sys.executable, str(ROOT / "docs" / "architecture.py")], check=False).returncode


def screenshots(_options):
    """Take the screenshots and return the exit code."""
    ensure_environment("test")
    return run_to_end([PYTHON, "docs/screenshots.py"])


def run_to_end(command, **more):
    """Run `command` with the terminal's own input and output and return its exit code, even if interrupted."""
    words = [str(word) for word in command]
    with subprocess.Popen(words, env=environment(**more)) as program:
        # The terminal sends an interrupt to the program too; wait until it has reacted.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return program.wait()
        finally:
            signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(main())
