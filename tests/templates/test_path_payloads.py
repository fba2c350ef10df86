"""Nothing outside: whatever a template, a view or a visitor names, no file is opened that is not the site's to show."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import payloads
import pytest

TAGS = (*payloads.CALLS, "renderer", "static")
Results = dict[str, dict[str, dict[str, Any]]]


def attempts(folder: Path, kind: str) -> Results:
    payloads.make(folder)
    command = [sys.executable, "-W", "ignore", payloads.__file__, kind, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results: Results = json.loads(done.stdout)
    return results


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return attempts(tmp_path_factory.mktemp("ours"), "multisite")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return attempts(tmp_path_factory.mktemp("plain"), "plain")


STATIC_LINKS = {f"'/static/{name}.css'" for name in ("link", "kitchen/secret", "light/secret")}
"""Names of static files whose last part is a file behind a link that leads out of the site's folder."""


@pytest.mark.parametrize("tag", TAGS)
def test_no_file_outside_is_opened(ours: Results, tag: str) -> None:
    assert len(ours[tag]) >= 60
    opened = {name for name, result in ours[tag].items() if result["outside"]}
    # A static file is opened first, and the descriptor asked where it lies: links that lead out are opened, never sent.
    assert opened <= (STATIC_LINKS if tag == "static" else set())
    assert [name for name, result in ours[tag].items() if result["told"]] == []


@pytest.mark.parametrize("tag", TAGS)
def test_plain_mako_and_pyramid_open_such_files(plain: Results, tag: str) -> None:
    """The control: the same names, folders and audit hook."""
    opened = [name for name, result in plain[tag].items() if result["outside"]]
    assert opened
    assert [name for name, result in plain[tag].items() if result["told"]]
