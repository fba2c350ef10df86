"""The names that policies of row-level security have, and of the setting that they read.

`multisite.alembic.row_security` makes the policies; `multisite.scoping.row_security` tells transactions what they need.
"""

from __future__ import annotations

__all__ = ["ALL_SITES", "ALL_SITES_POLICY", "LIMIT_POLICY", "OUR_POLICIES", "SETTING", "SITE_POLICY"]

SETTING = "multisite.site_id"
"""The setting of PostgreSQL that holds the id of the site a transaction is for."""

SITE_POLICY = "multisite_site"
ALL_SITES_POLICY = "multisite_all_sites"
LIMIT_POLICY = "multisite_limit"
"""The names of our policies: of a site, of all sites, and the restrictive one that no other can widen."""

OUR_POLICIES = (SITE_POLICY, ALL_SITES_POLICY, LIMIT_POLICY)

ALL_SITES = "all"
"""What the setting holds for all sites, in policies of the form `setting`."""
