"""A worker of the reference application in a folder of its own, and a browser that visits its sites."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bs4 import BeautifulSoup
from command_folder import Folder
from directories import DEADLINE_SECONDS, until
from paths import ROOT
from proxies import free_port, running

__all__ = ["Answer", "Worker", "invitation", "link_in"]

PASSWORD = "four words are enough"


class Worker:
    """A server of the reference application in a folder of its own, and a browser that visits one of its sites.

    Args:
        path: The new folder.
        database_url: The database, with other workers.
        app: Further lines for the application's part of the ini file.
        code: A clone of this repository, by default this one.
    """

    def __init__(self, path: Path, database_url: str, *, app: str, code: Path = ROOT) -> None:
        path.mkdir()
        self.folder = Folder(path, database_url)
        self.port = free_port()
        self._code = code
        self.folder.write(
            app=app,
            server=(
                f"listen = 127.0.0.1:{self.port}\n"
                f"[alembic]\nscript_location = {code / 'migrations'}\npath_separator = os"
            ),
        )

    def run(self, *arguments: str) -> str:
        """Run a command with this worker's ini file."""
        done = self.folder.invoke(*arguments)
        assert done.exit_code == 0, done.output
        return done.output

    def run_with_its_code(self, *commands: list[str]) -> str:
        """Run commands one after the other, in a process with this worker's code."""
        script = f"from multisite.cli import main; [main(each, standalone_mode=False) for each in {list(commands)!r}]"
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=self.folder.path, env=self._environ(),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _environ(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self._code)}

    @contextmanager
    def serve(self) -> Iterator[None]:
        command = [str(Path(sys.executable).parent / "pserve"), "development.ini"]
        with running(command, self.port, self.folder.path / "log", cwd=self.folder.path, **self._environ()):
            yield

    def request(
        self, path: str, *, host: str = "shop.example", cookie: str = "", form: dict[str, str] | None = None
    ) -> Answer:
        """Request a page, without following a redirect."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        headers = {"Host": host, "Origin": f"http://{host}", "Cookie": cookie}
        body = None
        if form is not None:
            headers["Content-Type"], body = "application/x-www-form-urlencoded", urllib.parse.urlencode(form)
        try:
            connection.request("GET" if form is None else "POST", path, body, headers)
            found = connection.getresponse()
            return Answer(found.status, found.read(), dict(found.getheaders()))
        finally:
            connection.close()

    def shows(self, text: str, path: str = "/", host: str = "shop.example") -> bool:
        return until(lambda: text.encode() in self.request(path, host=host).body)

    def log_in(self, link: str, host: str = "shop.example") -> str:
        """Choose a password by a link, and return the cookie."""
        answer = self.request(link, host=host, form={"password": PASSWORD, "repeated": PASSWORD})
        assert answer.status == 303, answer.body
        return answer.headers["Set-Cookie"].partition(";")[0]

    def send(self, path: str, fields: dict[str, str], *, cookie: str, host: str = "shop.example") -> Answer:
        """Send the first form of a page, as a browser would, with other values for some fields."""
        page = self.request(path, host=host, cookie=cookie)
        assert page.status == 200, page.body
        form = BeautifulSoup(page.body, "html.parser").select_one("main form")
        assert form is not None
        values = {str(each["name"]): str(each.get("value", "")) for each in form.select("input[name]:not([type=file])")}
        values |= {str(each["name"]): each.text for each in form.select("textarea[name]")}
        for each in form.select("select[name]"):
            chosen = each.select_one("option[selected]") or each.select_one("option")
            values[str(each["name"])] = "" if chosen is None else str(chosen.get("value", ""))
        answer = self.request(str(form.get("action") or path), host=host, cookie=cookie, form=values | fields)
        assert answer.status == 303, answer.body
        return answer


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]


def invitation(worker: Worker, login: str) -> str:
    """Add an owner of shop.example, and return the path of the link to choose a password."""
    return link_in(worker.run("add-user", "shop.example", login, "--role", "owner"))


def link_in(output: str) -> str:
    (link,) = re.findall(r"/login/[\w-]{43}", output)
    return str(link)
