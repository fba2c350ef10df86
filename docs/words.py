"""Words that the project does not use, each with the right one beside it: part of `python3 dev.py lint`.

A word that another one replaced comes back with the next change unless something refuses it. To add one, remove it
from the pages and the code, then add it here. Examples and generated lists are not searched.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

WORDS = {
    r"anew": "again, afresh",
    r"so dass": "so that",
    r"ha[sd] to do": "must suffice",
    r"in vain": "a miss",
    r"mend(?:s|ed|ing)?": "fix",
    r"walls?": "scoping layer, row-level security",
    r"shel(?:f|ves)": "cache",
    r"errands?": "deadline, timeout",
    r"figures": "metrics, numbers",
    r"is no (?:UTF-8|text|host|number)": "is not ...",
    r"stands? (?:in|beside|behind|over)": "is in, beside, after, above",
    r"switch(?:es|ed)? (?:it )?on": "enable",
    r"hands? (?:it )?on": "pass on",
    r"laid out|lays? out": "export",
    r"spelt": "written",
    r"all the same": "nevertheless",
    r"put up": "install",
    r"neighbours?": "another site, another application, adjacent",
    r"whole way": "every step",
}
"""Patterns, and the right word, for the pages and the code of the package."""


def prose(text: str) -> str:
    """Return a page with its examples, inline code and generated lists blanked, line by line."""
    for pattern in (r"^( *)```.*?^\1```", r"<!-- (\w+) -->.*?<!-- /\1 -->", r"`[^`\n]*`"):
        text = re.sub(pattern, lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.DOTALL | re.MULTILINE)
    return text


def find(text: str, words: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    """Yield line, word and right word for each banned word of a text."""
    for pattern, right in words.items():
        for found in re.finditer(rf"\b(?:{pattern})\b", text, re.IGNORECASE):
            yield text.count("\n", 0, found.start()) + 1, found[0], right


def check(root: Path = ROOT) -> list[str]:
    """Return a line for each banned word in the pages and the code below `root`."""
    pages = [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]
    code = sorted((root / "multisite").rglob("*.py"))
    found = []
    for path in [path for path in pages if "_build" not in path.parts] + code:
        text = path.read_text("utf-8")
        is_page = path.suffix == ".md"
        for line, word, right in sorted(find(prose(text) if is_page else text, WORDS)):
            found.append(f"{path.relative_to(root)}:{line}: '{word}': write {right}")
    return found


if __name__ == "__main__":
    lines = check()
    print("\n".join(lines) or "No banned words")
    sys.exit(bool(lines))
