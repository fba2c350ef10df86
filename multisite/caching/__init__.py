"""Caches: dogpile.cache regions that are isolated by site.

    from multisite.caching import make_region

replaces `from dogpile.cache import make_region`. Every key contains the current site, that of the request or of
`using_site`; without a current site, `NoCurrentSite` is raised. Needs dogpile.cache (`pyramid-multisite[caching]`).
"""

from __future__ import annotations

try:
    from multisite.caching.region import SiteRegion, make_region
except ModuleNotFoundError as error:
    if not str(error.name).startswith("dogpile"):
        raise
    raise ImportError("multisite.caching needs dogpile.cache: pip install 'pyramid-multisite[caching]'") from error

__all__ = ["SiteRegion", "make_region"]
