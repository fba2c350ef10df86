"""What machines read: the Atom feed (RFC 4287), the sitemap (sitemaps.org 0.9) and robots.txt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit
from xml.etree import ElementTree as ET

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response

from multisite.content import queries
from multisite.content.conditional import conditional
from multisite.content.models import Entry
from multisite.site import Site

__all__ = ["SITEMAP_SIZE", "includeme"]

SITEMAP_SIZE = 50_000
"""Addresses in one sitemap, the most that the protocol allows; beyond that there are several, and a list of them."""

_ATOM = "http://www.w3.org/2005/Atom"
_SITEMAP = "http://www.sitemaps.org/schemas/sitemap/0.9"
_XML = "http://www.w3.org/XML/1998/namespace"
_Place = tuple[str, datetime | None]  # an address, and when what is there was last changed, where that is known
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def feed(request: Request) -> Response:
    """The newest entries, with their texts, as Atom."""
    size = request.site.settings["feed_entries"]
    entries = queries.newest_with_bodies(request.dbsession, datetime.now(UTC), size)
    site, addresses = request.site, request.addresses
    root = ET.Element("feed", {"xmlns": _ATOM, f"{{{_XML}}}lang": site.locale})
    _add(root, "title", site.name)
    if site.settings["tagline"]:
        _add(root, "subtitle", site.settings["tagline"])
    _add(root, "id", _permanent(addresses.home(), site))
    _add(root, "link", rel="alternate", type="text/html", href=addresses.home())
    _add(root, "link", rel="self", type="application/atom+xml", href=addresses.feed())
    # A feed must have a time of its last change; an empty one has never changed.
    _add(root, "updated", _rfc3339(max((_changed(entry) for entry in entries), default=datetime.fromtimestamp(0, UTC))))
    _add(_add(root, "author"), "name", site.name)
    for entry in entries:
        _add_entry(root, entry, addresses.entry(entry), site)
    return _xml_response(root, "application/atom+xml")


def _permanent(address: str, site: Site) -> str:
    """Return the id of what is at `address`: its name for readers, the same by whatever scheme and port they came."""
    return urlunsplit(("http", site.host, urlsplit(address).path, "", ""))


def _add_entry(root: ET.Element, entry: Entry, address: str, site: Site) -> None:
    item = _add(root, "entry")
    _add(item, "title", entry.title)
    _add(item, "id", _permanent(address, site))
    _add(item, "link", rel="alternate", type="text/html", href=address)
    _add(item, "updated", _rfc3339(_changed(entry)))
    if entry.published is not None:
        _add(item, "published", _rfc3339(entry.published))
    if entry.author:
        _add(_add(item, "author"), "name", entry.author)
    for tag in entry.tags:
        _add(item, "category", term=tag.slug, label=tag.name)
    if entry.summary:
        _add(item, "summary", entry.summary)
    content = _add(item, "content", entry.body_html, type="html")
    # So that a reader finds the pictures that the text names by their path alone.
    content.set(f"{{{_XML}}}base", address)


def sitemap(request: Request) -> Response:
    """The addresses of home, archive and all entries; of the parts, where there are more than fit into one."""
    places = _places(request, part=1, size=SITEMAP_SIZE + 1)
    if len(places) <= SITEMAP_SIZE:
        return _urlset(places)
    root = ET.Element("sitemapindex", {"xmlns": _SITEMAP})
    count = len(_always(request)) + queries.count_visible(request.dbsession, datetime.now(UTC))
    for part in range(1, -(-count // SITEMAP_SIZE) + 1):
        _add(_add(root, "sitemap"), "loc", request.addresses.sitemap(part))
    return _xml_response(root, "application/xml")


def sitemap_part(request: Request) -> Response:
    """One part of a sitemap that has several; home and archive are in the first."""
    places = _places(request, part=int(request.matchdict["part"]), size=SITEMAP_SIZE)
    if not places:
        raise HTTPNotFound
    return _urlset(places)


def _places(request: Request, *, part: int, size: int) -> list[_Place]:
    """Return at most `size` places, from where `part` begins."""
    always = _always(request)
    start = (part - 1) * SITEMAP_SIZE
    first = always[start:]
    limit, offset = size - len(first), max(start - len(always), 0)
    slugs = queries.list_slugs(request.dbsession, datetime.now(UTC), limit=limit, offset=offset)
    return [*first, *((request.addresses.entry(slug), changed) for slug, changed in slugs)]


def _always(request: Request) -> list[_Place]:
    return [(request.addresses.home(), None), (request.addresses.archive(), None)]


def robots(request: Request) -> Response:
    """Everything may be read, and the sitemap lists it."""
    text = f"User-agent: *\nAllow: /\n\nSitemap: {request.addresses.sitemap()}\n"
    return Response(text, content_type="text/plain", charset="utf-8")


def _urlset(places: Iterable[_Place]) -> Response:
    root = ET.Element("urlset", {"xmlns": _SITEMAP})
    for address, changed in places:
        url = _add(root, "url")
        _add(url, "loc", address)
        if changed is not None:
            _add(url, "lastmod", _rfc3339(changed))
    return _xml_response(root, "application/xml")


def _add(parent: ET.Element, name: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, name, {key: _NOT_XML.sub("", value) for key, value in attributes.items()})
    element.text = None if text is None else _NOT_XML.sub("", text)
    return element


def _changed(entry: Entry) -> datetime:
    return entry.updated if entry.published is None else max(entry.updated, entry.published)


def _rfc3339(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _xml_response(root: ET.Element, content_type: str) -> Response:
    body = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return Response(body, content_type=content_type, charset="utf-8")


def includeme(config: Configurator) -> None:
    """Add the feed, the sitemap and robots.txt."""
    for name, pattern, view in (
        ("feed", "/feed.xml", feed),
        ("sitemap", "/sitemap.xml", sitemap),
        ("sitemap_part", r"/sitemap-{part:[1-9]\d{0,5}}.xml", sitemap_part),
        ("robots", "/robots.txt", robots),
    ):
        config.add_route(name, pattern)
        config.add_view(view, route_name=name, request_method=("GET", "HEAD"), decorator=conditional, page_cache=True)
