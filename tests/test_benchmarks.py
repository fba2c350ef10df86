"""The benchmark runs, and compares what it says it compares. What it measures is nobody's test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.candidates import BARE, CANDIDATES
from benchmarks.measure import check_pages
from benchmarks.page import PATHS
from benchmarks.statements import OPERATIONS

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_quick_run_shows_every_candidate_and_every_statement(tmp_path: Path) -> None:
    printed = run("-m", "benchmarks", "--quick", "--json", str(tmp_path / "figures.json"))
    for title in [each.title for each in CANDIDATES] + list(OPERATIONS.values()):
        assert title in printed
    figures = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    assert set(figures["costs"]) == {each.key for each in CANDIDATES}
    assert all(set(PATHS) <= set(pieces) for pieces in figures["costs"].values())
    assert figures["costs"][BARE.key]["/"]["ratio"] == 1


def test_the_page_by_hand_is_served_without_the_wall() -> None:
    script = "import sys; import {}; print('multisite.scoping' in sys.modules)"
    assert run("-c", script.format("benchmarks.worker, benchmarks.bare")).strip() == "False"
    assert run("-c", script.format("benchmarks.served")).strip() == "True"


def test_candidates_that_serve_different_pages_are_not_compared() -> None:
    page = "<article>" * 10
    check_pages({BARE.key: page, "other": page})
    with pytest.raises(RuntimeError, match="do not serve the same page"):
        check_pages({BARE.key: page, "other": page + "<article>"})
    with pytest.raises(RuntimeError, match="do not serve the same page"):
        check_pages({BARE.key: "", "other": ""})
