"""Positions in an ini file, for error messages.

PasteDeploy passes keys and values to a factory, without section or line numbers. The file is therefore read once more,
only to find them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from multisite.errors import MultisiteError, escape_for_message

__all__ = ["IniPosition", "IniPositions", "VhostError", "quoted_line"]

_SECTION = re.compile(r"\[(.+)\]")
_OPTION = re.compile(r"([^=:]*?)\s*[=:]")
"""Splits a line as configparser does: at the first `=` or `:`."""


class IniPosition(NamedTuple):
    """A position: `file`, `section` and `line` (from 1), each None if unknown."""

    file: str | None = None
    section: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        parts = [self.file or "", f"line {self.line}" if self.line else "", f"[{self.section}]" if self.section else ""]
        return ", ".join(filter(None, parts)) or "egg:pyramid-multisite#vhosts"


class VhostError(MultisiteError, ValueError):
    """Something in the ini file is not valid. `position` is where, `reason` says what to change."""

    def __init__(self, position: IniPosition, reason: str) -> None:
        self.position = position
        self.reason = reason
        super().__init__(f"{position}: {reason}")


class IniPositions:
    """The lines of an ini file, by section and key.

    Args:
        file: None, or a file that cannot be read, gives positions without section and line.
        keys: The keys passed to the factory. Its section is the one that has most of them and no others.
    """

    def __init__(self, file: str | None, keys: Iterable[str]) -> None:
        self.file = file
        self._sections = _read(file)
        given = set(keys)
        # A section may extend another one (`use = other`), and then has only some of the keys.
        known = given | set(self._sections.get("DEFAULT", ()))
        own = {name: lines for name, lines in self._sections.items() if given & set(lines) and _may_be(lines, known)}
        self.section = max(own, key=lambda name: len(given & set(own[name])), default=None)
        self._candidates = sorted(own, key=lambda name: name != self.section)

    def of(self, key: str) -> IniPosition:
        """Return the position of `key` in the factory's section, or in the section that it extends."""
        for section in self._candidates:
            if key in self._sections[section]:
                return IniPosition(self.file, section, self._sections[section][key])
        return IniPosition(self.file, self.section)

    def in_section(self, section: str, key: str | None = None) -> IniPosition:
        """Return the position of `key` in a section, or of the section itself."""
        lines = self._sections.get(section, {})
        return IniPosition(self.file, section, lines.get(key or "", None))


_READ_BY_PASTEDEPLOY = re.compile(r"use$|require$|filter-with$|[sg]et ")


def _may_be(lines: Mapping[str, int], known: set[str]) -> bool:
    return all(key in known or not key or _READ_BY_PASTEDEPLOY.match(key) for key in lines)


def _read(file: str | None) -> dict[str, dict[str, int]]:
    """Return the line number of each key by section; the empty key stands for the section's own line."""
    try:
        text = Path(file).read_text("utf-8") if file else ""
    except (OSError, UnicodeDecodeError):
        return {}
    sections: dict[str, dict[str, int]] = {}
    keys: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip()[0] in "#;" or line[0].isspace():
            continue  # Empty, a comment, or a continuation line.
        if match := _SECTION.match(line):
            keys = sections.setdefault(match[1], {"": number})
        elif match := _OPTION.match(line):
            keys.setdefault(match[1], number)
    return sections


def quoted_line(key: str, value: str) -> str:
    """Return `key = value` in quotes on one line, for error messages."""
    return f"'{escape_for_message(key)} = {escape_for_message(' '.join(value.split()))}'"
