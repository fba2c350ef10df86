"""SQLAlchemy's own tests, with the scoping layer installed: what passes without it passes with it.

The tests are those of the installed release, out of its source distribution, on SQLite in memory. The expected
differences are named here, each with its reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import sqlalchemy as sa
from snippets import ROOT

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(os.environ.get("MULTISITE_SOAK") != "1", reason="takes half an hour: MULTISITE_SOAK=1"),
]

PARTS = ("test/sql", "test/orm", "test/ext", "test/engine")

DIFFERENT = {
    "test_explode_in_initializer": "wants the error of a table that is not there, and the layer asks what it is",
    "test_explode_in_initializer_disconnect": "the same",
}
"""Tests that may fail with the layer, by name."""

MOCKED = "MockReconnectTest"
"""Its driver is a mock of PostgreSQL's, whose cursor answers the question for row-level security by another mock."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    options = ["--no-deps", "--no-binary", "SQLAlchemy", "--quiet", "--dest", str(folder)]
    done = subprocess.run(
        # Our own environment has no pip.
        [Path(sys.base_prefix, "bin", "python3"), "-m", "pip", "download", *options, f"SQLAlchemy=={sa.__version__}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    archives = list(folder.glob("*.tar.gz"))
    if not archives:
        pytest.skip(f"the source distribution of SQLAlchemy cannot be had: {done.stderr[-200:]}")
    shutil.unpack_archive(archives[0], folder)
    return next(path for path in folder.iterdir() if path.is_dir())


def failures(source: Path, tests: list[str], *options: str) -> set[str]:
    """Return the names of the tests that fail, as class and function."""
    report = source / "report.xml"
    report.unlink(missing_ok=True)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    subprocess.run(
        # Without the user's packages, by which the suite would take its own source in place of the installed release.
        [sys.executable, "-s", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--maxfail=10000", *options,
         f"--junitxml={report}", *tests],
        cwd=source, env=os.environ | {"PYTHONPATH": paths}, check=False, stdout=subprocess.DEVNULL, timeout=7200,
    )  # fmt: skip
    cases = list(ET.parse(report).iter("testcase"))
    assert cases, "nothing was run"
    return {
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }


def test_what_passes_without_the_layer_passes_with_it(source: Path) -> None:
    found = failures(source, list(PARTS), "-p", "with_scoping", "-n", "2")
    unexpected = {name for name in found if name.rpartition("::")[2] not in DIFFERENT and MOCKED not in name}
    # Only where something fails it is looked whether that fails without it, too.
    without = failures(source, list(PARTS), "-n", "2") if unexpected else set()
    assert sorted(unexpected - without) == []
