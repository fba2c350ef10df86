"""Templates: from a site and a template name to a compiled Mako template.

Use `SiteTemplates(sites_dir, templates_dir).lookup(site).get_template("/layout.mako")`. This package knows Mako, sites
and folders, but not Pyramid; `multisite.web.renderer` connects the two.

`names` parses template names and rejects unsafe ones, `overlay` finds the file for a name, `real_file` opens a file and
tells its real path, `stable_reads` reads files that may be in the middle of a write, `compiled` compiles each file
once, `lookup` is Mako's template lookup for a site, `block_cache` separates the cached blocks of sites, `dogpile`
stores them with dogpile.cache, `precompile` compiles all templates, `lint` checks them, and `assets` finds static
files.
"""

from __future__ import annotations

from multisite.templates.lookup import SiteLookup, SiteTemplates
from multisite.templates.names import canonical
from multisite.templates.overlay import find_package_file

__all__ = ["SiteLookup", "SiteTemplates", "canonical", "find_package_file"]
