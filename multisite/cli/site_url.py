"""The option `--url` of commands that print a link to a site."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from multisite.errors import InvalidHost, MultisiteError, UnknownSite

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from multisite.core.site import Site

__all__ = ["checked_url"]


def checked_url(directory: Engine, site: Site, url: str) -> str:
    """Return `url` without a slash at its end. Raises `MultisiteError` if it is not an address of the site."""
    from multisite.directory.records import get_site

    parts = urlsplit(url)
    try:
        is_own = get_site(directory, parts.netloc + parts.path.rstrip("/")).site.id == site.id
    except (UnknownSite, InvalidHost):
        is_own = False
    if parts.scheme not in {"http", "https"} or parts.query or parts.fragment or not is_own:
        raise MultisiteError(f"'{url}' is not an address of {site}, such as https://{site}")
    return url.rstrip("/")
