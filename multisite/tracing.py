"""Tracing: add the site to the OpenTelemetry span of each request, as the attribute `multisite.site`.

Use `config.include("multisite.tracing")` together with an instrumentation that creates the spans, such as
opentelemetry-instrumentation-pyramid or that for WSGI. Needs opentelemetry-api (`pyramid-multisite[tracing]`).
"""

from __future__ import annotations

from collections.abc import Callable

try:
    from opentelemetry.trace import get_current_span
except ModuleNotFoundError as error:
    if not str(error.name).startswith("opentelemetry"):
        raise
    raise ImportError("multisite.tracing needs opentelemetry-api: pip install 'pyramid-multisite[tracing]'") from error

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

from multisite.core.current_site import current_site
from multisite.web.includes import with_multisite

__all__ = ["ATTRIBUTE", "includeme", "tracing_tween_factory"]

ATTRIBUTE = "multisite.site"
"""Name of the attribute. Its value is the site's canonical domain; without a site it is not set."""

Handler = Callable[[Request], Response]


def tracing_tween_factory(handler: Handler, registry: Registry) -> Handler:
    """Return a tween, below the one that finds the site, that sets the attribute on the request's span."""

    def tracing_tween(request: Request) -> Response:
        span, site = get_current_span(), current_site()
        if site is not None and span.is_recording():
            span.set_attribute(ATTRIBUTE, str(site))
        return handler(request)

    return tracing_tween


def includeme(config: Configurator) -> None:
    """Set the site as an attribute of each request's span. Includes multisite."""
    with_multisite(config)
    config.add_tween(
        "multisite.tracing.tracing_tween_factory",
        under="multisite.web.tween.site_tween_factory",
        over=(
            "multisite.web.error_pages.error_page_tween_factory",
            "multisite.web.maintenance.maintenance_tween_factory",
            "pyramid_tm.tm_tween_factory",
        ),
    )
