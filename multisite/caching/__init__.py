"""Caches of an application's own: dogpile.cache regions in which each site sees only what was kept for it.

    from multisite.caching import make_region

in the place of `from dogpile.cache import make_region`. Every key holds the site that is current, of the request or of
`using_site`; without one there is no key, and `NoCurrentSite` is raised. Needs dogpile.cache
(`pyramid-multisite[caching]`).
"""

from __future__ import annotations

try:
    from multisite.caching.region import SiteRegion, make_region
except ModuleNotFoundError as error:
    if not str(error.name).startswith("dogpile"):
        raise
    raise ImportError("multisite.caching needs dogpile.cache: pip install 'pyramid-multisite[caching]'") from error

__all__ = ["SiteRegion", "make_region"]
