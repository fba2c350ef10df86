"""The text of a post of Ghost as HTML: as the export has it, or rendered from the document of its editor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from multisite.content.errors import InvalidArticle
from multisite.content.exports.cards import OnLost, drop_gated, markdown_html
from multisite.content.exports.lexical import lexical_html
from multisite.content.exports.mobiledoc import mobiledoc_html
from multisite.content.imports.files import MAX_FILE_BYTES
from multisite.content.markup.tidy import NestingTooDeep

__all__ = ["post_html"]


def post_html(row: Mapping[str, Any], on_lost: OnLost) -> str:
    """Return the HTML of the post in `row`, not sanitized; empty if the post has no text.

    `on_lost` is called for what is left out. Exports of Ghost itself have the HTML; those that other programs wrote
    for Ghost's import may have the document of the editor alone.

    Raises:
        InvalidArticle: The text is too long, or cannot be read.
    """
    for name in ("html", "lexical", "mobiledoc", "markdown"):
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            continue
        if len(value) > MAX_FILE_BYTES:
            raise InvalidArticle(f"its {name} is too long")
        try:
            return _render(name, value.replace("\r\n", "\n").replace("\r", "\n"), on_lost)
        except NestingTooDeep as error:
            raise InvalidArticle(str(error)) from None
    return ""


def _render(name: str, text: str, on_lost: OnLost) -> str:
    if name == "html":
        return drop_gated(text, on_lost)
    if name == "markdown":  # Before Ghost 1.
        return markdown_html(text)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidArticle(f"no html, and its {name} is not valid JSON") from None
    if name == "lexical" and isinstance(document, dict) and isinstance(document.get("root"), dict):
        return lexical_html(document["root"], on_lost)
    if name == "mobiledoc" and isinstance(document, dict) and isinstance(document.get("sections"), list):
        return mobiledoc_html(document, on_lost)
    raise InvalidArticle(f"no html, and its {name} is not a document of Ghost's editor")
