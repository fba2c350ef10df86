"""Paths of the clone and its tests, for tests that read its files or start programs."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["PYTHONPATH", "ROOT", "SUPPORT", "TESTS"]

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
SUPPORT = TESTS / "support"
PYTHONPATH = os.pathsep.join(map(str, (ROOT, TESTS, SUPPORT)))
"""The environment variable PYTHONPATH for programs that import modules of the tests."""
