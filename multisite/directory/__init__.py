"""The directory: which site a host leads to, cached from the tables `sites` and `domains`.

`Directory` serves requests. The functions that add and remove sites and domains are in `multisite.directory.changes`;
the command line and tests call the same ones.
"""

from multisite.directory.cache import Directory
from multisite.directory.engines import engine_from_settings, engine_from_url
from multisite.directory.places import Match

__all__ = ["Directory", "Match", "engine_from_settings", "engine_from_url"]
