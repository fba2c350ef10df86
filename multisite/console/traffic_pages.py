"""The traffic of a site: a plot, and the table of the same numbers."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request

from multisite.console.pages import N_, add_page
from multisite.console.plots import PLOT_HEIGHT, PLOT_WIDTH, bars, time_label
from multisite.console.site_pages import SITE_PATTERN, find_record, site_variables
from multisite.sites.traffic import PERIODS, last_errors, read_traffic

__all__ = ["includeme"]

PERIOD_TEXTS = {"day": N_("Day"), "week": N_("Week"), "month": N_("Month")}


def traffic(request: Request) -> Any:
    """The traffic of a site in a day, a week or a month, and its last errors."""
    record = find_record(request)
    wanted = request.GET.get("period", "day")
    period = next((each for each in PERIODS if each == wanted), None)
    if period is None:
        raise HTTPBadRequest
    engine = request.console.engine
    spans = read_traffic(engine, record.site.id, period)
    return site_variables(
        request,
        record,
        spans=spans,
        bars=bars(spans),
        size=(PLOT_WIDTH, PLOT_HEIGHT),
        period=period,
        periods=PERIOD_TEXTS,
        label=time_label(period, request.locale_name),
        errors=last_errors(engine, site_id=record.site.id),
        is_counted=request.console.settings.traffic,
    )


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "traffic", SITE_PATTERN + "/traffic", traffic, "traffic", role="look")
