"""The directory: which site a host leads to, cached from the tables `sites` and `domains`.

This package only reads the tables; `multisite.sites` changes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multisite.core.lazy import lazy_names
from multisite.directory.directory import Directory
from multisite.directory.engines import engine_from_settings, engine_from_url
from multisite.directory.matching import Match
from multisite.directory.tables import raise_version

if TYPE_CHECKING:
    from multisite.directory.models import DomainRow, SiteRow

__all__ = ["Directory", "DomainRow", "Match", "SiteRow", "engine_from_settings", "engine_from_url", "raise_version"]

# Their module needs SQLAlchemy's ORM.
__getattr__ = lazy_names(__name__, dict.fromkeys(("DomainRow", "SiteRow"), "multisite.directory.models"))
