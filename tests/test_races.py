"""Many at once: sixteen processes that add the same site, and changes while visitors ask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from forking import Forker, forker
from test_cli import Folder

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
    # A row of sites and two of domains for each, and nothing else.
    assert folder.rows() == 3 * ROUNDS
    assert folder.folders() == sorted(f"site{number}.example" for number in range(ROUNDS))
    assert all(len(list((folder.path / "sites" / name).iterdir())) == 1 for name in folder.folders())
