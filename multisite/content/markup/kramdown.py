"""What kramdown has in whole lines beside CommonMark: extensions, names of attribute lists, and lists below tables.

See https://kramdown.gettalong.org/syntax.html#extensions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from multisite.content.markup.code_spans import find_code, is_in

__all__ = ["prepare_kramdown"]

_COMMENT, _COMMENT_END = re.compile(r"\{::comment\}"), re.compile(r"\{:/(?:comment)?\}")
_MARKS = re.compile(
    r"\{::?/?(?:nomarkdown|options)[^}\n]{0,500}\}|\{:/\}"  # Their content is shown.
    r"|^[ ]{0,3}\{:[\w-]{1,100}:[^}\n]{0,500}\}[ \t]*$"  # The definition of a named list.
    r"|(?<=\|\n)[ ]{0,3}\{:[^}\n]{0,500}\}[ \t]*$"  # The list of a table.
    r"|^\^[ \t]*$",  # Separates two blocks.
    re.MULTILINE,
)


def prepare_kramdown(source: str) -> str:
    """Return `source` without the marks, in as many lines."""
    if "{:" not in source and "\n^" not in source:
        return source
    source = "".join(_without_comments(source))
    code = find_code(source)
    return _MARKS.sub(lambda found: found[0] if is_in(found.start(), code) else "\n" * found[0].count("\n"), source)


def _without_comments(source: str) -> Iterator[str]:
    code, position = find_code(source), 0
    for start in _COMMENT.finditer(source):
        if start.start() < position or is_in(start.start(), code):
            continue
        end = _COMMENT_END.search(source, start.end())
        if end is None:
            break
        yield source[position : start.start()] + "\n" * source.count("\n", start.start(), end.end())
        position = end.end()
    yield source[position:]
