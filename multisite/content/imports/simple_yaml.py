"""Read the YAML that most files have, lines with a name and a short value, without the parser, which takes longer.

Values stay as written. What might mean something else, or may not be valid, is left to the parser.
"""

from __future__ import annotations

import re

__all__ = ["read_simple_yaml"]

_PLAIN = r"\w(?:[\w ().+/,'-]|:(?=[\w/]))*"
_ITEM = r"\w[\w .+/-]*"
_QUOTED = r"[\w !#$%&()*+,./:;<=>?@\[\]^{|}~-]*"
_LINE = re.compile(
    rf"([A-Za-z_][A-Za-z0-9_-]{{0,99}}):"
    rf"(?: +(?:(?P<text>{_PLAIN})|\"(?P<double>{_QUOTED})\"|'(?P<single>{_QUOTED})'"
    rf"|(?P<list>\[ *(?:{_ITEM}(?:, *{_ITEM})*)?\])))? *(?:\n|$)"
)


def read_simple_yaml(text: str) -> dict[str, str | list[str]] | None:
    """Return the fields in `text`; None if the parser must read it."""
    fields: dict[str, str | list[str]] = {}
    position = 0
    while position < len(text):
        line = _LINE.match(text, position)
        if line is None:
            return None
        kind, value = line.lastgroup, line[line.lastgroup] if line.lastgroup else ""
        if kind == "list":
            fields[line[1]] = [item.strip(" ") for item in value[1:-1].split(",") if item.strip(" ")]
        else:
            fields[line[1]] = value.rstrip(" ") if kind == "text" else value
        position = line.end()
    return fields
