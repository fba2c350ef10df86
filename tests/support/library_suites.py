"""Run the test suites of libraries that multisite requires, with or without the scoping layer."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from paths import PYTHONPATH

WITH_LAYER = ("-p", "with_scoping")

SOURCES = Path(sys.prefix, "share", "source-distributions")
"""The folder of downloads, inside the environment: each release is downloaded once."""


def source_of(name: str) -> Path:
    """Return the folder with the source of the installed release; skip the test if it cannot be downloaded."""
    version = importlib.metadata.version(name)
    folder = SOURCES / f"{name}-{version}"
    if not folder.exists():
        SOURCES.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=SOURCES) as draft:
            options = ["--no-deps", "--no-binary", name, "--quiet", "--dest", draft]
            done = subprocess.run(
                # The environment of the tests has no pip.
                [Path(sys.base_prefix, "bin", "python3"), "-m", "pip", "download", *options, f"{name}=={version}"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            archives = list(Path(draft).glob("*.tar.gz"))
            if not archives:
                pytest.skip(f"the source distribution of {name} {version} cannot be downloaded: {done.stderr[-200:]}")
            # Python 3.11.2 does not have the argument, and 3.12 warns if it is missing.
            safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            shutil.unpack_archive(archives[0], draft, **safely)
            next(path for path in Path(draft).iterdir() if path.is_dir()).rename(folder)
    return folder


def run_tests(source: Path, tests: Iterable[str], *options: str, **environment: str) -> tuple[set[str], set[str]]:
    """Return the names (class::function) of the tests that pass and of those that fail."""
    paths = PYTHONPATH
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        subprocess.run(
            # -s: with the user's packages, a suite would import its own source instead of the installed release.
            [sys.executable, "-s", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--maxfail=10000", *options,
             f"--junitxml={report}", *tests],
            cwd=source, env=os.environ | {"PYTHONPATH": paths} | environment, check=False,
            stdout=subprocess.DEVNULL, timeout=7200,
        )  # fmt: skip
        cases = list(ET.parse(report).iter("testcase"))
    passed, failed = set(), set()
    for case in cases:
        name = f"{case.get('classname')}::{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(name)
        elif case.find("skipped") is None:
            passed.add(name)
    return passed - failed, failed
