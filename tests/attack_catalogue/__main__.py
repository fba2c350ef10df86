"""Print the table of attempts in Markdown; with --write, update docs/bypass-attempts.md and the README."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from attack_catalogue import GROUPS, Attempt, all_attempts

PAGE = Path(__file__).parents[2] / "docs" / "bypass-attempts.md"
README = PAGE.parents[1] / "README.md"
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def _only(attempt: Attempt) -> str:
    return f" ({NAMES[attempt.databases[0]]})" if len(attempt.databases) == 1 else ""


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("<", "\\<")


def succeeding_as_markdown() -> str:
    """Return the table of the attempts that succeed, and what to do about each."""
    lines = ["| attempt | what to do |", "|---|---|"]
    attempts = [attempt for attempt in all_attempts().values() if attempt.expected.advice]
    lines += [f"| {_escape(attempt.name)}{_only(attempt)} | {attempt.expected.advice} |" for attempt in attempts]
    return "\n".join(lines) + "\n"


def failing_as_markdown() -> str:
    """Return all other attempts, by group and outcome."""
    parts = []
    for group, title in GROUPS.items():
        outcomes: dict[str, list[str]] = {}
        for attempt in all_attempts().values():
            if attempt.group == group and not attempt.expected.advice:
                outcomes.setdefault(attempt.expected.words, []).append(_escape(attempt.name) + _only(attempt))
        parts.append(f"### {title}\n")
        parts += [f"**{words}** ({len(names)}): {'; '.join(names)}.\n" for words, names in outcomes.items()]
    return "\n".join(parts)


def write() -> None:
    """Write both lists between their markers in the page, and both numbers into the README."""
    page = PAGE.read_text("utf-8")
    for name, made in (("succeed", succeeding_as_markdown()), ("fail", failing_as_markdown())):
        page = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda m, made=made: f"{m[1]}{made}{m[2]}",
            page,
            flags=re.DOTALL,
        )
    PAGE.write_text(page, "utf-8")
    failing = sum(not attempt.expected.advice for attempt in all_attempts().values())
    readme = README.read_text("utf-8")
    readme = re.sub(r"[\d,]+ bypass attempts", f"{failing:,} bypass attempts", readme)
    readme = re.sub(r"\d+ more that do succeed", f"{len(all_attempts()) - failing} more that do succeed", readme)
    README.write_text(readme, "utf-8")


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
    else:
        print(succeeding_as_markdown())
        print(failing_as_markdown())
