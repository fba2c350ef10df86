"""Security headers of every response of a site: what a browser may load, run and frame.

A view that sets one of the headers itself keeps its own, as the editor does. The policies are site settings, so the ini
file changes the default of all sites, and `multisite set` that of one.
"""

from __future__ import annotations

import re

from pyramid.config import Configurator
from pyramid.events import NewResponse

from multisite.errors import MultisiteError

__all__ = ["CONTENT_SECURITY_POLICY", "includeme"]

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src * data:; media-src *; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'"
)
"""Default of the setting `content_security_policy`.

Scripts and styles come from the site's own files, never from the text of a page. Images, sound and film may come from
anywhere, as authors link to them.
"""

_OTHERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}

_DIRECTIVE = re.compile(r"[a-z-]+( [^\s;,]+)*")


def check_policy(policy: str) -> None:
    """Raise `ValueError` if `policy` is not a Content-Security-Policy; empty stands for none."""
    directives = [part.strip() for part in policy.split(";")]
    if policy and not (policy.isascii() and policy.isprintable() and all(map(_DIRECTIVE.fullmatch, directives))):
        raise ValueError("directives with semicolons between them, as in \"default-src 'self'; img-src *\"")


def _add_headers(event: NewResponse) -> None:
    request, headers = event.request, event.response.headers
    for name, value in _OTHERS.items():
        headers.setdefault(name, value)
    try:
        settings = request.site.settings
    except MultisiteError:  # A response without a site, such as the 404 of an unknown host.
        headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return
    if policy := settings["content_security_policy"]:
        headers.setdefault("Content-Security-Policy", policy)
    if settings["robots"] != "index":
        headers.setdefault("X-Robots-Tag", "noindex")


def includeme(config: Configurator) -> None:
    """Declare the settings, and add the headers to every response."""
    config.add_site_setting(
        "content_security_policy",
        str,
        default=CONTENT_SECURITY_POLICY,
        doc="The Content-Security-Policy of the pages; empty for none.",
        check=check_policy,
        label="Content-Security-Policy",
    )
    config.add_site_setting(
        "robots",
        ("index", "noindex", "disallow"),
        default="index",
        doc="Whether search engines may list the pages; disallow also asks them not to read any.",
        label="Search engines",
    )
    config.add_subscriber(_add_headers, NewResponse)
