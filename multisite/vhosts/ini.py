"""Where in an ini file something stands, for errors that say it.

PasteDeploy hands a factory its keys and values, and says neither section nor line. So the file is read once more, for
the lines alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from multisite.errors import MultisiteError, escape_for_message

__all__ = ["Place", "Places", "VhostError", "as_written"]

_SECTION = re.compile(r"\[(.+)\]")
_OPTION = re.compile(r"([^=:]*?)\s*[=:]")
"""As configparser cuts a line: at the first `=` or `:`."""


class Place(NamedTuple):
    """Where something stands: `file`, `section` and `line` (from 1), each None where it is not known."""

    file: str | None = None
    section: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        parts = [self.file or "", f"line {self.line}" if self.line else "", f"[{self.section}]" if self.section else ""]
        return ", ".join(filter(None, parts)) or "egg:pyramid-multisite#vhosts"


class VhostError(MultisiteError, ValueError):
    """Something in the ini file that cannot be meant. `place` is where, `reason` says what to change."""

    def __init__(self, place: Place, reason: str) -> None:
        self.place = place
        self.reason = reason
        super().__init__(f"{place}: {reason}")


class Places:
    """The lines of an ini file, by section and key.

    `file` None, or one that cannot be read, gives places that know neither. `keys` are those that the factory was
    given: the section is the one that has the most of them and no other.
    """

    def __init__(self, file: str | None, keys: Iterable[str]) -> None:
        self.file = file
        self._sections = _read(file)
        given = set(keys)
        # A section may build on another one (`use = other`), and then has only some of the keys.
        known = given | set(self._sections.get("DEFAULT", ()))
        own = {name: lines for name, lines in self._sections.items() if given & set(lines) and _may_be(lines, known)}
        self.section = max(own, key=lambda name: len(given & set(own[name])), default=None)
        self._candidates = sorted(own, key=lambda name: name != self.section)

    def of(self, key: str) -> Place:
        """Return the place of `key` in the section that the factory was given, or in the one that it builds on."""
        for section in self._candidates:
            if key in self._sections[section]:
                return Place(self.file, section, self._sections[section][key])
        return Place(self.file, self.section)

    def of_section(self, section: str, key: str | None = None) -> Place:
        """Return the place of `key` in any section, or of the section itself."""
        lines = self._sections.get(section, {})
        return Place(self.file, section, lines.get(key or "", None))


_READ_BY_PASTEDEPLOY = re.compile(r"use$|require$|filter-with$|[sg]et ")


def _may_be(lines: Mapping[str, int], known: set[str]) -> bool:
    return all(key in known or not key or _READ_BY_PASTEDEPLOY.match(key) for key in lines)


def _read(file: str | None) -> dict[str, dict[str, int]]:
    """Return the line of each key by section; the empty key is the section's own line."""
    try:
        text = Path(file).read_text("utf-8") if file else ""
    except (OSError, UnicodeDecodeError):
        return {}
    sections: dict[str, dict[str, int]] = {}
    keys: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip()[0] in "#;" or line[0].isspace():
            continue  # empty, a comment, or more of the value above
        if match := _SECTION.match(line):
            keys = sections.setdefault(match[1], {"": number})
        elif match := _OPTION.match(line):
            keys.setdefault(match[1], number)
    return sections


def as_written(key: str, value: str) -> str:
    """Return `key = value` for an error, on one line."""
    return f"'{escape_for_message(key)} = {escape_for_message(' '.join(value.split()))}'"
