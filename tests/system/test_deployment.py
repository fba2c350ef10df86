"""The files in deploy/: the page's commands, gunicorn by the systemd unit, Caddy, Prometheus and the image."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from databases import fresh_postgresql
from paths import ROOT
from proxies import free_port, https_get, running
from snippets import snippets

pytestmark = pytest.mark.slow

DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "multisite.service"
PAGE = ROOT / "docs" / "deployment.md"
BIN = Path(sys.executable).parent

CHANGES_THE_MACHINE = (
    "apt-get", "useradd", "su postgres", "python3 -m venv", "/opt/multisite/bin/pip", "systemctl", "docker", "sed",
)  # fmt: skip
"""How commands of the page begin that a test must not run: they install, and change users and services."""

FOLDERS = ("/etc/", "/usr/local/share/", "/var/lib/multisite")
"""Folders that the page writes to, which are below a temporary one in the test."""


@dataclass
class Server:
    """A folder with the files that the page installs, as if it were `/`, and a site shop.example."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)

    def move(self, text: str) -> str:
        """Return `text` with the page's folders below `root`, and the commands of this environment."""
        for folder in FOLDERS:
            text = re.sub(rf"(?<![\w/.]){folder}", f"{self.root}{folder}", text)
        return text.replace("/opt/multisite/bin", str(BIN))

    def run(self, command: str) -> str:
        """Run a command of the page, in the folder that holds the clone."""
        command = re.sub(r"^su multisite -s /bin/sh -c '(.*)'$", r"\1", command)
        done = subprocess.run(
            ["sh", "-ec", self.move(command)], cwd=self.root, env=self.environ,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def gunicorn(self, port: int) -> Iterator[subprocess.Popen[bytes]]:
        """Run what the unit runs, on `port`."""
        (start,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)
        command = [*shlex.split(self.move(start)), f"--bind=127.0.0.1:{port}"]
        metrics = self.root / f"metrics-{port}"
        metrics.mkdir()
        log = self.root / f"{port}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env={**self.environ, "PROMETHEUS_MULTIPROC_DIR": str(metrics)},
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            wait_until(lambda: status(port) == 200 or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield process
        finally:
            process.terminate()
            process.wait(60)


def status(port: int, path: str = "/") -> int | None:
    """Return the status of a page of shop.example; None if there was no response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Host": "shop.example"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def wait_until(condition: Any) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("it has not happened within a minute")


@pytest.fixture(scope="module")
def server(postgresql_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the page's commands for one server, on a real PostgreSQL."""
    root = tmp_path_factory.mktemp("server")
    (root / "multisite").symlink_to(ROOT)
    for folder in ("etc/systemd/system", "etc/caddy", "var/lib/multisite", "usr/local/share"):
        (root / folder).mkdir(parents=True)
    with fresh_postgresql(postgresql_url) as url:
        found = Server(root, {**os.environ, "PYTHONWARNINGS": "default"})
        for command in commands_of_the_page("One server with systemd"):
            if command.startswith(CHANGES_THE_MACHINE):
                continue
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                found.environ[name] = found.move(value)
                continue
            found.run(command)
            ini = root / "etc/multisite/production.ini"
            if command.startswith("cp") and ini.is_file():  # The step by which a reader names folders and database.
                text = found.move((DEPLOY / "production.ini").read_text("utf-8"))
                ini.write_text(re.sub("postgresql.*", lambda _: url.replace("%", "%%"), text), "utf-8")
        yield found


@pytest.fixture(scope="module")
def gunicorn(server: Server) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run gunicorn, and return its process and its port."""
    port = free_port()
    with server.gunicorn(port) as process:
        yield process, port


def commands_of_the_page(heading: str) -> list[str]:
    text = PAGE.read_text("utf-8")
    part = text[text.index(f"## {heading}\n") :]
    part = part[: part.find("\n## ", 4)]
    return re.findall(r"^\$ (.*)$", part, re.MULTILINE)


def test_the_page_has_no_other_examples() -> None:
    found = re.findall(r"^\$ (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    known = commands_of_the_page("One server with systemd") + commands_of_the_page("Containers")
    known += commands_of_the_page("Several machines")  # Run by test_two_workers.py.
    known += commands_of_the_page("Templates on several machines")  # Run by test_several_machines.py.
    known += commands_of_the_page("Back up and restore everything")  # Run by test_backups.py.
    assert found == known
    assert {snippet.language for snippet in snippets(PAGE)} == {"console"}


def test_a_reload_replaces_the_workers_without_a_failed_request(
    gunicorn: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, port = gunicorn
    pages: list[int | None] = []
    done = threading.Event()

    def visit() -> None:
        while not done.wait(0.02):
            pages.append(status(port))

    visitors = [threading.Thread(target=visit) for _ in range(3)]
    before = workers(process.pid)
    for visitor in visitors:
        visitor.start()
    try:
        os.kill(process.pid, signal.SIGHUP)
        wait_until(lambda: len(workers(process.pid)) == 2 and not workers(process.pid) & before)
    finally:
        done.set()
        for visitor in visitors:
            visitor.join()
    assert len(before) == 2
    assert set(pages) == {200}


def workers(pid: int) -> set[int]:
    """Return the processes that gunicorn has started, on Linux."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return {int(child) for child in found.split()}


def test_each_query_of_the_dashboard_has_a_result_in_prometheus(
    gunicorn: tuple[subprocess.Popen[bytes], int], tmp_path: Path
) -> None:
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("no prometheus on this machine (Debian: apt-get install prometheus)")
    text = (DEPLOY / "prometheus.yml").read_text("utf-8").replace("15s", "1s")
    (_process, port), own = gunicorn, free_port()
    text = text.replace('"worker-1:6543", "worker-2:6543"', f'"127.0.0.1:{port}"')
    (tmp_path / "prometheus.yml").write_text(text, "utf-8")
    command = [prometheus, f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}",
               f"--web.listen-address=127.0.0.1:{own}"]  # fmt: skip
    with running(command, own, tmp_path / "log"):
        missing = set(dashboard_queries())
        # There were no errors, so the query for them has no result. That for all requests differs in one label.
        (errors,) = (query for query in missing if "5xx" in query)
        wait_until(lambda: has_result(own, errors) is not None)
        assert errors.replace(',status=~"5xx|error"', "") in missing - {errors}

        def all_have_results() -> bool:
            assert status(port) == 200  # rate() needs a counter that has changed between two scrapes.
            missing.difference_update([query for query in missing if has_result(own, query)])
            return missing == {errors}

        wait_until(all_have_results)


def dashboard_queries() -> list[str]:
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text("utf-8"))
    return [target["expr"].replace("$site", ".*") for panel in board["panels"] for target in panel["targets"]]


