"""Embedded content of other servers, such as videos in frames, as links: no third-party scripts or frames."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape, unescape
from urllib.parse import urlsplit

__all__ = ["embed_link", "youtube_html"]

_YOUTUBE = re.compile(r"(?:https?:)?//(?:www\.)?youtube(?:-nocookie)?\.com/embed/([\w-]{6,20})", re.IGNORECASE)
_GIST = re.compile(r"(https?://gist\.github\.com/[\w./-]+?)\.js(?:[?#].*)?$", re.IGNORECASE)
_ADDRESSES = {"embed": "src", "iframe": "src", "object": "data", "script": "src"}


def youtube_html(video: str) -> str:
    """Return a link to a YouTube video, with its thumbnail."""
    name = escape(video)
    picture = f'<img src="https://i.ytimg.com/vi/{name}/hqdefault.jpg" alt="YouTube: {name}">'
    return f'<a href="https://www.youtube.com/watch?v={name}">{picture}</a>'


def embed_link(tag: str, attributes: Mapping[str, str]) -> str | None:
    """Return a link to the content that the element `tag` embeds, or None if it embeds nothing with a URL.

    `attributes` are those of the HTML element. Scripts are ignored, except those of gists.
    """
    address = unescape(attributes.get(_ADDRESSES.get(tag, ""), "")).strip()
    if video := _YOUTUBE.match(address):
        return youtube_html(video[1])
    if tag == "script":
        gist = _GIST.match(address)
        return f'<a href="{escape(gist[1])}">Gist</a>' if gist else None
    if address.startswith("//"):
        address = f"https:{address}"
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if not address or parts.scheme not in ("", "http", "https"):
        return None
    label = unescape(attributes.get("title", "")) or parts.netloc + parts.path
    return f'<a href="{escape(address)}">{escape(label)}</a>'
