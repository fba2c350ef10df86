"""`multisite vhosts` prints the application that serves each domain, its state, and the reason."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from vhosting import World

from multisite.cli import main

INI = """
    [pipeline:main]
    pipeline = adds domains
    [filter:adds]
    paste.filter_app_factory = PREFIX_filters:adds
    [composite:domains]
    use = egg:pyramid-multisite#vhosts
    vhosts.lazy = true
    vhosts.init = PREFIX_filters.hook
    domain example.com / = one
    domain example.com port 8080 / = two
    domain *.example.com /b%s = one
    / = broken
    [app:one]
    use = call:PREFIX_echo:main
    me = one
    [app:two]
    use = call:PREFIX_echo:main
    me = two
    [app:broken]
    use = call:PREFIX_broken:main
"""


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    log = logging.getLogger("multisite.vhosts")
    yield
    log.propagate = True
    log.handlers.clear()


def run(world: World, *words: str) -> Result:
    world.module("broken", "print('to be printed')\nraise OSError('no such luck')\n")
    world.module("filters", "def adds(app, global_conf):\n    return app\ndef hook(conf):\n    print('hooked')\n")
    return CliRunner().invoke(main, ["vhosts", str(world.ini(INI.replace("%s", ""))), *words])


def test_the_table_shows_the_state_of_each_application(world: World) -> None:
    done = run(world)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [
        ["domain", "application"], ["example.com/", "one"], ["example.com:8080/", "two"],
    ]  # fmt: skip
    assert lines[3].split() == ["*.example.com/b/", "one", "serving"]
    assert lines[4].split()[:4] == ["any", "host/", "broken", "broken"]
    assert re.fullmatch(r"\d+\.\d\d", lines[4].split()[4])
    assert len(lines) == 5
    assert "hooked" in done.stderr
    assert "app:broken is broken: OSError: no such luck" in done.stderr
    assert "Traceback" not in done.output


def test_the_table_is_available_as_json(world: World) -> None:
    done = run(world, "--json")
    rows = json.loads(done.stdout)
    assert [(row["domain"], row["application"], row["state"], row["line"]) for row in rows] == [
        ("example.com/", "one", "serving", 10),
        ("example.com:8080/", "two", "serving", 11),
        ("*.example.com/b/", "one", "serving", 12),
        ("any host/", "broken", "broken", 13),
    ]
    assert rows[3]["reason"] == "OSError: no such luck"
    assert rows[0]["seconds"] == rows[2]["seconds"] > 0
    assert rows[0]["section"] == "app:one"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://example.com:8080/x", ["[app:two] serves it", "(line 10): a port before none", "(line 13): a line"]),
        ("https://Example.com/%C3%BC", ["[app:one] serves it", "PATH_INFO '/ü'"]),
        ("http://a.b.example.com/b/c", ["[app:one] serves it", "SCRIPT_NAME '/b' and PATH_INFO '/c'"]),
        ("http://nobody.example", ["[app:broken] serves it"]),
    ],
)  # fmt: skip
def test_find_explains_which_application_serves_a_url(world: World, url: str, expected: list[str]) -> None:
    done = run(world, "--find", url)
    assert done.exit_code == 0, done.output
    for text in expected:
        assert text in done.stdout
    assert "hooked" not in done.output


def test_every_rule_can_be_the_reason(world: World) -> None:
    ini = world.ini(
        """
        [composite:main]
        use = egg:pyramid-multisite#vhosts
        domain a.b.example / = one
        domain *.b.example / = one
        domain *.example / = one
        domain *.example /x = one
        /x = one
        / = one
        [app:one]
        use = call:PREFIX_echo:main
        """
    )
    done = CliRunner().invoke(main, ["vhosts", str(ini), "--json", "--find", "http://a.b.example/x/y"])
    answer = json.loads(done.stdout)
    assert (answer["domain"], answer["line"], answer["path_info"]) == ("a.b.example/", 4, "/x/y")
    assert [(other["domain"], other["why"]) for other in answer["others"]] == [
        ("*.b.example/", "an exact name before a wildcard"),
        ("*.example/x/", "an exact name before a wildcard"),
        ("*.example/", "an exact name before a wildcard"),
        ("any host/x/", "a line with a domain before one without"),
        ("any host/", "a line with a domain before one without"),
    ]
    done = CliRunner().invoke(main, ["vhosts", str(ini), "--find", "http://c.b.example/x"])
    assert "'domain *.b.example / = one'" in done.stdout
    assert (
        "takes precedence over 'domain *.example /x = one' (line 7): a longer wildcard before a shorter one."
        in done.stdout
    )
    done = CliRunner().invoke(main, ["vhosts", str(ini), "--find", "http://c.example/x"])
    assert "takes precedence over 'domain *.example / = one' (line 6): a longer path." in done.stdout
    done = CliRunner().invoke(main, ["vhosts", str(ini), "--find", "http://other.test/x"])
    assert "takes precedence over '/ = one' (line 9): a longer path." in done.stdout


def test_no_match_and_invalid_arguments_exit_with_1(world: World) -> None:
    ini = str(world.ini(INI.replace("%s", "").replace("    / = broken\n", "")))
    world.module("filters", "def adds(app, global_conf):\n    return app\n")
    for words, message in (
        ([ini, "--find", "http://nobody.example/"], "No application serves http://nobody.example/: no line matches"),
        ([ini, "--find", "example.com"], "names no host: expected a URL such as"),
        ([ini, "--find", "ftp://example.com"], "has no scheme: expected a URL such as"),
        ([ini, "--find", "http://a b/"], "names no host"),
        ([f"{ini}#one"], "'one' is not a vhosts composite: expected a section such as [composite:main]"),
        ([f"{ini}#nothing"], "cannot be read: No section 'nothing'"),
        ([f"{ini}.gone"], "cannot be read: "),
    ):
        done = CliRunner().invoke(main, ["vhosts", *words])
        assert done.exit_code == 1, words
        assert message in done.output
        assert "Traceback" not in done.output


def test_other_commands_use_one_application_and_the_shared_database(world: World) -> None:
    ini = world.ini(
        """
        [composite:main]
        use = egg:pyramid-multisite#vhosts
        / = shop
        [app:shop]
        use = egg:pyramid-multisite
        [multisite:shared]
        sqlalchemy.url = sqlite:///%(here)s/shared.db
        """
    )
    done = CliRunner().invoke(main, ["-c", f"{ini}#shop", "list-sites"])
    assert "run 'multisite migrate'" in done.output, done.output
    assert (world.folder / "shared.db").exists()
    done = CliRunner().invoke(main, ["-c", str(ini), "list-sites"])
    assert f"has no section [app:main]: name another one as in 'multisite -c {ini}#shop'" in done.output
