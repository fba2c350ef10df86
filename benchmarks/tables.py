"""Format the results as text tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.alternatives import BASELINE, Alternative
from benchmarks.compare import HAND, SCOPED
from benchmarks.host_lookup import KINDS
from benchmarks.interleaving import Cost
from benchmarks.measure import Costs
from benchmarks.page import PATHS
from benchmarks.statements import OPERATIONS

__all__ = [
    "format_caches",
    "format_finding",
    "format_memory",
    "format_pages",
    "format_parts",
    "format_start_up",
    "format_statements",
]

PARTS = {
    "/bare": "router, tweens, view",
    "/rows": "Mako",
    "/session": "session, transaction",
    "/": "query",
}
"""What each of `PATHS` adds to the previous one."""


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is left-aligned and the others right-aligned."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (list(zip(line, widths, strict=True)) for line in lines)
    )
    return f"\n{title}\n\n{text}\n"


def _thousands(instructions: float | None) -> str:
    return "-" if instructions is None else f"{instructions / 1000:,.0f}"


def _ratio(mine: float | None, bare: float | None) -> str:
    return "-" if mine is None or not bare else f"{mine / bare:.3f}"


def format_pages(alternatives: Sequence[Alternative], costs: Costs) -> str:
    """Return the table of the whole page."""

    def row(each: Alternative) -> list[str]:
        cost, bare = costs[each.key]["/"], costs[BASELINE.key]["/"]
        return [
            each.title,
            f"{cost.microseconds:,.0f}",
            f"{cost.ratio:.3f}",
            _thousands(cost.instructions),
            _ratio(cost.instructions, bare.instructions),
        ]

    head = ["One page", "µs", "× bare", "1000 instructions", "× bare"]
    return _table("A home page of ten entries, by request", head, map(row, alternatives))


def format_parts(alternatives: Sequence[Alternative], costs: Costs) -> str:
    """Return the table that breaks down the cost of the page: in instructions, or in µs if they are unknown."""
    counted = costs[BASELINE.key]["/"].instructions is not None

    def cost(each: Alternative, path: str) -> float:
        found = costs[each.key][path]
        return (found.instructions or 0.0) / 1000 if counted else found.microseconds

    def row(each: Alternative) -> list[str]:
        before, cells = 0.0, []
        for path in PATHS:
            part = cost(each, path) - before
            cells.append(f"{part:,.0f} ({part / cost(BASELINE, '/'):.0%})")
            before = cost(each, path)
        return [each.title, *cells]

    unit = "1000 instructions" if counted else "µs"
    title = f"Where it goes, in {unit} (and in percent of the whole page of bare Pyramid)"
    return _table(title, ["Part", *(PARTS[path] for path in PATHS)], map(row, alternatives))


def format_statements(database: str, costs: Mapping[str, Mapping[str, Cost]]) -> str:
    """Return the table of single statements on one database."""
    hand, scoped = costs[HAND], costs[SCOPED]

    def row(key: str) -> list[str]:
        one, other = hand[key], scoped[key]
        return [
            OPERATIONS[key],
            f"{one.microseconds:,.0f}",
            f"{other.microseconds:,.0f}",
            f"{other.ratio:.3f}",
            _thousands(one.instructions),
            _thousands(other.instructions),
            _ratio(other.instructions, one.instructions),
        ]

    head = ["Statement", "by hand, µs", "multisite, µs", "×", "by hand, 1000 instructions", "multisite", "×"]
    return _table(
        f"Single statements on {database}: the site written by hand, and with multisite", head, map(row, OPERATIONS)
    )


def format_caches(caches: Mapping[str, Mapping[str, int]]) -> str:
    """Return the table of compiled statements and hits."""
    head = next(iter(caches.values()))
    rows = [[database, *(f"{each:,}" for each in counts.values())] for database, counts in caches.items()]
    return _table("Statements compiled, and hits, by sites in turn", ["Database", *head], rows)


def format_finding(found: Mapping[int, Mapping[str, tuple[float, float]]]) -> str:
    """Return the table of host lookups, by the number of domains."""

    def cells(kind: str) -> Iterable[str]:
        for kinds in found.values():
            yield "{:,.2f} ({:,.0f})".format(*kinds[kind]) if kind in kinds else "-"

    rows = [[title, *cells(kind)] for kind, title in KINDS.items()]
    head = ["Domains", *(f"{domains:,}" for domains in found)]
    return _table("Host lookup, in µs (and relative to the dictionary)", head, rows)


def format_start_up(seconds: Mapping[str, float]) -> str:
    """Return the table of start-ups."""
    rows = [[title, f"{each * 1000:,.0f}"] for title, each in seconds.items()]
    return _table("From the start of a process to its first page", ["Directory", "ms of processor time"], rows)


def format_memory(found: Mapping[str, int]) -> str:
    """Return the table of memory."""
    rows = [[title, f"{each / 2**20:,.1f}"] for title, each in found.items()]
    return _table("Memory of a process", ["Sites", "MiB resident"], rows)
