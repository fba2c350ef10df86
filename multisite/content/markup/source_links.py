"""Replace addresses in the source of a text, so that a person who edits an imported entry keeps its pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from urllib.parse import unquote

from multisite.content.markup.code_spans import find_code, is_in

__all__ = ["replace_addresses"]

_ADDRESS = re.compile(
    r"(\]\([ \t]*|^[ ]{0,3}\[[^\]\n]{1,500}\]:[ \t]*"  # Before the address, in Markdown, HTML or a shortcode.
    r"|\b(?:src|href|url|path|image|image_path|file)[ \t]*=[ \t]*"
    r"|\{[{%][<%]?-?[ \t]*[\w-]{1,50}[ \t]+(?![\w-]+[ \t]*=))"
    r"""(?:<([^<>\n]{1,2000})>|"([^"\n]{1,2000})"|'([^'\n]{1,2000})'|([^\s<>"')]{1,2000}))""",
    re.MULTILINE | re.IGNORECASE,
)


def replace_addresses(source: str, new: Mapping[str, str]) -> str:
    """Return Markdown with the addresses of links, images and HTML replaced, except in code.

    Args:
        source: The Markdown.
        new: The new address for each old one, which is written without percent-encoding.
    """
    if not new:
        return source
    code = find_code(source)

    def replaced(found: re.Match[str]) -> str:
        old = next(filter(None, found.groups()[1:]))
        address = new.get(unquote(unescape(old)))
        if address is None or is_in(found.start(), code):
            return found[0]
        start, end = (position - found.start() for position in found.span(found.lastindex or 0))
        return found[0][:start] + address + found[0][end:]

    return _ADDRESS.sub(replaced, source)
