"""Redirects of old addresses: rules, loops, requests to two sites, and the commands."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from content_sites import GARDEN, STERNWARTE, ContentSites
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from multisite import Site
from multisite.cli import main
from multisite.content.models import Redirect
from multisite.content.redirect_csv import read_rules
from multisite.content.redirect_loops import RuleGraph
from multisite.content.redirect_rules import InvalidRedirect, Rule, candidates, location, parse_path, parse_rule
from multisite.content.redirects import (
    RedirectChanges,
    find_redirect,
    list_redirects,
    move_address,
    remove_redirect,
    save_redirects,
)
from multisite.errors import MultisiteError

# Rules.


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/old", "/old"),
        ("/old/", "/old"),
        ("/old/index.html", "/old"),
        (" /2012/05/old.html ", "/2012/05/old.html"),
        ("/", "/"),
        ("/?p=123", "/?p=123"),
        ("/a?y=2&x=1", "/a?x=1&y=2"),
        ("/a?x", "/a?x="),
        ("/blog/*", "/blog/*"),
        ("/*", "/*"),
        ("/%C3%BCber%20uns/", "/über uns"),
        ("/über uns", "/über uns"),
    ],
)
def test_a_path_is_compared_in_its_normal_form(text: str, path: str) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("path", "target", "status", "reason"),
    [
        ("old", "/new", 301, "'old' is not a path: it must start with one slash"),
        ("//evil.example/x", "/new", 301, "must start with one slash"),
        ("https://a.example/old", "/new", 301, "must start with one slash"),
        ("/old#part", "/new", 301, "browsers do not send"),
        ("/o*d", "/new", 301, "only at the end"),
        ("/old*", "/new", 301, "only at the end"),
        ("/old/%2A", "/new", 301, "only at the end"),
        ("/old/*?x=1", "/new", 301, "only at the end"),
        ("/%FF", "/new", 301, "is not UTF-8"),
        ("/a\nb", "/new", 301, "a character that is not allowed"),
        ("/a%00b", "/new", 301, "a character that is not allowed"),
        ("/a\\b", "/new", 301, "a character that is not allowed"),
        ("/" + 500 * "a", "/new", 301, "more than 500 characters"),
        ("/old", None, 301, "no target"),
        ("/old", "/new", 410, "has no target"),
        ("/old", "/new", 200, "status 200 is not one of 301, 302, 410"),
        ("/old", "new", 301, "neither a path"),
        ("/old", "//evil.example/", 301, "neither a path"),
        ("/old", "/\\evil.example/", 301, "must be escaped with %"),
        ("/old", "javascript:alert(1)", 301, "neither a path"),
        ("/old", "ftp://a.example/", 301, "neither a path"),
        ("/old", "https://", 301, "neither a path"),
        ("/old", "https://user@a.example/", 301, "neither a path"),
        ("/old", "https://a b/", 301, "must be escaped with %"),
        ("/old", "/new\r\nX: y", 301, "must be escaped with %"),
        ("/old", "/" + 2000 * "a", 301, "more than 2000 characters"),
        ("/old", "/new/*", 301, "but the path does not"),
        ("/old/*", "/n*w", 301, "only at the end"),
        ("/old", "https://own.example/new", 301, "is on this site: write it as a path"),
    ],
)
def test_a_bad_rule_is_refused_with_a_reason(path: str, target: str | None, status: int, reason: str) -> None:
    with pytest.raises(InvalidRedirect) as caught:
        parse_rule(path, target, status, {"own.example"})
    assert reason in str(caught.value)


def test_the_most_specific_rule_comes_first() -> None:
    assert candidates("/a/b/", "p=1&utm=x") == [
        "/a/b?p=1&utm=x",
        "/a/b?p=1",
        "/a/b?utm=x",
        "/a/b",
        "/a/b/*",
        "/a/*",
        "/*",
    ]
    assert candidates("/") == ["/", "/*"]


def test_the_number_of_candidates_is_limited() -> None:
    found = candidates("/a" * 10_000, "&".join(f"x{number}=1" for number in range(10_000)))
    assert len(found) < 50
    assert all(len(each) <= 500 for each in found)


@pytest.mark.parametrize(
    ("path", "target", "requested", "query", "expected"),
    [
        ("/old", "/new", "/old", "", "/new"),
        ("/old", "/new#part", "/old", "x=1", "/new?x=1#part"),
        ("/old", "/new?y=2", "/old", "x=1", "/new?y=2"),
        ("/?p=1", "/new", "/", "p=1", "/new"),
        ("/blog/*", "/archive", "/blog/a/b", "", "/archive"),
        ("/blog/*", "/entries/*", "/blog/ü/b/", "", "/entries/%C3%BC/b"),
        ("/blog/*", "/entries/*", "/blog", "", "/entries"),
        ("/blog/*", "/*", "/blog/", "", "/"),
        ("/*", "https://new.example/*", "/a/b", "x=1", "https://new.example/a/b?x=1"),
        ("/*", "https://new.example/*", "//evil.example", "", "https://new.example//evil.example"),
        ("/blog/*", "/entries/*", "/blog/a?b#c\r\nd", "", "/entries/a%3Fb%23c%0D%0Ad"),
        ("/old", "/new", "/old", 'x="<é>\r\n', "/new?x=%22%3C%C3%A9%3E%0D%0A"),
    ],
)
def test_the_location_of_a_redirect(path: str, target: str, requested: str, query: str, expected: str) -> None:
    assert location(parse_rule(path, target), requested, query) == expected


# Loops.


@pytest.mark.parametrize(
    ("rules", "loop"),
    [
        ({"/a": "/a/"}, ["/a", "/a"]),
        ({"/a": "/b", "/b": "/a?x=1"}, ["/b", "/a?x=1", "/b?x=1", "/a?x=1"]),
        ({"/a": "/b", "/b": "/c", "/c": "/a"}, ["/c", "/a", "/b", "/c"]),
        ({"/a/*": "/a/b"}, ["/a/b", "/a/b"]),
        ({"/*": "/archive"}, ["/archive", "/archive"]),
        ({"/a/*": "/b/*", "/b/*": "/a/*"}, ["/b/*", "/a/*", "/b/*"]),
        ({"/a/*": "/b/*", "/b/c": "/a/c"}, ["/b/c", "/a/c", "/b/c"]),
        ({"/b/c": "/a/c", "/a/*": "/b/*"}, ["/b/c", "/a/c", "/b/c"]),
        ({"/b/c/*": "/a/c/*", "/a/*": "/b/*"}, ["/b/c/*", "/a/c/*", "/b/c/*"]),
        ({"/b/*": "/c/*", "/c/x": "/a/x", "/a/*": "/b/*"}, ["/c/x", "/a/x", "/b/x", "/c/x"]),
        ({"/?p=1": "/?p=1"}, ["/?p=1", "/?p=1"]),
        ({"/b?x=1": "/a?x=1", "/a": "/b"}, ["/b?x=1", "/a?x=1", "/b?x=1"]),
    ],
)
def test_a_rule_that_redirects_without_end_is_refused(rules: dict[str, str], loop: list[str]) -> None:
    graph = RuleGraph([])
    *first, last = (parse_rule(*each) for each in rules.items())
    for rule in first:
        assert graph.add(rule) is None
    found = graph.add(last)
    assert found is not None
    assert found[-len(loop) :] == loop
    # It was not added: what leads to it has an end.
    assert graph.add(parse_rule("/somewhere", last.path.removesuffix("/*") or "/")) is None


def test_a_rule_that_makes_its_own_address_longer_is_refused() -> None:
    found = RuleGraph([]).add(parse_rule("/a/*", "/a/b/*"))
    assert found is not None
    assert found[:3] == ["/a/*", "/a/b/*", "/a/b/b/*"]


@pytest.mark.parametrize(
    "rules",
    [
        {"/a": "/b", "/b": "/c", "/c": "/d"},
        {"/a/*": "/b/*", "/b/c": "/d"},
        {"/*": "https://new.example/*"},
        {"/blog/*": "/"},
        {"/blog/*": "/*", "/old": "/blog/new"},
        {"/a/*": "/b/*", "/b/c/*": "/a/*"},
        {"/b": "/ab", "/ab/*": "/c"},
        {"/a": "/b", "/b": "https://a.example/a"},
    ],
)
def test_a_rule_that_leads_somewhere_is_added(rules: dict[str, str]) -> None:
    graph = RuleGraph([])
    assert [graph.add(parse_rule(*each)) for each in rules.items()] == [None] * len(rules)


_ADDRESSES = ["/" + "/".join(parts) for size in range(5) for parts in itertools.product("ab", repeat=size)]
_PATHS = st.sampled_from([address for address in _ADDRESSES if address.count("/") < 4])
_PATTERNS = st.tuples(_PATHS, st.booleans()).map(lambda each: each[0].rstrip("/") + "/*" if each[1] else each[0])


def follow(rules: dict[str, Rule], address: str) -> bool:
    """Return whether the redirects of `address` end."""
    for _ in range(30):
        matching = next((rules[each] for each in candidates(address) if each in rules), None)
        if matching is None:
            return True
        address = location(matching, address)
    return False


@given(st.lists(st.tuples(_PATTERNS, _PATTERNS), min_size=1, max_size=5))
def test_exactly_the_rules_that_redirect_without_end_are_refused(pairs: list[tuple[str, str]]) -> None:
    rules: dict[str, Rule] = {}
    graph = RuleGraph([])
    for path, target in pairs:
        if target.endswith("/*") and not path.endswith("/*"):
            continue
        rule = parse_rule(path, target)
        all_end = all(follow({**rules, rule.path: rule}, address) for address in _ADDRESSES)
        assert (graph.add(rule) is None) == all_end, (rule, rules)
        if all_end:
            rules[rule.path] = rule


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.lists(st.lists(st.text(max_size=8) | st.sampled_from(["/a", "/a/*", "301", "410", '"']), max_size=4)).map(
            lambda rows: "\n".join(",".join(row) for row in rows)
        ),
    )
)
def test_any_text_is_rules_or_lines_with_a_reason(text: str) -> None:
    rules, bad = read_rules(io.StringIO(text, newline=""))
    assert not set(rules) & set(bad)
    for rule in rules.values():
        assert parse_rule(rule.path, rule.target, rule.status) == rule
    assert all(reason for reason in bad.values())


# Requests.


def save(sites: ContentSites, site: Site, *rules: Rule, imported: bool = False) -> RedirectChanges:
    with Session(sites.engine, info={"site": site}) as session:
        changes = save_redirects(session, rules, imported=imported)
        session.commit()
    return changes


def stored(sites: ContentSites, site: Site) -> dict[str, tuple[str | None, int, bool]]:
    with Session(sites.engine, info={"site": site}) as session:
        return {rule.path: (rule.target, rule.status, imported) for rule, imported in list_redirects(session)}


def test_each_site_has_redirects_of_its_own(sites: ContentSites) -> None:
    save(sites, sites.garden, parse_rule("/old", "/entries/garden"), parse_rule("/garden/*", "/archive"))
    save(sites, sites.sternwarte, parse_rule("/old", "/entries/sternwarte", 302))
    garden, sternwarte = sites.browser(GARDEN), sites.browser(STERNWARTE)
    done = garden.get("/old/", status=301)
    assert done.location == f"http://{GARDEN}/entries/garden"
    assert done.headers["Cache-Control"] == "max-age=3600"
    assert sternwarte.get("/old", status=302).location == f"http://{STERNWARTE}/entries/sternwarte"
    garden.get("/garden/x", status=301)
    sternwarte.get("/garden/x", status=404)
    assert garden.head("/old", status=301).location == f"http://{GARDEN}/entries/garden"
    garden.post("/old", status=404)
    with Session(sites.engine, info={"site": sites.sternwarte}) as session:
        assert find_redirect(session, "/garden/x") is None
        assert not remove_redirect(session, "/garden/*")
        session.commit()
    assert "/garden/*" in stored(sites, sites.garden)


def test_redirects_of_every_kind(sites: ContentSites) -> None:
    sites.add(sites.garden, "page")
    rules = {"/?p=5": "/entries/page", "/blog/*": "/entries/*", "/blog/x": "https://x.example/?a=b", "/ö": "/entries/ö"}
    save(sites, sites.garden, *(parse_rule(*each) for each in rules.items()), parse_rule("/gone", None, 410))
    browser = sites.browser(GARDEN)

    def leads_to(address: str) -> str:
        found: str = browser.get(address, status=301).location
        return found.removeprefix(f"http://{GARDEN}")

    assert leads_to("/?p=5") == "/entries/page"
    assert leads_to("/?utm_source=x&p=5") == "/entries/page"
    assert leads_to("/blog/page/?x=1") == "/entries/page?x=1"
    assert leads_to("/blog/x") == "https://x.example/?a=b"
    assert leads_to("/blog//evil.example/") == "/entries//evil.example"
    assert leads_to("/%C3%B6") == "/entries/%C3%B6"
    gone = browser.get("/gone", status=410)
    assert "Page removed" in gone.text
    assert "Seite entfernt" not in gone.text


def test_a_page_wins_over_a_redirect_and_costs_no_statement_for_it(sites: ContentSites) -> None:
    sites.add(sites.garden, "page")
    save(sites, sites.garden, parse_rule("/entries/page", "/archive"), parse_rule("/archive", None, 410))
    browser = sites.browser(GARDEN)
    for path in ("/", "/?page=1", "/entries/page", "/archive", "/feed.xml"):
        sites.statements.clear()
        browser.get(path, status=200)
        assert sites.statements
        assert not [each for each in sites.statements if "redirects" in each], path
    sites.statements.clear()
    browser.get("/nowhere", status=404)
    assert len([each for each in sites.statements if "redirects" in each]) == 1
    sites.statements.clear()
    browser.get("/?utm_source=x", status=200)
    assert len([each for each in sites.statements if "redirects" in each]) == 1


def test_a_redirect_to_itself_in_the_table_is_a_404(sqlite_sites: ContentSites) -> None:
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session:
        session.add(Redirect(path="/a", target="/a"))
        session.add(Redirect(path="/b", target=f"http://{GARDEN}/b"))
        session.commit()
    for path in ("/a", "/b"):
        sqlite_sites.browser(GARDEN).get(path, status=404)


def test_an_open_path_without_a_page_is_not_found(sqlite_sites: ContentSites) -> None:
    sqlite_sites.settings["multisite.open_paths"] = "/open/"
    for host in (GARDEN, "unknown.example"):
        sqlite_sites.browser(host).get("/open/nothing", status=404)


def test_an_old_address_with_a_slash_at_its_end_leads_to_the_page_without(sites: ContentSites) -> None:
    sites.add(sites.garden, "ü", tags=["x"])
    save(sites, sites.garden, parse_rule("/tags/y", "/archive"))
    browser = sites.browser(GARDEN)
    for path, page in (
        ("/entries/%C3%BC/", "/entries/%C3%BC"),
        ("/tags/x/", "/tags/x"),
        ("/archive//", "/archive"),
        ("/archive/2024/?a=b", "/archive/2024?a=b"),
        ("/tags/y/", "/archive"),
    ):
        assert browser.get(path, status=301).location == f"http://{GARDEN}{page}"
    for path in ("/nowhere/", "/2024/05/", "//evil.example/", "/entries/a/b/"):
        browser.get(path, status=404)


@pytest.mark.parametrize("path", ["/a%00b", "/" + 3000 * "a", "/\\", "/a?x=%00", "/%E2%80%AE", "/?x=%FF%00", "/*"])
def test_a_hostile_address_is_not_found(sites: ContentSites, path: str) -> None:
    status = {"/?x=%FF%00": 400}.get(path, 404)
    sites.browser(GARDEN).get(path, status=status)


def test_the_table_holds_no_redirect_without_a_target(sites: ContentSites) -> None:
    for values in ({"target": None}, {"target": "/x", "status": 410}, {"target": "/x", "status": 200}):
        with Session(sites.engine, info={"site": sites.garden}) as session, pytest.raises(IntegrityError):
            session.add(Redirect(path="/a", **values))
            session.flush()


# Saving.


def test_an_import_never_replaces_a_redirect_that_a_person_made(sites: ContentSites) -> None:
    mine, theirs = parse_rule("/a", "/mine"), parse_rule("/a", "/theirs")
    save(sites, sites.garden, mine)
    assert save(sites, sites.garden, theirs, parse_rule("/b", "/x"), imported=True).kept == ["/a"]
    assert stored(sites, sites.garden) == {"/a": ("/mine", 301, False), "/b": ("/x", 301, True)}
    again = save(sites, sites.garden, parse_rule("/b", "/y", 302), imported=True)
    assert (again.added, again.updated) == ([], [parse_rule("/b", "/y", 302)])
    save(sites, sites.garden, parse_rule("/b", "/mine"))
    assert stored(sites, sites.garden)["/b"] == ("/mine", 301, False)
    assert stored(sites, sites.sternwarte) == {}


def test_a_loop_is_refused_and_the_other_rules_are_saved(sites: ContentSites) -> None:
    changes = save(sites, sites.garden, parse_rule("/a", "/b"), parse_rule("/b", "/a"), parse_rule("/c", "/a"))
    assert [reason for _, reason in changes.refused] == ["it redirects without end: /b to /a to /b"]
    assert set(stored(sites, sites.garden)) == {"/a", "/c"}
    # Another site may have the rule.
    assert save(sites, sites.sternwarte, parse_rule("/b", "/a")).refused == []


def test_an_address_that_moves_twice_and_back_is_redirected_once(sites: ContentSites) -> None:
    with Session(sites.engine, info={"site": sites.garden}) as session:
        move_address(session, "/entries/a", "/entries/b")
        move_address(session, "/entries/b", "/entries/ç")
        session.commit()
    assert {path: row[0] for path, row in stored(sites, sites.garden).items()} == {
        "/entries/a": "/entries/%C3%A7",
        "/entries/b": "/entries/%C3%A7",
    }
    with Session(sites.engine, info={"site": sites.garden}) as session:
        move_address(session, "/entries/ç", "/entries/a")
        session.commit()
    assert {path: row[0] for path, row in stored(sites, sites.garden).items()} == {
        "/entries/b": "/entries/a",
        "/entries/ç": "/entries/a",
    }
    with (
        Session(sites.engine, info={"site": sites.garden}) as session,
        pytest.raises(MultisiteError, match="without end"),
    ):
        move_address(session, "/entries/a", "/entries/a")


# Commands.


@pytest.fixture
def ini(sqlite_sites: ContentSites, tmp_path: Path) -> Path:
    path = tmp_path / "test.ini"
    lines = [f"{key} = {value}" for key, value in sqlite_sites.settings.items()]
    path.write_text("\n".join(["[app:main]", "use = egg:pyramid-multisite", *lines, ""]))
    return path


def run(ini: Path, *arguments: str | Path, **options: Any) -> Result:
    return CliRunner().invoke(main, ["-c", str(ini), *map(str, arguments)], **options)


def test_the_commands_change_one_site(ini: Path, sqlite_sites: ContentSites) -> None:
    assert run(ini, "add-redirect", "alias.example", "/old/", "/new").stdout == "Added: /old to /new (301).\n"
    assert run(ini, "add-redirect", GARDEN, "/old", "/new").stdout == "Already there: /old to /new (301).\n"
    assert run(ini, "add-redirect", GARDEN, "/old", "--status", "410").stdout == "Changed: /old is gone (410).\n"
    added = run(ini, "add-redirect", STERNWARTE, "/x/*", "/*", "--status", "302", "--json")
    assert json.loads(added.stdout) == {"path": "/x/*", "target": "/*", "status": 302}
    save(sqlite_sites, sqlite_sites.garden, parse_rule("/b", "/c"), imported=True)
    assert run(ini, "list-redirects", GARDEN).stdout == "/b to /c (301), imported\n/old is gone (410)\n"
    assert json.loads(run(ini, "list-redirects", STERNWARTE, "--json").stdout) == [
        {"path": "/x/*", "target": "/*", "status": 302, "imported": False}
    ]
    assert run(ini, "remove-redirect", GARDEN, "/old/").stdout == "Removed the redirect of /old.\n"
    assert json.loads(run(ini, "remove-redirect", GARDEN, "/b", "--json").stdout) == {"path": "/b"}
    assert stored(sqlite_sites, sqlite_sites.garden) == {}
    assert run(ini, "list-redirects", GARDEN, "--json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add-redirect", "nowhere.example", "/a", "/b"], "no site is known as 'nowhere.example'"),
        (["add-redirect", GARDEN, "a", "/b"], "it must start with one slash"),
        (["add-redirect", GARDEN, "/a"], "no target: give a path like /entries/new or a URL, or the status 410"),
        (["add-redirect", GARDEN, "/a", "/a/"], "is refused: it redirects without end: /a to /a"),
        (["add-redirect", GARDEN, "/a", "http://alias.example/b"], "is on this site: write it as a path"),
        (["remove-redirect", GARDEN, "/a"], f"{GARDEN} has no redirect of /a; list all:"),
        (["remove-redirect", GARDEN, "a"], "it must start with one slash"),
    ],
)
def test_a_command_with_bad_input_names_it(ini: Path, arguments: list[str], message: str) -> None:
    done = run(ini, *arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_redirects_are_exported_and_imported(ini: Path, sqlite_sites: ContentSites, tmp_path: Path) -> None:
    rules = [parse_rule("/a,b", '/"c"'), parse_rule("/ü", "https://x.example/", 302), parse_rule("/gone", None, 410)]
    save(sqlite_sites, sqlite_sites.garden, *rules)
    path = tmp_path / "redirects.csv"
    assert run(ini, "export-redirects", GARDEN, path).stdout == f"Wrote 3 redirects of {GARDEN} to {path}.\n"
    assert path.read_text("utf-8").splitlines()[:2] == ["path,target,status", '"/a,b",/%22c%22,301']
    done = run(ini, "import-redirects", STERNWARTE, path, "--dry-run")
    counts = "3 added, 0 updated, 0 unchanged"
    assert done.stdout == f"Would import redirects into {STERNWARTE}: {counts}. Nothing was changed.\n"
    assert stored(sqlite_sites, sqlite_sites.sternwarte) == {}
    done = run(ini, "import-redirects", STERNWARTE, path)
    assert done.stdout == f"Imported redirects into {STERNWARTE}: {counts}.\n"
    assert stored(sqlite_sites, sqlite_sites.sternwarte) == stored(sqlite_sites, sqlite_sites.garden)
    piped = run(ini, "export-redirects", GARDEN, "-").stdout
    assert piped == path.read_text("utf-8")
    done = run(ini, "import-redirects", STERNWARTE, "-", "--json", input="\ufeff" + piped)
    assert json.loads(done.stdout) == {
        "host": STERNWARTE,
        "added": 0,
        "updated": 0,
        "unchanged": 3,
        "bad": [],
        "rolled_back": False,
    }


def test_one_bad_line_of_a_file_rolls_all_back(ini: Path, sqlite_sites: ContentSites, tmp_path: Path) -> None:
    path = tmp_path / "redirects.csv"
    lines = ["Path,Target", "/a,/b", "", "a,/b", "/c,/d,900", "/e,/f,x", "/a/,/z", "/g", "/h,/a", "/b,/h", "/gone,,410"]
    path.write_text("\n".join(lines))
    done = run(ini, "import-redirects", GARDEN, path)
    assert done.exit_code == 1
    assert done.stdout == f"Imported no redirects into {GARDEN}: 6 bad.\n"
    found = [line.removeprefix(f"{path}:") for line in done.stderr.splitlines()]
    assert found == [
        "4: 'a' is not a path: it must start with one slash, like /2012/old.html",
        "5: status 900 is not one of 301, 302, 410",
        "6: status 'x' is not a number like 301",
        "7: /a is already in line 2",
        "8: 1 columns: expected path, target, status, separated by commas",
        "10: /b is refused: it redirects without end: /b to /h to /a to /b",
    ]
    assert stored(sqlite_sites, sqlite_sites.garden) == {}


@pytest.mark.parametrize("content", [b"/a,/b\n\xff\n", b'/a,/b\n"' + 200_000 * b"x"])
def test_a_file_that_is_not_csv_is_refused(
    ini: Path, sqlite_sites: ContentSites, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "redirects.csv"
    path.write_bytes(content)
    done = run(ini, "import-redirects", GARDEN, path)
    assert (done.exit_code, done.stdout) == (1, f"Imported no redirects into {GARDEN}: 1 bad.\n")
    assert ": not UTF-8" in done.stderr or ": not CSV: " in done.stderr
    assert stored(sqlite_sites, sqlite_sites.garden) == {}


def test_thousands_of_redirects_are_saved_with_few_reads(sqlite_sites: ContentSites) -> None:
    rules = [parse_rule(f"/{number}", f"/entries/{number}") for number in range(2_000)]
    assert len(save(sqlite_sites, sqlite_sites.garden, *rules).added) == 2_000
    reads: list[str] = []
    sa.event.listen(sqlite_sites.engine, "before_cursor_execute", lambda *arguments: reads.append(arguments[2]))
    assert len(save(sqlite_sites, sqlite_sites.garden, *rules).unchanged) == 2_000
    assert len([each for each in reads if each.startswith("SELECT")]) == 1


@pytest.mark.parametrize("path", ["/blog//evil.example", "/blog///evil.example/x", "/blog//evil.example/"])
def test_no_visitor_can_choose_the_host_of_a_target(path: str) -> None:
    rule = parse_rule("/blog/*", "/*")
    assert location(rule, path).startswith("/evil.example")


@pytest.mark.parametrize("target", ["javascript:alert(1)", "//evil.example/", "https://[", "https://a@b.example/", "x"])
def test_a_target_that_no_command_has_written_leads_nowhere(sqlite_sites: ContentSites, target: str) -> None:
    """Rows may come from an archive of a site."""
    with Session(sqlite_sites.engine, info={"site": sqlite_sites.garden}) as session, session.begin():
        session.add(Redirect(path="/old", target=target))
    response = sqlite_sites.browser(GARDEN).get("/old", status=404)
    assert "Location" not in response.headers
