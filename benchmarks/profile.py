"""Where the work of one page happens, by package: `python -m benchmarks.profile [--against COMMIT]`.

Instructions of the processor cannot be assigned to Python packages, because callgrind sees the functions of the
interpreter. So this counts, exactly and by the package of the code, the bytecode instructions that Python executes, and
the calls of functions in C that this code makes. It needs no valgrind.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from benchmarks.pieces import BASELINE, KINDS
from benchmarks.process import ROOT
from benchmarks.summary import check_out

__all__ = ["Counts", "count", "format_profile", "package_of"]

Counts = dict[str, tuple[int, int]]
"""By package: bytecode instructions, and calls of functions in C."""

_WARM_UP = 30

_NAMES = {
    "pyramid": "Pyramid, WebOb",
    "webob": "Pyramid, WebOb",
    "pyramid_tm": "pyramid_tm, transaction, zope.sqlalchemy",
    "pyramid_retry": "pyramid_tm, transaction, zope.sqlalchemy",
    "transaction": "pyramid_tm, transaction, zope.sqlalchemy",
    "zope.sqlalchemy": "pyramid_tm, transaction, zope.sqlalchemy",
    "mako": "Mako, pyramid_mako, MarkupSafe",
    "pyramid_mako": "Mako, pyramid_mako, MarkupSafe",
    "markupsafe": "Mako, pyramid_mako, MarkupSafe",
}
"""Packages that are counted together, by the first part or parts of their names."""


def count(kind: str, folder: Path) -> Counts:
    """Serve the page of `kind` once, and return what was executed. Once in a process."""
    work = KINDS[kind](folder)["page"]
    work(_WARM_UP)
    opcodes: Counter[CodeType] = Counter()
    calls: Counter[CodeType] = Counter()

    def trace_inside(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            opcodes[frame.f_code] += 1
        return trace_inside

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return trace_inside

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            calls[frame.f_code] += 1

    # Otherwise some runs would include the garbage of earlier pages.
    gc.collect()
    gc.disable()
    sys.setprofile(profile)
    sys.settrace(trace)
    work(1)
    sys.settrace(None)
    sys.setprofile(None)
    gc.enable()
    found: dict[str, tuple[int, int]] = {}
    for code in opcodes.keys() | calls.keys():
        package = package_of(code.co_filename)
        before = found.get(package, (0, 0))
        found[package] = (before[0] + opcodes[code], before[1] + calls[code])
    return found


def package_of(filename: str) -> str:
    """Return the package that the code in `filename` belongs to, under the name that the table has."""
    for folder in ("site-packages/", "benchmarks/"):
        _, found, rest = filename.rpartition(folder)
        if found:
            parts = rest.split("/") if folder == "site-packages/" else ["the benchmark"]
            break
    else:
        _, found, rest = filename.rpartition("/multisite/")
        parts = ["multisite", *rest.split("/")] if found else []
    if not parts:
        if filename.startswith("<sqlalchemy"):
            return "SQLAlchemy"
        # Compiled templates are named after the template, modules of the standard library after their file.
        return "Python" if filename.startswith(("<", f"{sys.base_prefix}/")) else "the templates"
    name = ".".join(parts[:2]) if parts[0] in ("multisite", "zope") else parts[0]
    if name.startswith("sqlalchemy"):
        return "SQLAlchemy"
    return _NAMES.get(name, name.removesuffix(".py"))


def format_profile(profiles: Mapping[str, Counts]) -> str:
    """Return the table in Markdown: a column for each application, the last one sorted."""
    last = list(profiles.values())[-1]
    packages = sorted(
        {name for counts in profiles.values() for name in counts}, key=lambda name: -last.get(name, (0,))[0]
    )
    lines = [
        "| bytecode instructions, calls in C | " + " | ".join(profiles) + " |",
        "|---|" + "---:|" * len(profiles),
    ]
    sums = {title: tuple(map(sum, zip(*counts.values(), strict=True))) for title, counts in profiles.items()}
    for name in packages:
        cells = [_cell(counts.get(name)) for counts in profiles.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append("| all | " + " | ".join(_cell(sums[title]) for title in profiles) + " |")
    return "\n".join(lines)


def _cell(counted: Any) -> str:
    return "" if counted is None else f"{counted[0]:,}, {counted[1]:,}"


def _of_process(kind: str, folder: Path, root: Path) -> Counts:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.profile", "--count", kind, str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return {name: tuple(counted) for name, counted in json.loads(done.stdout).items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or the counts of one application."""
    parser = argparse.ArgumentParser(prog="benchmarks.profile", description=__doc__)
    parser.add_argument("--against", metavar="COMMIT", help="also count the page of this commit")
    parser.add_argument("--count", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.count is not None:
        kind, folder = options.count
        print(json.dumps(count(kind, Path(folder))))
        return
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as temporary:
        folder = Path(temporary)
        subprocess.run([sys.executable, "-m", "benchmarks.pieces", "prepare", str(folder)], cwd=ROOT, check=True)
        profiles = {"plain Pyramid": _of_process(BASELINE, folder, ROOT)}
        if options.against is not None:
            check_out(options.against, folder / "tree")
            profiles[options.against[:10]] = _of_process("page", folder, folder / "tree")
        profiles["multisite"] = _of_process("page", folder, ROOT)
    print(format_profile(profiles))


if __name__ == "__main__":
    main()
