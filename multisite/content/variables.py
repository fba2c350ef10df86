"""Variables of every template beside those of its view: the site, URLs, dates and phrases in its language.

`config.include("multisite.content.variables")` adds them to each page; docs/templates lists them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.events import BeforeRender
from pyramid.request import Request

from multisite.content.error_menu import error_items
from multisite.content.menu import ListOwn, NavItem, menu_of
from multisite.content.messages import phrase
from multisite.content.pictures import Pictures
from multisite.content.theme_css import theme_css_url
from multisite.content.urls import Urls
from multisite.errors import MultisiteError
from multisite.language.formats import Formats
from multisite.static import static_path

__all__ = ["NavItem", "includeme", "page_variables"]


ERRORS = frozenset({400, 403, 404, 410, 500, 503})
"""The errors with their own phrases in `multisite.content.messages`."""


def page_variables(
    request: Request, page_kind: str | None, canonical_url: str | None = None, list_own: ListOwn | None = None
) -> dict[str, Any]:
    """Return the variables of a page of the kind `page_kind` for the request's site; `menu_of` takes the others."""
    site = request.site
    formats: Formats = request.format
    urls: Urls = request.urls
    text = request.phrase
    return {
        "site": site,
        "text": text,
        "title": None,
        "page_kind": page_kind,
        "canonical_url": None,
        "direction": formats.direction,
        "language": formats.language,
        "format_date": formats.date,
        "format_number": formats.number,
        "iso_date": formats.iso,
        # Not "local", which is a namespace in every Mako template.
        "local_time": formats.local,
        "this_year": request.now().year,
        "home_url": urls.home(),
        "archive_url": urls.archive(),
        "feed_url": urls.feed(),
        "entry_url": urls.entry,
        "tag_url": urls.tag,
        "year_url": urls.year,
        "image_of": request.pictures.image_of,
        "lead_image_of": request.pictures.lead_image_of,
        "static_url": partial(static_path, request),
        "theme_css_url": None if site.theme is None else theme_css_url(request),
        "nav": menu_of(request, page_kind, canonical_url, list_own),
    }


def error_variables(request: Request, status: int, detail: str | None = None) -> dict[str, Any]:
    """Return additional variables for the error page of this HTTP status.

    A status without its own phrases uses those of its class: 409 uses 400. `detail` is shown for 503, where it is the
    operators' message for a site in maintenance; elsewhere it is meant for programmers.
    """
    known = status if status in ERRORS else 500 if status >= 500 else 400
    return {
        "page_kind": "notfound" if status == 404 else "error",
        "title": request.phrase(f"error_{known}_title"),
        "error_text": (known == 503 and detail) or request.phrase(f"error_{known}_text"),
    }


def _add_variables(event: BeforeRender) -> None:
    request = event.get("request")
    if request is None or not isinstance(event.rendering_val, dict):
        return
    try:
        given = event.rendering_val
        # Error pages are rendered after the transaction.
        list_own = error_items if "status" in given else None
        variables = page_variables(request, given.get("page_kind"), given.get("canonical_url"), list_own)
    except MultisiteError:  # A page about an unknown site.
        return
    if (status := event.rendering_val.get("status")) is not None:
        variables |= error_variables(request, status, event.rendering_val.get("detail"))
    event.update(variables)


def _phrase(request: Request, name: str, /, **values: object) -> str:
    return phrase(request.localizer, name, **values)


def includeme(config: Configurator) -> None:
    """Add `request.urls`, `request.pictures`, `request.phrase`, and the variables of all rendered templates."""
    config.include("multisite.content.error_menu")
    config.add_request_method(Urls, "urls", reify=True)
    config.add_request_method(Pictures, "pictures", reify=True)
    config.add_request_method(_phrase, "phrase")
    config.add_subscriber(_add_variables, BeforeRender)
