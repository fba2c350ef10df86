"""The first page: the list of sites; and the form to add one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from babel.numbers import format_decimal
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request

from multisite.console.pages import N_, add_page, done, translate, variables
from multisite.console.site_list import ORDERS, list_page
from multisite.console.texts import STATUSES
from multisite.core.actor import current_actor
from multisite.directory.listing import SiteSelection, count_by_status
from multisite.errors import DomainTaken, InvalidHost, MultisiteError
from multisite.private_pages import field
from multisite.site_choices import CHOSEN_COLUMNS, choice_options
from multisite.sites.creation import create_site
from multisite.sites.themes import list_themes
from multisite.sites.traffic import Traffic, traffic_of_sites

__all__ = ["chosen_sites", "explain", "includeme"]

ORDER_TEXTS = {
    "domain": N_("Domain"),
    "name": N_("Name"),
    "newest": N_("Newest first"),
    "rows": N_("Most rows first"),
    "bytes": N_("Largest files first"),
    "changed": N_("Last changed first"),
}

NO_THEME = "-"
"""The value of the filter for sites without a theme; no theme can have this name."""

MAX_SEARCH_CHARACTERS = 253


def sites(request: Request) -> Any:
    """The list of sites, by search, status and theme."""
    query = request.GET
    chosen, order = chosen_sites(request), query.get("order", "domain")
    if order not in ORDERS:
        raise HTTPBadRequest
    engine = request.console.engine
    try:
        page = list_page(engine, chosen, order, before=query.get("before"), after=query.get("after"))
    except ValueError as error:
        raise HTTPBadRequest from error
    traffic = traffic_of_sites(engine, [each.id for each in page.sites]) if is_counted(request) else {}
    return variables(
        request,
        page=page,
        measured=max((each.measured for each in page.sites if each.measured is not None), default=None),
        size=lambda number: format_size(number, request.locale_name),
        count=lambda number: format_decimal(number, locale=request.locale_name),
        lines={site_id: _line(spans) for site_id, spans in traffic.items()},
        counts=count_by_status(engine),
        search=chosen.search or chosen.words or "",
        is_inside=chosen.search is not None,
        status=query.get("status", ""),
        theme=query.get("theme", ""),
        order=order,
        orders=ORDER_TEXTS,
        themes=list_themes(request.console.settings),
        no_theme=NO_THEME,
        filtered={name: query[name] for name in ("q", "inside", "status", "theme") if query.get(name)},
        select_path=request.static_path("multisite.console:static/select.js"),
        link=lambda **changed: _link(request, changed),
    )


def is_counted(request: Request) -> bool:
    """Return whether requests are counted."""
    counted: bool = request.console.settings.traffic
    return counted


def chosen_sites(request: Request) -> SiteSelection:
    """Return which sites the parameters of the list choose.

    A search finds the beginnings of words, which an index serves; with `inside`, all that contains the text.

    Raises:
        HTTPBadRequest: There is no such status.
    """
    query = request.GET
    search = query.get("q", "").strip()[:MAX_SEARCH_CHARACTERS].replace("\0", "")
    status, theme = query.get("status", ""), query.get("theme", "")
    if status not in {"", *STATUSES}:
        raise HTTPBadRequest
    return SiteSelection(
        search=(search or None) if query.get("inside") else None,
        statuses=[status] if status else (),
        theme=None if not theme else "" if theme == NO_THEME else theme.replace("\0", ""),
        words=None if query.get("inside") else search or None,
    )


class TrafficLine(NamedTuple):
    """The last day of a site: its requests and errors, and the points of a small line, in a box of 96 times 24."""

    requests: int
    errors: int
    points: str

    @property
    def has_many_errors(self) -> bool:
        """Whether at least one request in a hundred failed. Fewer are usual: robots send requests that fail."""
        return self.errors > 0 and self.errors * 100 >= self.requests


def _line(spans: Sequence[Traffic]) -> TrafficLine:
    most = max((each.requests for each in spans), default=0) or 1
    step = 96 / max(len(spans) - 1, 1)
    points = " ".join(f"{index * step:.1f},{23 - each.requests / most * 22:.1f}" for index, each in enumerate(spans))
    return TrafficLine(sum(each.requests for each in spans), sum(each.errors for each in spans), points)


def format_size(number: int, locale: str) -> str:
    """Return a number of bytes for people, with a unit of 1,000 bytes or a power of it."""
    units = ["B", "kB", "MB", "GB", "TB"]
    size, unit = float(number), 0
    while size >= 999.5 and unit < len(units) - 1:
        size, unit = size / 1000, unit + 1
    pattern = "#,##0" if unit == 0 or size >= 100 else "#,##0.#"
    return f"{format_decimal(size, pattern, locale=locale)} {units[unit]}"


def _link(request: Request, changed: dict[str, str]) -> str:
    """Return the address of the list with some of its parameters changed, from its first page unless one is a key."""
    kept = {name: request.GET[name] for name in ("q", "inside", "status", "theme", "order") if request.GET.get(name)}
    return str(request.route_path("sites", _query={name: text for name, text in {**kept, **changed}.items() if text}))


def add(request: Request) -> Any:
    """The form to add a site, and the site. The same form again completes an addition that was interrupted."""
    console, error = request.console, None
    texts = {name: field(request, name).strip() for name in ("host", "name", "aliases", "locale", "timezone", "theme")}
    if request.method == "POST":
        try:
            created = create_site(
                console.engine,
                texts["host"],
                settings=console.settings,
                name=texts["name"] or None,
                aliases=texts["aliases"].split(),
                locale=texts["locale"],
                timezone=texts["timezone"],
                theme=texts["theme"] or None,
            )
        except MultisiteError as refused:
            error = explain(request, refused)
            request.response.status_int = 400
        else:
            console.directory.refresh_soon()
            return done(request, "added", "site", id=created.site.id)
    else:
        texts |= {"locale": "en", "timezone": "UTC"}
    return variables(
        request,
        texts=texts,
        themes=list_themes(console.settings),
        options={name: choice_options(name, request.locale_name, texts[name]) for name in CHOSEN_COLUMNS},
        error=error,
        actor=current_actor(),
    )


def explain(request: Request, error: MultisiteError) -> str:
    """Return why a change was refused, in the language of the request as far as the console has words for it."""
    if isinstance(error, DomainTaken):
        return translate(request, "This domain already belongs to a site: {error}", error=error)
    if isinstance(error, InvalidHost):
        return translate(request, "This is not a domain: {error}", error=error)
    return translate(request, "Nothing was changed: {error}", error=error)


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "sites", "/", sites, "sites", role="look")
    add_page(config, "add_site", "/add", add, "add_site", role="run")
