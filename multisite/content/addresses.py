"""New addresses in the texts of a site, when it is imported or copied under another domain."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape, unescape

from pyramid.config import Configurator

__all__ = ["includeme", "rewrite_html", "rewrite_text"]

_ADDRESS = re.compile(r"(?<![\w/:])(?:https?:)?//[^\s<>\"'`\\\[\](){}|^]+", re.IGNORECASE)
"""Matches an absolute address in Markdown: up to white space, a quotation mark or a bracket."""

_ATTRIBUTE = re.compile(
    r"""(?<=[\s"'/])((?:href|src|poster|cite|action|data|srcset)\s*=\s*")([^"]*)(")""", re.IGNORECASE
)
"""Matches an attribute with addresses in cleaned HTML, whose values are in double quotes."""


def rewrite_text(text: str, url: Callable[[str], str]) -> str:
    """Return Markdown or plain text with each absolute address `a` as `url(a)`."""
    if "//" not in text:
        return text  # The pattern would be tried at each character.
    return _ADDRESS.sub(lambda match: url(match[0]), text)


def rewrite_html(html: str, url: Callable[[str], str]) -> str:
    """Return HTML with each absolute address `a` in its attributes and its text as `url(a)`."""

    def attribute(match: re.Match[str]) -> str:
        value = unescape(match[2])
        new = rewrite_text(value, url)
        return match[0] if new == value else f"{match[1]}{escape(new)}{match[3]}"

    if "//" not in html and "&" not in html:
        return html
    return rewrite_text(_ATTRIBUTE.sub(attribute, html), url)


def includeme(config: Configurator) -> None:
    """Declare the columns of entries, redirects and menus that contain addresses."""
    for column in ("summary", "body"):
        config.add_site_text("entries", column, rewrite_text)
    config.add_site_text("entries", "body_html", rewrite_html)
    for table in ("redirects", "menu_items"):
        config.add_site_text(table, "target", lambda target, url: url(target))