def has_result(port: int, query: str) -> bool | None:
    """Return whether a query has a result, None while Prometheus starts; one that it cannot parse fails the test."""
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url) as response:
            found = json.load(response)["data"]["result"]
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return None
        pytest.fail(f"{query}: {error.read().decode()}")
    return any(value["value"][1] != "NaN" for value in found)


def test_neither_a_killed_worker_nor_a_reload_of_caddy_costs_a_page(
    server: Server, gunicorn: tuple[subprocess.Popen[bytes], int], tmp_path: Path
) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("no caddy on this machine (Debian: apt-get install caddy)")
    port, storage, *ports = free_port(), tmp_path / "caddy", free_port(), free_port(), gunicorn[1]
    text = (DEPLOY / "Caddyfile").read_text("utf-8")
    text = text.replace(
        "{\n", f"{{\n\tadmin 127.0.0.1:{free_port()}\n\thttps_port {port}\n\thttp_port {free_port()}\n", 1
    )
    text = text.replace("{\n", f"{{\n\tskip_install_trust\n\tstorage file_system {storage}\n", 1)
    text = text.replace("on_demand\n", "on_demand\n\t\tissuer internal\n", 1)
    # Only the checks of Caddy tell that a worker is dead, not the requests that have met it.
    text = text.replace("fail_duration 10s", "fail_duration 1ms").replace("health_interval 3s", "health_interval 1s")
    (tmp_path / "Caddyfile").write_text(text)
    environ = {"HOME": str(tmp_path), "WORKER": f"127.0.0.1:{ports[1]}",
               "WORKERS": " ".join(f"127.0.0.1:{each}" for each in ports)}  # fmt: skip
    configuration = ["--config", str(tmp_path / "Caddyfile"), "--adapter", "caddyfile"]
    command = [caddy, "run", *configuration]
    with ExitStack() as stack:
        with ThreadPoolExecutor() as pool:
            killed, _other = pool.map(stack.enter_context, [server.gunicorn(each) for each in ports[:2]])
        stack.enter_context(running(command, port, tmp_path / "log", **environ))
        root = storage / "pki/authorities/local/root.crt"
        wait_until(root.is_file)
        context = ssl.create_default_context(cafile=str(root))
        pages = [https_get(port, "shop.example", context)[:12] for _ in range(10)]
        os.killpg(killed.pid, signal.SIGKILL)
        pages += [https_get(port, "shop.example", context)[:12] for _ in range(30)]
        wait_until(lambda: "health_checker.active" in (tmp_path / "log").read_text("utf-8"))
        (tmp_path / "Caddyfile").write_text(text + "\n# Changed.\n")
        again = [caddy, "reload", "--force", *configuration]
        reload = subprocess.Popen(again, env=environ, stderr=subprocess.DEVNULL)
        while reload.poll() is None:
            pages.append(https_get(port, "shop.example", context)[:12])
        assert reload.returncode == 0
        pages += [https_get(port, "shop.example", context)[:12] for _ in range(10)]
        assert set(pages) == {b"HTTP/1.1 200"}
        for path in ("/multisite/metrics", "/multisite/tls-ask?domain=shop.example"):
            assert https_get(port, "shop.example", context, path).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("unit_file", [UNIT, UNIT.with_name("multisite-work.service")], ids=lambda path: path.stem)
