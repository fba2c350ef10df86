"""The difference between two revisions: its lines, and its page."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from content_sites import GARDEN, STERNWARTE, ContentSites
from editor_sites import add_user, editor_sites, log_in
from script_payloads import SCRIPT_PAYLOADS
from sqlalchemy.orm import Session
from webtest import TestApp

from multisite.content.editor.differences import Line, difference
from multisite.content.tables import Revision

MINE = f"http://{GARDEN}"


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentSites]:
    folder = tmp_path_factory.mktemp("revisions")
    with editor_sites(f"sqlite:///{folder / 'test.db'}", folder) as sites:
        for site in (sites.garden, sites.sternwarte):
            for login in ("author", "other", "editor"):
                add_user(sites, site, login, "editor" if login == "editor" else "author")
        yield sites


def shown(lines: list[Line]) -> list[str]:
    """Return lines as of `diff`, with [] around what is marked."""
    signs = {"same": " ", "removed": "-", "added": "+"}
    return [
        f"… {line.count}"
        if line.kind == "left out"
        else signs[line.kind] + "".join(f"[{text}]" if is_changed else text for text, is_changed in line.words)
        for line in lines
    ]


def side(lines: list[Line], kind: str) -> list[str]:
    """Return the lines of the text with what was `removed`, or `added`; no line may be left out."""
    return ["".join(text for text, _ in line.words) for line in lines if line.kind in {"same", kind}]


def test_words_are_marked_in_changed_lines() -> None:
    assert difference("a\nb", "a\nb") == []
    assert shown(difference("Rake them wet.", "Rake leaves wet.")) == ["-Rake [them] wet.", "+Rake [leaves] wet."]
    assert shown(difference("a\nb\nc", "a\nc")) == [" a", "-[b]", " c"]
    assert shown(difference("", "new")) == ["+[new]"]
    assert shown(difference("old", "")) == ["-[old]"]


def test_lines_far_from_a_change_are_left_out() -> None:
    text = [str(number) for number in range(20)]
    found = shown(difference("\n".join(text), "\n".join([*text[:10], "new", *text[10:]])))
    assert found == ["… 7", " 7", " 8", " 9", "+[new]", " 10", " 11", " 12", "… 7"]


@pytest.mark.parametrize("seed", range(20))
def test_both_texts_are_in_the_difference(seed: int) -> None:
    chance = random.Random(seed)
    old, new = ("\n".join(chance.choices(["a b", "a c", "b  c", "d", ""], k=6)) for _ in range(2))
    if old != new:
        found = difference(old, new)
        assert (side(found, "removed"), side(found, "added")) == (old.splitlines(), new.splitlines())


def test_long_texts_are_not_compared_line_by_line() -> None:
    old, new = ("\n".join(f"{side} {number % 7}" for number in range(50_000)) for side in ("x", "y"))
    found = difference(old, new)
    assert [line.kind for line in found] == ["removed"] * 50_000 + ["added"] * 50_000


def write(browser: TestApp, *bodies: str, title: str = "Leaf mould") -> str:
    """Save an entry with these texts, one after the other, and return the address of its form."""
    form = browser.get("/edit/new").forms[0]
    form["title"] = title
    for body in bodies:
        form["body"] = body
        address = form.submit("action", value="save", status=303).location.removeprefix(MINE).partition("?")[0]
        form = browser.get(address).forms[0]
    return str(address)


def changes_of(browser: TestApp, address: str) -> str:
    """Return the address of the changes of the newest revision."""
    return str(browser.get(f"{address}/revisions").html.select_one("section a")["href"])


def test_the_page_shows_what_was_removed_and_added(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    address = write(author, "Rake them wet.\n\nLast.", "Rake leaves wet.\n\nLast.")
    page = author.get(changes_of(author, address))
    assert [each.text for each in page.html.select("h2")] == ["Text"]
    assert [each.text.strip() for each in page.html.select("del, ins")] == ["them", "leaves"]
    assert page.html.select_one(".removed").text == "Removed: Rake them wet."
    # The first revision has nothing before it.
    links = author.get(f"{address}/revisions").html.select("section a")
    assert len(links) == 1
    first = int(changes_of(author, address).rpartition("/")[2]) - 1
    assert "No earlier revision is kept." in author.get(f"{address}/revisions/{first}").text


def test_changes_are_shown_to_who_may_change_the_entry(sites: ContentSites) -> None:
    author, editor, other = (log_in(sites, GARDEN, login) for login in ("author", "editor", "other"))
    address = write(author, "One.", "Two.", title="Mine")
    changes = changes_of(author, address)
    assert editor.get(changes).status_int == 200
    other.get(changes, status=403)
    TestApp(sites.app, extra_environ={"HTTP_HOST": GARDEN}).get(changes, status=403)
    own = write(other, "One.", "Two.", title="Other")
    other.get(f"{own}/revisions/{changes.rpartition('/')[2]}", status=404)  # A revision of another entry.
    for login in ("author", "editor"):
        stranger = log_in(sites, STERNWARTE, login)
        stranger.get(changes, status=404)


def test_nothing_in_a_difference_is_markup(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    for number, payload in enumerate(SCRIPT_PAYLOADS):
        if number % 9 == 0:
            address = write(author, f"{payload} before", f"{payload} after", title=payload[:200])
            page = author.get(changes_of(author, address))
            known = {"p", "ins", "del", "span", "h2", "div", "br", "small", "a", "h1"}
            assert {each.name for each in page.html.select_one("main").find_all(True)} <= known
            assert " ".join(payload.split()) in " ".join(page.html.select_one(".removed").text.split())


def test_the_number_of_revisions_does_not_grow_by_reading(sites: ContentSites) -> None:
    author = log_in(sites, GARDEN, "author")
    address = write(author, "One.", "Two.")
    with Session(sites.engine, info={"site": sites.garden}) as session:
        before = session.scalar(sa.select(sa.func.count(Revision.id)))
        author.get(changes_of(author, address))
        assert session.scalar(sa.select(sa.func.count(Revision.id))) == before
