"""The MetaData with all of multisite's own tables, for what needs every one of them: upgrades, checks, archives.

A process that imports only `multisite.directory.tables` has those of sites in it, which is all that a request reads.
"""

from multisite.directory import console_tables, health_tables, operator_tables, word_table  # noqa: F401
from multisite.directory.tables import metadata

__all__ = ["metadata"]
