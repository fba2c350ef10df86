"""Serve many sites from one Pyramid application.

`config.include("multisite")` finds the site of each request by its Host, renders pages from the site's own folder of
Mako templates, and limits every SQLAlchemy query to the site's rows by a `site_id` column.

Public names that need Pyramid or SQLAlchemy are imported on first use, so that commands which need neither start fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from multisite import hosts
from multisite.core.current_site import all_sites, carry, current_site, using_site
from multisite.core.lazy import lazy_names
from multisite.core.site import Site
from multisite.errors import (
    CrossSiteError,
    DirectoryUnavailable,
    DomainTaken,
    InvalidHost,
    MultisiteError,
    NoCurrentSite,
    SettingError,
    SiteSettingError,
    UnknownSite,
    UnscopedStatement,
)

if TYPE_CHECKING:
    from pyramid.config import Configurator

    from multisite.origins import is_local_url
    from multisite.scoping import SiteScoped, scoped_reference, scoped_text, site_id_column
    from multisite.web.secrets import site_secret

__all__ = [
    "CrossSiteError",
    "DirectoryUnavailable",
    "DomainTaken",
    "InvalidHost",
    "MultisiteError",
    "NoCurrentSite",
    "SettingError",
    "Site",
    "SiteScoped",
    "SiteSettingError",
    "UnknownSite",
    "UnscopedStatement",
    "all_sites",
    "carry",
    "current_site",
    "hosts",
    "includeme",
    "is_local_url",
    "scoped_reference",
    "scoped_text",
    "site_id_column",
    "site_secret",
    "using_site",
]

__getattr__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(("SiteScoped", "scoped_reference", "scoped_text", "site_id_column"), "multisite.scoping"),
        "is_local_url": "multisite.origins",
        "site_secret": "multisite.web.secrets",
    },
)


def includeme(config: Configurator) -> None:
    """Make the application serve many sites.

    This

    - parses the settings below `multisite.` (raises `SettingError`),
    - adds the directives `config.set_multisite_engine(engine)`, `config.add_site_setting(name, type, ...)`
      and `config.set_site_user(User, link_path=...)`,
    - adds `request.site` and `request.site_url`, and views for hosts without a site,
    - adds the tween that finds the site, above the exception view and pyramid_tm,
    - includes pyramid_tm; adds `request.site_session`, `request.all_sites_session`, and `request.dbsession` if
      `sqlalchemy.url` is set and the application has none of its own,
    - adds `request.localizer`, `request.format`, `request.now`, `request.localtime` and `request.local_bounds`, and a
      locale negotiator if the application has none,
    - registers the renderer for `.mako`, which looks in the folders of the site and of the shared templates,
    - adds the tween that renders error pages of the site (unless `multisite.error_pages = false`),
    - lets `using_site` find sites by id and domain.
    """
    import_module("multisite.web.configure").configure(config)
