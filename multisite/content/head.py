"""The head of a page for search engines and link previews: Open Graph, JSON-LD, and links to the adjacent pages.

`templates/head.mako` writes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape, unescape
from typing import Any
from urllib.parse import urljoin

from pyramid.request import Request

from multisite.content.models import Entry
from multisite.content.site_paths import TAG, below

__all__ = ["Head", "absolute_urls", "head_of"]

_URL = re.compile(r'(?<= )(href|src|srcset|poster)="([^"]*)"')
_IMAGE = re.compile(r'<img\b(?:"[^"]*"|[^"<>])*? src="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Head:
    """What `head.mako` writes; None and empty values are left out.

    `properties` are those of Open Graph, some several times. `json_ld` is a text for a script element.
    """

    description: str | None
    robots: str | None
    prev_url: str | None
    next_url: str | None
    properties: list[tuple[str, str]]
    json_ld: str | None


def head_of(request: Request, variables: Mapping[str, Any]) -> Head:
    """Return the head of the page with these variables of its template."""
    site, page_kind, pager = request.site, variables.get("page_kind"), variables.get("pager")
    entry = variables.get("entry") if page_kind == "entry" else None
    text = variables.get("page") if page_kind == "page" else entry
    url = variables.get("canonical_url")
    description = (text.summary if text is not None else site.settings["tagline"]) or None
    prev_url = next_url = None
    if pager is not None:
        prev_url, next_url = pager.newer_url, pager.older_url
    elif entry is not None:
        older, newer = variables.get("older"), variables.get("newer")
        prev_url = None if older is None else request.urls.entry(older)
        next_url = None if newer is None else request.urls.entry(newer)
    properties, data = [], None
    if url is not None:
        image = _image(text, site.path, url)
        properties = _properties(request, variables, text, entry, description, image)
        data = _article(request, entry, url, image) if entry is not None else _website(request, page_kind)
    robots = None if site.settings["robots"] == "index" else "noindex"
    return Head(description, robots, prev_url, next_url, properties, None if data is None else _script_text(data))


def _properties(
    request: Request,
    variables: Mapping[str, Any],
    text: Entry | None,
    entry: Entry | None,
    description: str | None,
    image: str | None,
) -> list[tuple[str, str]]:
    found: list[tuple[str, str | None]] = [
        ("og:type", "website" if entry is None else "article"),
        ("og:site_name", request.site.name),
        ("og:title", variables.get("title") or request.site.name),
        ("og:url", variables["canonical_url"]),
        ("og:locale", variables["language"].replace("-", "_")),
        ("og:description", description),
        ("og:image", image),
        *_image_properties(request, text),
    ]
    if entry is not None:
        found.append(("article:published_time", _iso(entry.published)))
        found.append(("article:modified_time", _iso(entry.updated)))
        found.extend(("article:tag", tag.name) for tag in entry.tags)
    return [(name, value) for name, value in found if value is not None]


def _image_properties(request: Request, text: Entry | None) -> list[tuple[str, str | None]]:
    media = None if text is None else request.pictures.media_of(text)
    if media is None:
        return []
    size = [("og:image:width", str(media.width)), ("og:image:height", str(media.height))]
    return [*size, ("og:image:alt", media.alt or None)]


def _article(request: Request, entry: Entry, url: str, image: str | None) -> dict[str, Any]:
    return {
        "@type": "BlogPosting",
        "headline": entry.title,
        "description": entry.summary,
        "url": url,
        "mainEntityOfPage": url,
        "image": image,
        "datePublished": _iso(entry.published),
        "dateModified": _iso(entry.updated),
        "inLanguage": request.site.locale,
        "author": None if entry.author is None else {"@type": "Person", "name": entry.author},
        "keywords": [tag.name for tag in entry.tags],
        "publisher": {"@type": "Organization", "name": request.site.name, "url": request.urls.home()},
    }


def _website(request: Request, page_kind: str | None) -> dict[str, Any] | None:
    if page_kind != "home":
        return None
    return {
        "@type": "WebSite",
        "name": request.site.name,
        "description": request.site.settings["tagline"],
        "url": request.urls.home(),
        "inLanguage": request.site.locale,
        "potentialAction": {
            "@type": "SearchAction",
            "target": f"{request.urls.search()}?q={{words}}",
            "query-input": "required name=words",
        },
    }


def _iso(when: Any) -> str | None:
    return None if when is None else when.isoformat()


def _script_text(data: Mapping[str, Any]) -> str:
    """Return JSON that no text of an entry can end: without `<`, `>` and `&`."""
    kept = {"@context": "https://schema.org"} | {name: value for name, value in data.items() if value}
    text = json.dumps(kept, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _image(entry: Entry | None, path: str, url: str) -> str | None:
    """Return the absolute URL of the picture of the entry, or else of the first image in its text."""
    if entry is not None and entry.picture is not None:
        return urljoin(url, below(path, entry.picture))
    found = None if entry is None else _IMAGE.search(entry.body_html)
    return None if found is None else urljoin(url, unescape(found[1]))


def absolute_urls(html: str, base: str) -> str:
    """Return sanitized HTML with absolute URLs, for feed readers, many of which ignore `xml:base`."""

    def attribute(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        urls = value.split(", ") if name == "srcset" else [value]
        return f'{name}="{", ".join(_absolute(url, base) for url in urls)}"'

    return TAG.sub(lambda tag: _URL.sub(attribute, tag[0]), html)


def _absolute(url: str, base: str) -> str:
    try:
        return escape(urljoin(base, unescape(url)))
    except ValueError:  # Such as "http://[", which is kept.
        return url
