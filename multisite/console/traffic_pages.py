"""The traffic of a site: a plot, which is SVG made here, and the table of the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from babel.dates import format_datetime
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request

from multisite.console.pages import N_, add_page
from multisite.console.site_pages import SITE_PATTERN, find_record, site_variables
from multisite.sites.traffic import PERIODS, Traffic, last_errors, read_traffic

__all__ = ["Bar", "bars", "includeme"]

PERIOD_TEXTS = {"day": N_("Day"), "week": N_("Week"), "month": N_("Month")}

PLOT_WIDTH, PLOT_HEIGHT = 720, 160
"""The size of the plot, in units of its viewBox."""


class Bar(NamedTuple):
    """A bar of the plot: its left edge, its width, and the heights of its requests and of the errors among them."""

    x: float
    width: float
    requests: float
    errors: float


def bars(spans: Sequence[Traffic]) -> list[Bar]:
    """Return a bar for each span; the highest one is as high as the plot."""
    most = max((each.requests for each in spans), default=0) or 1
    step = PLOT_WIDTH / max(len(spans), 1)
    return [
        Bar(
            round(index * step + step * 0.1, 2),
            round(step * 0.8, 2),
            round(each.requests / most * PLOT_HEIGHT, 2),
            round(each.errors / most * PLOT_HEIGHT, 2),
        )
        for index, each in enumerate(spans)
    ]


def traffic(request: Request) -> Any:
    """The traffic of a site in a day, a week or a month, and its last errors."""
    record = find_record(request)
    wanted = request.GET.get("period", "day")
    period = next((each for each in PERIODS if each == wanted), None)
    if period is None:
        raise HTTPBadRequest
    engine = request.console.engine
    spans = read_traffic(engine, record.site.id, period)
    form = "HH:mm" if period == "day" else "d. MMM" if request.locale_name == "de" else "MMM d"
    return site_variables(
        request,
        record,
        spans=spans,
        bars=bars(spans),
        size=(PLOT_WIDTH, PLOT_HEIGHT),
        period=period,
        periods=PERIOD_TEXTS,
        label=lambda moment: format_datetime(moment, form, locale=request.locale_name),
        errors=last_errors(engine, site_id=record.site.id),
        is_counted=request.console.settings.traffic,
    )


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "traffic", SITE_PATTERN + "/traffic", traffic, "traffic", role="look")
