"""Machine-readable pages: the Atom feed (RFC 4287), the sitemap (sitemaps.org 0.9) and robots.txt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import urljoin, urlsplit, urlunsplit
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response

from multisite.content import queries
from multisite.content.etag import weak_etag
from multisite.content.head import absolute_urls
from multisite.content.models import Entry
from multisite.content.site_paths import add_path_to_text, below
from multisite.core.site import Site
from multisite.language.local_time import local_bounds

__all__ = ["PART_SIZE", "SITEMAP_SIZE", "includeme"]

SITEMAP_SIZE = 1000
"""Entries of the largest site with one sitemap; others have one for each month, and an index of them."""

PART_SIZE = 50_000
"""URLs in one part, the maximum of the protocol; a month with more entries has several."""

_ATOM = "http://www.w3.org/2005/Atom"
_SITEMAP = "http://www.sitemaps.org/schemas/sitemap/0.9"
_XML = "http://www.w3.org/XML/1998/namespace"
_UTC = ZoneInfo("UTC")
_SitemapUrl = tuple[str, datetime | None]  # A URL, and the time of its last change or None if unknown.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def feed(request: Request) -> Response:
    """The newest entries with their content, as Atom."""
    size = request.site.settings["feed_entries"]
    entries = queries.newest_with_bodies(request.dbsession, datetime.now(UTC), size)
    site, urls = request.site, request.urls
    root = ET.Element("feed", {"xmlns": _ATOM, f"{{{_XML}}}lang": site.locale})
    _add(root, "title", site.name)
    if site.settings["tagline"]:
        _add(root, "subtitle", site.settings["tagline"])
    _add(root, "id", _atom_id(urls.home(), site))
    _add(root, "link", rel="alternate", type="text/html", href=urls.home())
    _add(root, "link", rel="self", type="application/atom+xml", href=urls.feed())
    # An Atom feed must have a time of its last change.
    _add(root, "updated", _rfc3339(max((_changed(entry) for entry in entries), default=datetime.fromtimestamp(0, UTC))))
    _add(_add(root, "author"), "name", site.name)
    for entry in entries:
        image = request.pictures.lead_image_of(entry, entries)
        _add_entry(root, entry, urls.entry(entry), site, image or "")
    return _xml_response(root, "application/atom+xml")


def _atom_id(url: str, site: Site) -> str:
    """Return the Atom id of the resource at `url`, which does not depend on the request's scheme and port."""
    return urlunsplit(("http", site.host, urlsplit(url).path, "", ""))


def _add_entry(root: ET.Element, entry: Entry, address: str, site: Site, image: str) -> None:
    item = _add(root, "entry")
    _add(item, "title", entry.title)
    _add(item, "id", _atom_id(address, site))
    _add(item, "link", rel="alternate", type="text/html", href=address)
    _add(item, "updated", _rfc3339(_changed(entry)))
    if entry.published is not None:
        _add(item, "published", _rfc3339(entry.published))
    if entry.author:
        _add(_add(item, "author"), "name", entry.author)
    for tag in entry.tags:
        _add(item, "category", term=tag.slug, label=tag.name)
    if entry.picture:
        extension = entry.picture.rpartition(".")[2]
        kind = f"image/{'jpeg' if extension == 'jpg' else extension}"
        _add(item, "link", rel="enclosure", type=kind, href=urljoin(address, below(site.path, entry.picture)))
    if entry.summary:
        _add(item, "summary", entry.summary)
    # Few readers show the enclosure.
    html = (f"<p>{image}</p>\n" if image else "") + add_path_to_text(site.path, entry.body_html)
    content = _add(item, "content", absolute_urls(html, address), type="html")
    content.set(f"{{{_XML}}}base", address)


def sitemap(request: Request) -> Response:
    """The URLs of home, archive, pages and all entries, or a sitemap index if there are too many."""
    now = datetime.now(UTC)
    months = queries.count_months(request.dbsession, now)
    if months.total() <= SITEMAP_SIZE:
        return _urlset([*_fixed_urls(request), *_entry_urls(request, now)])
    root = ET.Element("sitemapindex", {"xmlns": _SITEMAP})
    parts = [f"{month}-{part}" if part > 1 else month for month in sorted(months) for part in _parts(months[month])]
    for part in ("pages", *parts):
        _add(_add(root, "sitemap"), "loc", request.urls.sitemap(part))
    return _xml_response(root, "application/xml")


def _parts(entries: int) -> range:
    return range(1, -(-entries // PART_SIZE) + 1)


def sitemap_pages(request: Request) -> Response:
    """The part of a large sitemap with the pages that are not entries."""
    return _urlset(_fixed_urls(request))


def sitemap_month(request: Request) -> Response:
    """The part of a large sitemap with the entries of a month of UTC."""
    part = int(request.matchdict.get("part", 1))
    try:
        bounds = local_bounds(_UTC, int(request.matchdict["year"]), int(request.matchdict["month"]))
    except ValueError:
        raise HTTPNotFound from None
    entries = _entry_urls(request, datetime.now(UTC), bounds, offset=(part - 1) * PART_SIZE)
    if not entries:
        raise HTTPNotFound
    return _urlset(entries)


def _entry_urls(
    request: Request, now: datetime, between: tuple[datetime, datetime] | None = None, *, offset: int = 0
) -> list[_SitemapUrl]:
    slugs = queries.list_slugs(request.dbsession, now, between, limit=PART_SIZE, offset=offset)
    return [(request.urls.entry(slug), changed) for slug, changed in slugs]


def _fixed_urls(request: Request) -> list[_SitemapUrl]:
    pages = queries.list_pages(request.dbsession)
    return [
        (request.urls.home(), None),
        (request.urls.archive(), None),
        *((request.urls.entry(page), page.updated) for page in pages),
    ]


def robots(request: Request) -> Response:
    """Allow everything, and name the sitemap; or disallow everything, by the setting `robots`."""
    # With noindex, search engines must read the pages to learn that they must not list them.
    text = f"User-agent: *\nAllow: /\n\nSitemap: {request.urls.sitemap()}\n"
    if request.site.settings["robots"] == "disallow":
        text = "User-agent: *\nDisallow: /\n"
    return Response(text, content_type="text/plain", charset="utf-8")


def _urlset(entries: Iterable[_SitemapUrl]) -> Response:
    root = ET.Element("urlset", {"xmlns": _SITEMAP})
    for address, changed in entries:
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
        ("sitemap_pages", "/sitemap-pages.xml", sitemap_pages),
        ("sitemap_month", r"/sitemap-{year:\d{4}}-{month:\d\d}.xml", sitemap_month),
        ("sitemap_month_part", r"/sitemap-{year:\d{4}}-{month:\d\d}-{part:[1-9]\d{0,3}}.xml", sitemap_month),
        ("robots", "/robots.txt", robots),
    ):
        config.add_route(name, pattern)
        config.add_view(view, route_name=name, request_method=("GET", "HEAD"), decorator=weak_etag, page_cache=True)
