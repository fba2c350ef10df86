"""The directory: which site a host leads to, cached from the tables `sites` and `domains`.

This package only reads the tables; `multisite.sites` changes them.
"""

from multisite.directory import console_tables as console_tables  # The tables of these four belong to the MetaData of
from multisite.directory import health_tables as health_tables  # the others, and whoever uses it expects all.
from multisite.directory import operator_tables as operator_tables
from multisite.directory import word_table as word_table
from multisite.directory.directory import Directory
from multisite.directory.engines import engine_from_settings, engine_from_url
from multisite.directory.matching import Match
from multisite.directory.models import DomainRow, SiteRow, raise_version

__all__ = ["Directory", "DomainRow", "Match", "SiteRow", "engine_from_settings", "engine_from_url", "raise_version"]
