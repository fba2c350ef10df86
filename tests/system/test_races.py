"""Concurrency: sixteen processes add the same site, and sites change while visitors request them."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from command_folder import Folder
from databases import closing_engine
from forking import Forker, forker
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from waitress_server import serving

from multisite import all_sites
from multisite.core.keys import DIRECTORY
from multisite.core.settings import Settings
from multisite.directory.models import DomainRow, SiteRow, raise_version
from multisite.sites.availability import disable_site, enable_site
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain, move_domain, remove_domain, set_canonical
from multisite.sites.updates import rename_site

pytestmark = pytest.mark.slow

SOAK = bool(os.environ.get("MULTISITE_SOAK"))
AT_ONCE = 16
ROUNDS = 100 if SOAK else 2


@pytest.fixture
def folder(tmp_path: Path, database_url: str) -> Folder:
    return Folder(tmp_path, database_url)


@pytest.fixture
def commands(folder: Folder) -> Iterator[Forker]:
    with forker(folder.path) as commands:
        assert commands.run("migrate").code == 0
        yield commands


def test_of_sixteen_processes_that_add_a_host_exactly_one_wins(commands: Forker, folder: Folder) -> None:
    for number in range(ROUNDS):
        host = f"site{number}.example"
        done = commands.at_once(AT_ONCE, "add-site", host, "--alias", f"www.{host}")
        won = [each for each in done if each.code == 0]
        lost = {each[:3] for each in done if each.code != 0}
        assert len(won) == 1, done
        assert lost == {(1, "", f"Error: '{host}' is taken: it already leads to the site {host}\n")}
        assert won[0].stderr == ""
        assert won[0].stdout.startswith(f"Added {host}.\n")
    # Each site has one row in `sites` and two in `domains`, and nothing else exists.
    assert folder.rows() == 3 * ROUNDS
    assert folder.folders() == sorted(f"site{number}.example" for number in range(ROUNDS))
    assert all(len(list((folder.path / "sites" / name).iterdir())) == 1 for name in folder.folders())


# 1,000 changes while 8 clients send requests.

CLIENTS = 8
CHANGES = 1000 if SOAK else 20
REST_AFTER = 10
"""Number of changes after which they pause, and every response must be exact."""
PAIRS = 3
"""Number of pairs of sites. Domains move within a pair only, so a response of another pair's site is always wrong."""
GRACE_SECONDS = 10.0
"""How long a response from before a change is accepted, for the slowest machine; after each pause, none is."""

State = str
"""The state of a host: the tag of a site, `to` and a host for a redirect, or `nothing`."""


class Pair:
    """The expected state of two sites, and changes to it."""

    def __init__(self, number: int, url: str, settings: Settings) -> None:
        self.url = url
        self.tags = [f"a{number}", f"b{number}"]
        self.canonical = {tag: f"{tag}.example" for tag in self.tags}
        self.disabled: set[str] = set()
        self.domains = {f"{tag}.example": tag for tag in self.tags}
        self.domains |= {f"moving{number}.example": self.tags[0], f"other.{self.tags[0]}.example": self.tags[0]}
        self.redirects: set[str] = set()
        self.coming = f"coming{number}.example"
        for tag in self.tags:
            aliases = [host for host, owner in self.domains.items() if owner == tag]
            self.do(add_site, f"{tag}.example", settings=settings, name=f"{tag} 0", aliases=aliases)

    def do(self, change: Callable[..., object], *arguments: object, **more: object) -> None:
        """Make a change on its own connection."""
        with closing_engine(self.url) as engine:
            change(engine, *arguments, **more)

    def later(self, change: Callable[..., object], *arguments: object, **more: object) -> Callable[[], None]:
        return lambda: self.do(change, *arguments, **more)

    def states(self) -> dict[str, State]:
        return {host: self.state(host) for host in (*self.domains, self.coming)}

    def state(self, host: str) -> State:
        tag = self.domains.get(host)
        if tag is None or tag in self.disabled:
            return "nothing"
        return f"to {self.canonical[tag]}" if host in self.redirects else tag

    def plan(self, chance: random.Random, number: int) -> Callable[[], None]:
        """Record one change here, and return a function that makes it in the tables."""
        tag = chance.choice(self.tags)
        other = self.tags[1 - self.tags.index(tag)]
        movable = sorted(set(self.domains) - set(self.canonical.values()))
        redirect = chance.random() < 0.3
        change = self.later(rename_site, self.canonical[tag], f"{tag} {number}")
        match chance.choice(["move", "come or go", "canonical", "open or close", "rename"]):
            case "move":
                host = chance.choice(movable)
                self.domains[host] = tag
                self._note_kind(host, redirect)
                change = self.later(move_domain, host, self.canonical[tag], redirect=redirect)
            case "come or go" if self.coming in self.domains:
                if self.coming in movable:
                    del self.domains[self.coming]
                    self.redirects.discard(self.coming)
                    change = self.later(remove_domain, self.coming)
            case "come or go":
                self.domains[self.coming] = tag
                self._note_kind(self.coming, redirect)
                change = self.later(add_domain, self.canonical[tag], self.coming, redirect=redirect)
            case "canonical":
                own = [host for host in movable if self.domains[host] == tag]
                if own:
                    former, self.canonical[tag] = self.canonical[tag], chance.choice(own)
                    self._note_kind(former, redirect)
                    self._note_kind(self.canonical[tag], False)
                    change = self.later(set_canonical, self.canonical[tag], redirect=redirect)
            case "open or close" if tag in self.disabled:
                self.disabled.discard(tag)
                change = self.later(enable_site, self.canonical[tag])
            case "open or close" if other not in self.disabled:
                self.disabled.add(tag)
                change = self.later(disable_site, self.canonical[tag])
        return change

    def _note_kind(self, host: str, redirect: bool) -> None:
        (self.redirects.add if redirect else self.redirects.discard)(host)


