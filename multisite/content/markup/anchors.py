"""Ids of headings, generated like the original tools do, so that existing links to them keep working."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from markdown_it.token import Token

__all__ = ["add_heading_ids"]

_GITHUB_DROPS = re.compile(r"[^\w\- \t]")
_DASHES = re.compile(r"[-\s]+")


def add_heading_ids(tokens: Sequence[Token], *, ascii_only: bool, raw: bool = False) -> None:
    """Give each heading without an id a unique one.

    The ids are those of GitHub, Hugo and Jekyll's kramdown; with `ascii_only` those of Python-Markdown's toc extension.
    With `raw` they are made from the Markdown of the heading, with the URLs of its links, as in Hugo.
    """
    taken = {str(token.attrs["id"]) for token in tokens if "id" in token.attrs}
    last: dict[str, int] = {}
    for token, inline in pairwise(tokens):
        if token.type == "heading_open" and "id" not in token.attrs:
            texts = (child.content for child in inline.children or () if child.type in ("text", "code_inline"))
            text = inline.content if raw else "".join(texts)
            base = _ascii_slug(text) if ascii_only else _github_slug(text)
            base = base or "heading"  # Hugo's id for a heading without letters.
            name, separator = base, "_" if ascii_only else "-"
            while name in taken:
                last[base] = last.get(base, 0) + 1
                name = f"{base}{separator}{last[base]}"
            taken.add(name)
            token.attrSet("id", name)


def _github_slug(text: str) -> str:
    return _GITHUB_DROPS.sub("", text.strip().lower()).replace(" ", "-").replace("\t", "-")


def _ascii_slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text[:1000]).encode("ascii", "ignore").decode("ascii")
    return _DASHES.sub("-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