def test_the_units_are_valid_and_confined(unit_file: Path, tmp_path: Path) -> None:
    systemd = shutil.which("systemd-analyze")
    if systemd is None:
        pytest.skip("no systemd-analyze on this machine (Debian: apt-get install systemd)")
    # The command must exist for `verify`; everything else is as in the file.
    unit = tmp_path / unit_file.name
    text = re.sub("/opt/multisite/bin/[a-z]+", lambda _: sys.executable, unit_file.read_text("utf-8"))
    unit.write_text(text, "utf-8")
    done = subprocess.run([systemd, "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    # 0 to 100, of ten times the exposure that systemd computes; a unit without confinement has 96.
    confined = [systemd, "security", "--offline=true", "--threshold=15", unit]
    assert subprocess.run(confined, capture_output=True, check=False).returncode == 0
    unit.write_text(unit.read_text("utf-8").replace("CapabilityBoundingSet=\n", ""), "utf-8")
    assert subprocess.run(confined, capture_output=True, check=False).returncode == 1


def test_the_unit_of_the_jobs_runs_the_command(server: Server) -> None:
    (start,) = re.findall("^ExecStart=(.*)$", UNIT.with_name("multisite-work.service").read_text("utf-8"), re.MULTILINE)
    done = server.run(f"{start} --once")
    assert "0 jobs done." in done


def test_the_workers_of_the_compose_file_are_those_of_the_proxy_and_of_prometheus() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    services = compose["services"]
    workers = sorted(name for name in services if name.startswith("worker-"))
    assert len(workers) == 2
    addresses = [f"{name}:6543" for name in workers]
    assert services["caddy"]["environment"]["WORKERS"].split() == addresses
    targets = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))["scrape_configs"][0]["static_configs"]
    assert targets == [{"targets": addresses}]
    for name, service in services.items():
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in compose["volumes"], name
    for worker in workers:
        assert services[worker]["read_only"] is True
        assert services[worker]["cap_drop"] == ["ALL"]


def build_image() -> list[str]:
    """Build the image, and return the words that run a command in it; skip the test if that is not possible here.

    buildah needs no daemon, and builds in a container too. Its base image is pulled, or one with this name that is
    here already, such as a debootstrap of Debian with python3, python3-venv and a link to `python`.
    """
    engine = next(filter(None, map(shutil.which, ("buildah", "podman", "docker"))), None)
    if engine is None or subprocess.run([engine, "info"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no container engine runs on this machine (Debian: apt-get install buildah)")
    is_buildah = Path(engine).name == "buildah"
    base = re.findall(r"^FROM (\S+)", (DEPLOY / "Containerfile").read_text("utf-8"), re.MULTILINE)[-1]
    known = [engine, "inspect", "--type", "image", base]
    pull = [engine, "pull", base]
    if all(subprocess.run(each, capture_output=True, check=False).returncode != 0 for each in (known, pull)):
        pytest.skip(f"the image {base} cannot be pulled on this machine")
    isolation = ["--isolation", "chroot", "--pull-never"] if is_buildah else []
    build = [engine, "build", *isolation, "-q", "-f", str(DEPLOY / "Containerfile"), "-t", "multisite-test", str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if is_buildah:
        return [engine, "run", "--isolation", "chroot"]
    tmpfs = ["--tmpfs", "/tmp", "--tmpfs", "/run/multisite:uid=10001"]
    return [engine, "run", "--rm", "--network", "host", "--read-only", *tmpfs]


def test_the_image_serves_a_site(tmp_path: Path) -> None:
    command = build_image()
    data, ini, port = tmp_path / "data", tmp_path / "production.ini", free_port()
    for folder in ("sites", "media"):
        (data / folder).mkdir(parents=True)
    for path in (data, *data.iterdir()):
        path.chmod(0o777)  # The user of the image has no name here.
    database = "sqlalchemy.url = sqlite:////var/lib/multisite/app.db"
    ini.write_text(re.sub("^sqlalchemy.url.*", database, (DEPLOY / "production.ini").read_text("utf-8"), flags=re.M))
    tmp_path.chmod(0o755)
    volumes = ["-v", f"{data}:/var/lib/multisite", "-v", f"{ini}:/etc/multisite/production.ini:ro"]
    with ExitStack() as stack:
        image = ["multisite-test"]
        if Path(command[0]).name == "buildah":
            make = [command[0], "from", "--pull-never", "multisite-test"]
            name = subprocess.run(make, check=True, capture_output=True, text=True).stdout.strip()
            stack.callback(subprocess.run, [command[0], "rm", name], check=True, capture_output=True)
            image = [name, "--"]
        prepare = "id -u && multisite migrate && multisite add-site shop.example"
        in_image = [*command, *volumes, *image]
        done = subprocess.run([*in_image, "sh", "-ec", prepare], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("10001\n")
        (start,) = re.findall(r"^CMD (.*)$", (DEPLOY / "Containerfile").read_text("utf-8"), re.MULTILINE)
        serve = [*json.loads(start)[:-1], f"--bind=127.0.0.1:{port}"]
        stack.enter_context(running([*in_image, *serve], port, tmp_path / "log", **os.environ))
        wait_until(lambda: status(port) == 200)
        assert status(port, "/nothing") == 404
