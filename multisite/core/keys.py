"""Keys under which multisite keeps its objects in the registry and in the WSGI environ.

A key that a single module uses is defined there.
"""

from __future__ import annotations

__all__ = [
    "CLOSED",
    "DIRECTORY",
    "MADE_SUBREQUEST",
    "OPEN_PATH",
    "RELEASES",
    "SETTINGS",
    "SHIFTED_PATH",
    "SUFFIX",
]

SETTINGS = "multisite.settings"
"""Registry key of the parsed `Settings`."""

DIRECTORY = "multisite.directory"
"""Registry key of the `Directory`."""

CLOSED = "multisite.closed"
"""Environ key of the `SiteClosure` of a site in maintenance; None for a site that is open."""

OPEN_PATH = "multisite.open_path"
"""Environ key that is set if the path of the request is served without a site."""

MADE_SUBREQUEST = "multisite.made_subrequest"
"""Environ key that is set once the request has made a subrequest; the page cache then does not store its response."""

RELEASES = "multisite.releases"
"""Environ key of a list of callables, which release the slots that the request holds until its response is sent."""

SUFFIX = "multisite.development_suffix"
"""Environ key of `(Host, suffix)`: the development suffix found behind the site's name, with its dot.

The Host is stored because a copied environ may be reused for another host.
"""

SHIFTED_PATH = "multisite.shifted_path"
"""Environ key of the domain's path, which the tween has moved from PATH_INFO to SCRIPT_NAME."""
