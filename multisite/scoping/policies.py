"""The names of the row-level security policies, and of the setting that they read.

`multisite.alembic.row_security` creates the policies; `multisite.scoping.row_security` sets the setting.
"""

from __future__ import annotations

__all__ = ["ALL_SITES", "ALL_SITES_POLICY", "LIMIT_POLICY", "OUR_POLICIES", "SETTING", "SITE_POLICY"]

SETTING = "multisite.site_id"
"""The PostgreSQL setting that holds the id of the transaction's site."""

SITE_POLICY = "multisite_site"
ALL_SITES_POLICY = "multisite_all_sites"
LIMIT_POLICY = "multisite_limit"
"""The policies for one site, for all sites, and the restrictive one that no other policy can widen."""

OUR_POLICIES = (SITE_POLICY, ALL_SITES_POLICY, LIMIT_POLICY)

ALL_SITES = "all"
"""The value of the setting for all sites, with policies of the form `setting`."""