class Book:
    """The expected states of each host, each with the time from which it applies."""

    def __init__(self) -> None:
        self._history: dict[str, list[tuple[float, State]]] = {}

    def note(self, pairs: list[Pair]) -> None:
        now = time.monotonic()
        for pair in pairs:
            for host, state in pair.states().items():
                history = self._history.setdefault(host, [])
                if not history or history[-1][1] != state:
                    history.append((now, state))

    def hosts(self) -> list[str]:
        return list(self._history)

    def may_show(self, host: str, begin: float) -> set[State]:
        history = list(self._history[host])
        before = [index for index, (since, _) in enumerate(history) if since <= begin - GRACE_SECONDS]
        return {state for _since, state in history[before[-1] if before else 0 :]}


def tag_view(request: Request) -> Response:
    return Response(request.site.name)


@pytest.fixture
def address(own_engine: sa.Engine, tmp_path: Path) -> Iterator[tuple[str, int]]:
    config = Configurator(settings={"multisite.sites_dir": str(tmp_path / "sites"), "multisite.refresh_seconds": "0"})
    config.include("multisite")
    config.set_multisite_engine(own_engine)
    config.add_route("page", "/*rest")
    config.add_view(tag_view, route_name="page")
    app = config.make_wsgi_app()
    with serving(app, threads=CLIENTS) as address:
        yield address
    app.registry[DIRECTORY].deactivate()


def ask(connection: HTTPConnection, host: str) -> State:
    connection.request("GET", "/", headers={"Host": host})
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status == 301:
        return f"to {urlsplit(answer.headers['Location']).hostname}"
    return {200: text.partition(" ")[0], 404: "nothing"}.get(answer.status, f"{answer.status} {text}")


class Visitors:
    """Clients that request any of the hosts, and compare the responses with the `Book`."""

    def __init__(self, address: tuple[str, int], book: Book, seed: int) -> None:
        self.address = address
        self.book = book
        self.seed = seed
        self.stop = Event()
        self.wrong: list[tuple[str, State, set[State]]] = []
        self.asked = Counter[State]()

    def run(self, number: int) -> None:
        chance = random.Random(self.seed + number)
        with closing(HTTPConnection(*self.address, timeout=30)) as connection:
            while not self.stop.is_set():
                self.visit(connection, chance.choice(self.book.hosts()))

    def visit(self, connection: HTTPConnection, host: str) -> None:
        begin = time.monotonic()
        shown = ask(connection, host)
        right = self.book.may_show(host, begin)
        if shown not in right:
            self.wrong.append((host, shown, right))
        self.asked[shown.partition(" ")[0]] += 1


def check_at_rest(address: tuple[str, int], pairs: list[Pair]) -> None:
    """Check that every host shows its expected state once pending reads have finished."""
    with closing(HTTPConnection(*address, timeout=30)) as connection:
        for host, state in [each for pair in pairs for each in pair.states().items()]:
            shown = [ask(connection, host)]
            while shown[-1] != state and len(shown) < 100:
                time.sleep(0.05)
                shown.append(ask(connection, host))
            assert shown[-1] == state, (host, shown)


def test_changes_while_clients_ask_show_no_wrong_site_and_no_failure(
    database_url: str, address: tuple[str, int], tmp_path: Path
) -> None:
    seed = int(os.environ.get("MULTISITE_SEED", random.randrange(2**32)))  # pytest shows it if the test fails.
    chance = random.Random(seed)
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    pairs = [Pair(number, database_url, settings) for number in range(PAIRS)]
    book = Book()
    book.note(pairs)
    visitors = Visitors(address, book, seed)
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(visitors.run, number) for number in range(CLIENTS)]
        try:
            for number in range(1, CHANGES + 1):
                pair = chance.choice(pairs)
                change = pair.plan(chance, number)
                # Recorded before the change is made, so that the first client that sees it finds it here.
                book.note([pair])
                change()
                if number % REST_AFTER == 0:
                    check_at_rest(address, pairs)
        finally:
            visitors.stop.set()
        for each in clients:
            each.result()
    assert visitors.wrong == []
    assert len(visitors.asked) > 2
    # Negative control: a domain that leads to a site of another pair is reported.
    with all_sites("a test"), closing_engine(database_url) as engine, engine.begin() as connection:
        other = sa.select(SiteRow.id).where(SiteRow.folder == "b1.example").scalar_subquery()
        connection.execute(sa.update(SiteRow).where(SiteRow.id == other).values(availability="open"))
        moved = sa.update(DomainRow).where(DomainRow.host == "a0.example")
        connection.execute(moved.values(site_id=other, kind="alias"))
        raise_version(connection)
    with closing(HTTPConnection(*address, timeout=30)) as connection_to_server:
        visitors.visit(connection_to_server, "a0.example")
    assert [shown for _host, shown, _right in visitors.wrong] == ["b1"]
