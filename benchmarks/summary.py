"""One table of what a request costs, in instructions, beside plain Pyramid and the aim: `python3 dev.py bench`.

Instructions are counted by callgrind and hardly depend on the load of the machine, so that `--against COMMIT` can
compare them with those of an earlier commit, in the same environment and by the same benchmark.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.interleaving import count_instructions
from benchmarks.pieces import BASELINE, PEERS, PEERS_FOLDER
from benchmarks.process import ROOT, Process, count_whole_process

__all__ = [
    "ROWS",
    "SHORT",
    "Counted",
    "Row",
    "check_out",
    "compare",
    "count",
    "count_peers",
    "format_comparison",
    "format_table",
    "worse",
]

START = "start to the first page"
TOLERANCE = 0.02
"""By how much a piece may cost more than in the earlier commit: where objects lie in memory makes up to this much."""

Counted = dict[str, float]
"""Instructions by piece of work."""


@dataclass(frozen=True)
class Row:
    """A line of the table: a piece of multisite's, and the one that it is compared with.

    `kind` is the application of `benchmarks.pieces`, `peer` a piece of the baseline. `aim` is the greatest ratio, or in
    thousands of instructions the greatest cost if `peer` is None.
    """

    kind: str
    piece: str
    peer: str | None
    aim: float


ROWS = (
    Row("page", "page", "page", 0.62),
    Row("once", "page, entities, statement built once", "page", 0.59),
    Row("columns", "page, columns", "page", 0.50),
    Row("cached", "cached page", "page", 0.05),
    Row("multisite", "unknown host", "page", 0.036),
    Row("multisite", "static file", "static file", 0.15),
    Row("multisite", "static file, 304", "static file, 304", 0.10),
    Row("multisite", "static_path", None, 5),
    Row("reference", "home page of the reference application", None, 5_000),
    Row("page", START, START, 1.05),
)

SHORT = ("page", "cached page", "unknown host", "static file", START)
"""The pieces that `.ci/run` compares with an earlier commit."""

_WARM_UP, _COUNTED = 30, 20

_SEEDS = (0, 1, 2)
"""Seeds of Python's hashes for a comparison. With one seed, collisions in dictionaries differ by up to 3 % between two
versions that make the same calls; the median of three hardly does."""


def count(folder: Path, wanted: Iterable[str] | None = None, *, root: Path = ROOT) -> tuple[Counted, Counted]:
    """Return the instructions of multisite's pieces, and those of the baseline.

    Args:
        folder: An empty folder.
        wanted: Pieces of multisite's; None for all. The baseline is only counted for all.
        root: The folder with the package `multisite` that is measured, and with this benchmark.

    Raises:
        subprocess.CalledProcessError: The application does not start.
    """
    subprocess.run([sys.executable, "-m", "benchmarks.pieces", "prepare", str(folder)], cwd=root, check=True)
    rows = [row for row in ROWS if wanted is None or row.piece in wanted]
    seeds = _SEEDS[:1] if wanted is None else _SEEDS
    tasks: list[tuple[str, list[str], int]] = []
    for kind in dict.fromkeys(row.kind for row in rows):
        pieces = [row.piece for row in rows if row.kind == kind]
        tasks += [(kind, [START], 0)] if START in pieces else []
        others = [piece for piece in pieces if piece != START]
        tasks += [(kind, others, seed) for seed in seeds if others]
    if wanted is None:
        tasks += [(BASELINE, [row.peer for row in rows if row.peer not in (None, START)], 0), (BASELINE, [START], 0)]

    def work(task: tuple[str, list[str], int]) -> Counted:
        kind, pieces, seed = task
        if pieces == [START]:
            return {START: count_whole_process(["benchmarks.pieces", kind, str(folder), "--once", "page"], root)}
        return _count(kind, list(dict.fromkeys(pieces)), folder, seed, root)

    ours: dict[str, list[float]] = {}
    baseline: dict[str, list[float]] = {}
    with ThreadPoolExecutor(2) as pool:
        for (kind, _pieces, _seed), found in zip(tasks, pool.map(work, tasks), strict=True):
            for piece, instructions in found.items():
                (baseline if kind == BASELINE else ours).setdefault(piece, []).append(instructions)
    return _medians(ours), _medians(baseline)


def _count(kind: str, pieces: Sequence[str], folder: Path, seed: int, root: Path) -> Counted:
    own, words = folder / f"process of {kind}, {seed}", ["benchmarks.pieces", kind, str(folder)]
    with Process(kind, words, own, callgrind=True, seed=seed, root=root) as process:
        for piece in pieces:
            process.ask("run", piece, _WARM_UP)
        process.ask("freeze")
        # A call of static_path costs less than callgrind's own work between two counts varies.
        many = [piece for piece in pieces if piece == "static_path"]
        found = count_instructions(process, [piece for piece in pieces if piece not in many], _COUNTED)
        return found | count_instructions(process, many, 100 * _COUNTED)


def count_peers(folder: Path) -> Counted:
    """Return the instructions of the page in each other framework, by the names of `PEERS`.

    Returns:
        Nothing if they are not installed.

    Args:
        folder: The folder that `count` has prepared.

    Raises:
        subprocess.CalledProcessError: Django does not start.
        RuntimeError: They do not serve the page of the baseline, so that they cannot be compared.
    """
    if not PEERS_FOLDER.exists():
        return {}
    subprocess.run([sys.executable, "-m", "benchmarks.django_page", str(folder)], cwd=ROOT, check=True)
    pages = {kind: _body(kind, folder) for kind in (BASELINE, *PEERS)}
    if len(set(pages.values())) != 1:
        raise RuntimeError(f"these pages differ: {pages}")
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda kind: _count(kind, ["page"], folder, 0, ROOT)["page"], PEERS)
        return dict(zip(PEERS, found, strict=True))


def _body(kind: str, folder: Path) -> str:
    with Process(kind, ["benchmarks.pieces", kind, str(folder)], folder / f"page of {kind}") as process:
        body: str = process.ask("body", "page")
        return body


def _medians(counted: Mapping[str, Sequence[float]]) -> Counted:
    return {piece: statistics.median(instructions) for piece, instructions in counted.items()}


def format_table(ours: Mapping[str, float], baseline: Mapping[str, float], peers: Mapping[str, float]) -> str:
    """Return the table in Markdown; a ratio or cost over its aim is marked."""
    names = {"flask": "Flask", "django": "Django"}
    heads = ["1000 instructions", "multisite", "plain Pyramid", *(names[peer] for peer in peers), "×", "aim"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in ROWS:
        mine = ours[row.piece]
        cells = [row.piece, _thousands(mine)]
        if row.peer is None:
            mark = "" if mine / 1000 <= row.aim else " (over)"
            cells[1] += mark
            cells += ["" for _ in range(len(peers) + 2)] + [f"{row.aim:,.0f}"]
        else:
            ratio = mine / baseline[row.peer]
            others = [_thousands(peers[peer]) if row.peer == "page" else "" for peer in peers]
            cells += [_thousands(baseline[row.peer]), *others]
            cells += [f"{ratio:.3f}" + ("" if ratio <= row.aim else " (over)"), f"{row.aim:g}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _thousands(instructions: float) -> str:
    thousands = instructions / 1000
    return f"{thousands:,.0f}" if thousands >= 100 else f"{thousands:,.1f}"


def worse(now: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """Return the pieces that cost more than before, beyond the tolerance."""
    return [piece for piece in now if piece in before and now[piece] > before[piece] * (1 + TOLERANCE)]


def format_comparison(now: Mapping[str, float], before: Mapping[str, float], commit: str) -> str:
    """Return a table of the cost now and in `commit`."""
    lines = [f"| 1000 instructions | now | {commit[:10]} | × |", "|---|---:|---:|---:|"]
    for piece, mine in now.items():
        lines.append(f"| {piece} | {mine / 1000:,.1f} | {before[piece] / 1000:,.1f} | {mine / before[piece]:.3f} |")
    return "\n".join(lines)


def compare(folder: Path, commit: str, wanted: Sequence[str] | None) -> tuple[Counted, Counted]:
    """Return the instructions of multisite's pieces now, and with the package of `commit`.

    Raises:
        LookupError: There is no such commit here.
    """
    root = folder / "tree"
    check_out(commit, root)
    found = []
    for name, tree in (("now", ROOT), ("before", root)):
        own = folder / name
        own.mkdir()
        found.append(count(own, wanted or [row.piece for row in ROWS], root=tree)[0])
    return found[0], found[1]


def check_out(commit: str, root: Path) -> None:
    """Write the files of `commit` into the new folder `root`, with the benchmark of today."""
    parts = ["multisite", "templates", "sites"]
    done = subprocess.run(["git", "archive", commit, *parts], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise LookupError(f"git has no files of {commit}: {done.stderr.decode().strip()}")
    root.mkdir()
    subprocess.run(["tar", "-x", "-C", str(root)], input=done.stdout, check=True)
    (root / "benchmarks").symlink_to(ROOT / "benchmarks")
