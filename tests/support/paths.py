"""Where the clone and its tests are, for tests that read files of it and start programs of their own."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["PYTHONPATH", "ROOT", "SUPPORT", "TESTS"]

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
SUPPORT = TESTS / "support"
PYTHONPATH = os.pathsep.join(map(str, (ROOT, TESTS, SUPPORT)))
"""What a program needs in its environment that imports modules of the tests."""
