"""Draw docs/architecture.svg from the imports of the package: `python3 dev.py architecture`.

A box is a module or package directly below `multisite`, and stands above everything that it imports. An arrow is an
import; one that other arrows imply is left out. Standard library only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "multisite"
PICTURE = ROOT / "docs" / "architecture.svg"

Graph = dict[str, set[str]]

HEIGHT, GAP, ROW = 26, 14, 74
"""Of a box, between two boxes, and from one row to the next, in pixels."""


_HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across:g} {down:g}" font-family="monospace" font-size="13" \
role="img" aria-label="The modules and packages of multisite, each above what it imports">
<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0 0L8 4L0 8z" fill="#778"/></marker></defs>
<rect width="{across:g}" height="{down:g}" fill="#fff"/>"""


def imported(path: Path) -> Iterator[str]:
    """Yield the absolute names that a module imports, except for type checkers."""
    todo: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        todo += ast.iter_child_nodes(node)


def read_imports(package: Path = PACKAGE) -> Graph:
    """Return which boxes each box imports."""
    names = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    names -= {"__init__", "__main__"}
    graph: Graph = {name: set() for name in sorted(names)}
    for path in sorted(package.rglob("*.py")):
        box = path.relative_to(package).parts[0].removesuffix(".py")
        for name in imported(path) if box in graph else ():
            parts = name.split(".")
            if parts[0] == package.name and len(parts) > 1 and parts[1] in names - {box}:
                graph[box].add(parts[1])
    return graph


def reachable(graph: Graph, start: str) -> set[str]:
    """Return what `start` imports, directly or through others."""
    found: set[str] = set()
    todo = list(graph[start])
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += graph[name]
    return found


def without_implied(graph: Graph) -> Graph:
    """Return the graph without each arrow that others imply; arrows of a cycle stay."""
    below = {name: reachable(graph, name) for name in graph}
    return {
        name: {
            target
            for target in targets
            if name in below[target]
            or not any(target in below[other] and name not in below[other] for other in targets - {target})
        }
        for name, targets in graph.items()
    }


def levels(graph: Graph) -> list[list[str]]:
    """Return the boxes by row, the lowest first: each box is above all that it imports, except in a cycle."""
    below = {name: reachable(graph, name) for name in graph}
    level: dict[str, int] = {}
    # A box reaches more than each box below it does, so in this order the boxes below come first.
    for name in sorted(graph, key=lambda name: (len(below[name] | {name}), name)):
        level[name] = 1 + max((level.get(target, 0) for target in graph[name] if name not in below[target]), default=0)
    return [[name for name in graph if level[name] == row] for row in sorted(set(level.values()))]


def draw(graph: Graph) -> str:
    """Return the picture as SVG."""
    arrows = without_implied(graph)
    rows = levels(graph)
    widths = {name: 8 * len(name) + 18 for name in graph}
    across = max(sum(widths[name] + GAP for name in row) for row in rows) + GAP
    place: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        left = (across - sum(widths[name] + GAP for name in row) + GAP) / 2
        for name in sorted(row, key=lambda name: (_middle(arrows[name], place, across), name)):
            place[name] = (left + widths[name] / 2, (len(rows) - number - 1) * ROW + GAP)
            left += widths[name] + GAP
    down = len(rows) * ROW - ROW + HEIGHT + 2 * GAP
    lines = [_HEAD.format(across=across, down=down)]
    for name in sorted(arrows):
        for target in sorted(arrows[name]):
            (x1, y1), (x2, y2) = place[name], place[target]
            lines.append(
                f'<line x1="{x1:g}" y1="{y1 + HEIGHT:g}" x2="{x2:g}" y2="{y2:g}" stroke="#99a" marker-end="url(#tip)"/>'
            )
    for name in sorted(place):
        x, y = place[name]
        width = widths[name]
        fill = "#e8eefc" if (PACKAGE / name).is_dir() else "#f6f6f2"
        lines.append(
            f'<rect x="{x - width / 2:g}" y="{y:g}" width="{width}" height="{HEIGHT}" rx="4" fill="{fill}" '
            f'stroke="#445"/><text x="{x:g}" y="{y + 17:g}" text-anchor="middle">{escape(name)}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _middle(targets: set[str], place: dict[str, tuple[float, float]], across: float) -> float:
    """Return the middle of what a box imports: boxes in this order have fewer arrows that cross."""
    found = [place[target][0] for target in targets if target in place]
    return sum(found) / len(found) if found else across / 2


def main() -> None:
    """Draw the picture and say where it is."""
    PICTURE.write_text(draw(read_imports()), "utf-8")
    print(f"Drawn: {PICTURE}")


if __name__ == "__main__":
    main()
