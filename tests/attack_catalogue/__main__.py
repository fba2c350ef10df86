"""Print the table of ways in Markdown; with --write put it into docs/bypass-attempts.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from attack_catalogue import GROUPS, Way, all_ways

PAGE = Path(__file__).parents[2] / "docs" / "bypass-attempts.md"
README = PAGE.parents[1] / "README.md"
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def _only(way: Way) -> str:
    return f" ({NAMES[way.databases[0]]})" if len(way.databases) == 1 else ""


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("<", "\\<")


def limits_as_markdown() -> str:
    """Return the table of what nothing in this process can close, and what to do."""
    lines = ["| attempt | what to do |", "|---|---|"]
    ways = [way for way in all_ways().values() if way.expected.limit]
    lines += [f"| {_plain(way.name)}{_only(way)} | {way.expected.limit} |" for way in ways]
    return "\n".join(lines) + "\n"


def as_markdown() -> str:
    """Return all ways that are closed, by group and by what each ends in."""
    parts = []
    for group, title in GROUPS.items():
        endings: dict[str, list[str]] = {}
        for way in all_ways().values():
            if way.group == group and not way.expected.limit:
                endings.setdefault(way.expected.words, []).append(_plain(way.name) + _only(way))
        parts.append(f"### {title}\n")
        parts += [f"**{words}** ({len(names)}): {'; '.join(names)}.\n" for words, names in endings.items()]
    return "\n".join(parts)


def write() -> None:
    """Put both lists where the page has their marks, and their numbers into the README."""
    page = PAGE.read_text("utf-8")
    for name, made in (("limits", limits_as_markdown()), ("ways", as_markdown())):
        page = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda m, made=made: f"{m[1]}{made}{m[2]}",
            page,
            flags=re.DOTALL,
        )
    PAGE.write_text(page, "utf-8")
    closed = sum(not way.expected.limit for way in all_ways().values())
    readme = README.read_text("utf-8")
    readme = re.sub(r"[\d,]+ bypass attempts", f"{closed:,} bypass attempts", readme)
    readme = re.sub(r"\d+ more that do succeed", f"{len(all_ways()) - closed} more that do succeed", readme)
    README.write_text(readme, "utf-8")


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
    else:
        print(limits_as_markdown())
        print(as_markdown())
