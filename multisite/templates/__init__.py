"""Templates: from a site and a template name to a compiled Mako template.

Use `SiteTemplates(sites_dir, templates_dir).lookup(site).get_template("/layout.mako")`. This package knows Mako, sites
and folders, but not Pyramid; `multisite.web.renderer` connects the two.

`names` parses template names and rejects unsafe ones, `overlay` finds the file for a name, `source` reads files that
may be in the middle of a write, `store` compiles each file once, `lookup` is Mako's template lookup for a site, `cache`
separates the cached blocks of sites, `dogpile` stores them with dogpile.cache, `ahead` precompiles all templates, and
`faults` checks them.
"""

from __future__ import annotations

from multisite.templates.lookup import SiteLookup, SiteTemplates
from multisite.templates.names import canonical
from multisite.templates.overlay import find_package_file

__all__ = ["SiteLookup", "SiteTemplates", "canonical", "find_package_file"]
