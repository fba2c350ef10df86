"""Plots of traffic: SVG that is made here, with a bar for each span."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from babel.dates import format_datetime

from multisite.sites.traffic import Traffic

__all__ = ["PLOT_HEIGHT", "PLOT_WIDTH", "Bar", "bars", "time_label"]

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


def time_label(period: str, language: str) -> Callable[[datetime], str]:
    """Return a function that names the start of a span of a period, in this language."""
    form = "HH:mm" if period == "day" else "d. MMM" if language == "de" else "MMM d"
    return lambda moment: str(format_datetime(moment, form, locale=language))
