"""The language of code in Python-Markdown: a first line `:::python` or `#!python`, or braces, `{.python}`."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["read_code_languages"]

_FIRST_LINE = re.compile(r"\s*(?::::+|#!)([A-Za-z][\w+-]*)(?:[ \t]+hl_lines=[^\n]*)?[ \t]*(?:\n|$)", re.ASCII)
_BRACES = re.compile(r"\{[^}\n]*?\.([A-Za-z][\w+-]*)", re.ASCII)


def read_code_languages(state: Any) -> None:
    """Move the language of each code block from its text, or out of braces, to where CommonMark has it.

    A path, as in `#!/bin/sh`, is part of the code.
    """
    for token in state.tokens:
        if token.type == "fence" and (braces := _BRACES.match(token.info.strip())):
            token.info = braces[1]
        elif token.type in ("code_block", "fence") and not token.info.strip():
            first = _FIRST_LINE.match(token.content)
            if first is not None:
                token.type, token.info, token.markup = "fence", first[1], "```"
                token.content = token.content[first.end() :]
