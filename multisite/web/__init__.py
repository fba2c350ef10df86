"""What `config.include("multisite")` gives a Pyramid application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multisite.core.lazy import lazy_names

if TYPE_CHECKING:
    from multisite.core.keys import DIRECTORY
    from multisite.web.jobs import site_of_job
    from multisite.web.renderer import TEMPLATES
    from multisite.web.secrets import site_secrets
    from multisite.web.site_archive import site_contents
    from multisite.web.site_settings import SITE_SETTINGS

__all__ = ["DIRECTORY", "SITE_SETTINGS", "TEMPLATES", "site_contents", "site_of_job", "site_secrets"]

__getattr__ = lazy_names(
    __name__,
    {
        "DIRECTORY": "multisite.core.keys",
        "site_of_job": "multisite.web.jobs",
        "TEMPLATES": "multisite.web.renderer",
        "site_secrets": "multisite.web.secrets",
        "site_contents": "multisite.web.site_archive",
        "SITE_SETTINGS": "multisite.web.site_settings",
    },
)
