"""A site: its overview."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from babel.numbers import format_decimal
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request

from multisite.console.pages import N_, add_page, variables
from multisite.console.plots import PLOT_HEIGHT, PLOT_WIDTH, bars, time_label
from multisite.console.site_list_pages import format_size, is_counted
from multisite.directory.health_tables import measurements_table
from multisite.directory.records import SiteRecord, read_site_by_id
from multisite.directory.tables import AS_MULTISITE, sites_table
from multisite.sites.hidden_values import shown_text
from multisite.sites.traffic import read_traffic
from multisite.web.site_user import SITE_USER

__all__ = ["SITE_PATTERN", "TABS", "find_record", "includeme", "site_url", "site_variables"]

SITE_PATTERN = r"/sites/{id:[1-9]\d{0,17}}"
"""The start of the patterns of all pages of a site."""

TABS = [
    ("site", N_("Overview"), "look"),
    ("traffic", N_("Traffic"), "look"),
    ("domains", N_("Domains"), "look"),
    ("settings", N_("Settings"), "look"),
    ("theme", N_("Theme"), "look"),
    ("state", N_("State"), "run"),
    ("users", N_("Users"), "look"),
    ("copy", N_("Copy and export"), "run"),
    ("remove", N_("Remove"), "everything"),
]
"""The tabs of a site: the route, the text, and the role of those who see it. An includeme appends further ones."""


def find_record(request: Request) -> SiteRecord:
    """Return the record of the site in the path. Raises `HTTPNotFound` if there is none."""
    engine = request.console.engine
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        record = read_site_by_id(connection, int(request.matchdict["id"]))
    if record is None:
        raise HTTPNotFound
    request.console.refresh_templates(record.site)
    return record


def site_url(request: Request, record: SiteRecord) -> str:
    """Return the address of a site, with the scheme and the port of the console's own."""
    site = record.site
    port = site.port or request.environ.get("HTTP_HOST", "").rpartition(":")[2]
    is_default = not str(port).isdigit() or int(port) == {"http": 80, "https": 443}[request.scheme]
    return f"{request.scheme}://{site.host}{'' if is_default else f':{port}'}{site.path}/"


def site_variables(request: Request, record: SiteRecord, **values: Any) -> dict[str, Any]:
    """Return the variables of a template of a site: `values`, and those that all of them have."""
    has_users = SITE_USER in request.console.registry
    return variables(
        request,
        record=record,
        site=record.site,
        site_url=site_url(request, record),
        tabs=[tab for tab in TABS if has_users or tab[0] != "users"],
        is_ready=record.status not in {"pending", "removing"},
        **values,
    )


def overview(request: Request) -> Any:
    """The overview of a site."""
    record = find_record(request)
    engine = request.console.engine
    row, measured = sites_table.c, measurements_table.c
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        message, until, rows, size = connection.execute(
            sa.select(row.maintenance_message, row.maintenance_until, measured.rows, measured.bytes)
            .outerjoin_from(sites_table, measurements_table, measured.site_id == row.id)
            .where(row.id == record.site.id)
        ).one()  # fmt: skip
    own = [each for each in request.console.declared.describe(record.site) if each.source == "site"]
    folder = request.console.settings.sites_dir / record.site.folder
    counted = is_counted(request)
    spans = read_traffic(engine, record.site.id, "day") if counted else []
    return site_variables(
        request,
        record,
        message=message,
        until=until,
        own_settings=own,
        shown_text=shown_text,
        folder=folder,
        has_folder=folder.is_dir(),
        requests=sum(each.requests for each in spans) if counted else None,
        errors=sum(each.errors for each in spans) if counted else None,
        rows=rows,
        files=None if size is None else format_size(size, request.locale_name),
        count=lambda number: format_decimal(number, locale=request.locale_name),
        spans=spans,
        bars=bars(spans),
        size=(PLOT_WIDTH, PLOT_HEIGHT),
        label=time_label("day", request.locale_name),
    )


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "site", SITE_PATTERN, overview, "site", role="look")
