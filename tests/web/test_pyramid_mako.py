"""pyramid_mako's own tests of its integration into Pyramid, with our renderer in its place.

    python3 dev.py test tests/web/test_pyramid_mako.py

The tests are in the installed package, as they are in its source distribution. PYRAMID_MAKO_SOURCE names another copy
of either: a folder that holds `pyramid_mako/`, or a `.tar.gz`. They are skipped where there is neither.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

DIFFERENCES = {
    "TestIntegrationNoDirectories.test_render_with_abs_path": (
        # Names may hold what a visitor typed: a path in the file system is never the name of a template. A name with
        # a slash at its beginning starts at the root of the overlay.
        "TopLevelLookupException"
    ),
}
"""The tests that fail on purpose, with the exception of each."""

RUN = """
import json, sys, types, unittest
import pyramid.util

# Their templates import this module of Pyramid before 2.0.
compat = types.ModuleType("pyramid.compat")
compat.text_ = pyramid.util.text_
sys.modules["pyramid.compat"] = compat

import pyramid_mako
from pyramid_mako import tests

if sys.argv[1] == "multisite":
    pyramid_mako.includeme = lambda config: config.include("multisite.web.renderer")

suite = unittest.TestSuite(
    unittest.defaultTestLoader.loadTestsFromTestCase(case)
    for name, case in vars(tests).items()
    if name.startswith("TestIntegration")
)
result = unittest.TestResult()
suite.run(result)
failed = {test.id().removeprefix("pyramid_mako.tests."): text for test, text in result.failures + result.errors}
print(json.dumps({"count": result.testsRun, "failed": failed}))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pyramid_mako and its tests."""
    folder = tmp_path_factory.mktemp("pyramid_mako")
    named = os.environ.get("PYRAMID_MAKO_SOURCE")
    if named is None:
        spec = importlib.util.find_spec("pyramid_mako")
        if spec is None or spec.origin is None or not Path(spec.origin).with_name("tests.py").is_file():
            pytest.skip("pyramid_mako is installed without its tests: PYRAMID_MAKO_SOURCE names no copy of its source")
        shutil.copytree(Path(spec.origin).parent, folder / "pyramid_mako")
    elif Path(named).is_dir():
        shutil.copytree(Path(named, "pyramid_mako"), folder / "pyramid_mako")
    else:
        _unpack(Path(named), folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = Path(member.name).parts[1:]
            content = tar.extractfile(member) if member.isfile() and parts[:1] == ("pyramid_mako",) else None
            if content is not None and ".." not in parts:
                path = folder.joinpath(*parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())


def failures(source: Path, renderer: str) -> dict[str, str]:
    """Run the tests with a renderer, and return the tracebacks of those that fail, by their names."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, renderer],
        env={**os.environ, "PYTHONPATH": str(source), "PYTHONWARNINGS": "ignore"},
        cwd=source,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["count"] >= 27, "these are not the tests of 1.1.0, or those of a later release"
    failed: dict[str, str] = found["failed"]
    return failed


def test_they_pass_but_for_those_that_fail_on_purpose(source: Path) -> None:
    failed = failures(source, "multisite")
    assert failed.keys() == DIFFERENCES.keys(), "\n".join(failed.values())
    for name, error in DIFFERENCES.items():
        assert error in failed[name]


def test_they_pass_with_pyramid_mako(source: Path) -> None:
    """The control: the failures above are caused by multisite's renderer."""
    assert failures(source, "pyramid_mako") == {}
