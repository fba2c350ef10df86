"""The tests of the reference application, its editor, the console and the page cache with two workers.

The ordinary run has two workers in the fixtures with the parameter "two workers".
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from content_sites import GARDEN, content_sites
from paths import PYTHONPATH, ROOT

from multisite.core.settings import parse_settings

SUITES = ("tests/content", "tests/console", "tests/caching")


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("suite", SUITES)
def test_the_suite_passes_with_two_workers(suite: str) -> None:
    environ = {**os.environ, "PYTHONPATH": PYTHONPATH}
    environ.pop("MULTISITE_SOAK", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--two-workers", suite]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]


def test_the_workers_answer_in_turn_from_folders_of_their_own(tmp_path: Path) -> None:
    with content_sites(f"sqlite:///{tmp_path / 'test.db'}", tmp_path, has_two_workers=True) as sites:
        own = parse_settings(sites.settings).sites_dir / GARDEN
        (own / "home.mako").write_text("<%! import os %>${os.getpid()} ${self.filename}", "utf-8")
        pages = [sites.browser(GARDEN).get("/").text.split() for _ in range(4)]
        assert pages[:2] == pages[2:]
        (first, first_path), (second, second_path) = pages[:2]
        assert int(first) == os.getpid() != int(second)
        assert first_path == str(own / "home.mako")
        assert Path(second_path).parts[-3:] == ("sites", GARDEN, "home.mako")
        assert not Path(second_path).is_relative_to(own.parent)
