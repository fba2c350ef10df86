"""Templates: from a site and a name to a page.

`SiteTemplates(sites_dir, templates_dir).lookup(site).get_template("/layout.mako")` is all there is to it. This package
knows Mako, sites and folders, but not Pyramid; `multisite.renderer` is for that.

`names` turns text into names and refuses what is none, `overlay` finds the file for a name, `source` reads it as its
writer leaves it, `store` compiles each file once, `lookup` is what Mako asks for one site, `cache` keeps the cached
blocks of sites apart and `dogpile` keeps them with dogpile.cache, `ahead` compiles everything before it is asked for.
"""

from __future__ import annotations

from multisite.templates.lookup import SiteLookup, SiteTemplates
from multisite.templates.overlay import find_package_file

__all__ = ["SiteLookup", "SiteTemplates", "find_package_file"]
