"""The directory: which site a domain leads to, kept in memory and true to the tables `sites` and `domains`.

`Directory` answers requests and is safe in any thread; `multisite.directory.changes` holds the functions that add and
remove sites and domains, which the command line and tests call alike.
"""

from multisite.directory.cache import Directory
from multisite.directory.engines import engine_from_settings, engine_from_url
from multisite.directory.places import Match

__all__ = ["Directory", "Match", "engine_from_settings", "engine_from_url"]
