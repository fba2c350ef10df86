"""A server that is killed while people save and upload: what it has acknowledged is there, and nothing is half."""

from __future__ import annotations

import http.client
import io
import json
import os
import random
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, ContentSites
from databases import fresh_database
from editor_server import Servers, editor_servers
from editor_sites import PASSWORD, add_user, editor_sites, log_in, write
from PIL import Image
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite.content.models import Entry, Media
from multisite.content.tables import Revision
from multisite.media.library import ORPHAN_AGE

SOAK = bool(os.environ.get("MULTISITE_SOAK"))
MOMENTS = 100 if SOAK else 2
SEED = int(os.environ.get("MULTISITE_SEED", random.randrange(2**32)))  # pytest shows it if a test fails.

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    with (
        fresh_database(request, tmp_path_factory) as url,
        editor_sites(url, tmp_path_factory.mktemp("kills")) as sites,
    ):
        add_user(sites, sites.garden, "author")
        yield sites


class Person:
    """Somebody who is logged in, and sends requests to a server until it is gone."""

    def __init__(self, browser: TestApp) -> None:
        self.cookie = "; ".join(f"{each.name}={each.value}" for each in browser.cookiejar)
        self.token = str(browser.get("/logout").html.select_one("input[name=csrf_token]")["value"])

    def send(self, port: int, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            headers = {"Host": GARDEN, "Origin": f"http://{GARDEN}", "Cookie": self.cookie}
            headers |= {"Accept": "application/json", "Content-Type": kind} if body is not None else {}
            connection.request("GET" if body is None else "POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


class Work:
    """What was sent and what was acknowledged, of one entry and of pictures."""

    def __init__(self, person: Person, address: str, chance: random.Random) -> None:
        self.person = person
        self.address = address
        self.chance = chance
        self.sent = self.saved = 0
        self.digests: list[str] = []
        self.saves = self.uploads = 0

    def save(self, port: int) -> None:
        """Save the next text."""
        _status, form = self.person.send(port, self.address)
        version = re.search(r'name="version" value="(\w+)"', form)
        assert version is not None, form
        self.sent += 1
        fields = {"csrf_token": self.person.token, "version": version[1], "action": "save"}
        body = urlencode({**fields, "title": "Leaf mould", "body": f"Text {self.sent}"}).encode()
        status, text = self.person.send(port, self.address, body, "application/x-www-form-urlencoded")
        assert status == 303, text
        self.saved, self.saves = self.sent, self.saves + 1

    def upload(self, port: int) -> None:
        """Upload a picture that the site does not have."""
        target = io.BytesIO()
        pixels = self.chance.randbytes(300 * 200 * 3)
        Image.frombytes("RGB", (300, 200), pixels).save(target, "PNG")
        head = 'Content-Disposition: form-data; name="{}"{}\r\n\r\n'
        body = (
            b"--x\r\n"
            + head.format("csrf_token", "").encode()
            + self.person.token.encode()
            + b"\r\n--x\r\n"
            + head.format("file", '; filename="a.png"').encode()
            + target.getvalue()
            + b"\r\n--x--\r\n"
        )
        status, text = self.person.send(port, "/edit/media", body, "multipart/form-data; boundary=x")
        assert status == 200, text
        self.digests.append(json.loads(text)["files"][0]["address"].rpartition("/")[2])
        self.uploads += 1


def until_it_is_gone(work: Callable[[int], None], port: int, faults: list[BaseException]) -> None:
    """Work until the server does not respond any more."""
    while True:
        try:
            work(port)
        except (OSError, http.client.HTTPException):
            return
        except BaseException as error:
            faults.append(error)
            return


def test_what_is_acknowledged_survives_kill_9(sites: ContentSites) -> None:
    chance = random.Random(SEED)
    browser = log_in(sites, GARDEN, "author", PASSWORD)
    work = Work(Person(browser), write(browser, "save", body="Text 0"), chance)
    with editor_servers(sites.settings) as servers:
        for _moment in range(MOMENTS):
            interrupt(servers, work, chance.uniform(0, 1.5))
            check(sites, work)
    assert min(work.saves, work.uploads) >= MOMENTS
    remove_orphans_and_check(sites)


def interrupt(servers: Servers, work: Work, seconds: float) -> None:
    """Save and upload at once, and kill the server some time after it has acknowledged one of each."""
    port, before = servers.start(), (work.saves, work.uploads)
    faults: list[BaseException] = []
    jobs = (work.save, work.upload)
    threads = [threading.Thread(target=until_it_is_gone, args=(job, port, faults)) for job in jobs]
    for each in threads:
        each.start()
    while (work.saves == before[0] or work.uploads == before[1]) and all(each.is_alive() for each in threads):
        threads[0].join(0.01)
    threads[0].join(seconds)
    servers.kill()
    for each in threads:
        each.join(120)
    assert faults == []


def check(sites: ContentSites, work: Work) -> None:
    """Check that the last acknowledged text is the entry's, or the one that was being saved, and is in a revision."""
    with Session(sites.engine, info={"site": sites.garden}) as session:
        body = session.scalars(sa.select(Entry.body)).one()
        assert body in {f"Text {work.saved}", f"Text {work.sent}"}
        newest = session.scalars(sa.select(Revision.body).order_by(Revision.id.desc()).limit(1)).one()
        assert newest == body  # Both are written, or none.
        rows = {media.digest: media for media in session.scalars(sa.select(Media))}
        assert set(work.digests) <= set(rows)
        folder = Path(sites.settings["multisite.media_url"], str(sites.garden.id))
        for media in rows.values():
            with Image.open(folder / media.folder / media.name) as image:
                image.load()


def remove_orphans_and_check(sites: ContentSites) -> None:
    """Check that pruning leaves the files of rows, and no others."""
    library = sites.app.registry["multisite.media_library"]
    with Session(sites.engine, info={"site": sites.garden}) as session:
        library.prune(session, sites.garden, now=datetime.now(UTC) + 2 * ORPHAN_AGE)
        known = {media.folder for media in session.scalars(sa.select(Media))}
    folder = Path(sites.settings["multisite.media_url"], str(sites.garden.id))
    assert {path.parent.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == known
