"""Alembic operations for the tables of an application, on SQLite and PostgreSQL.

Importing this package in a revision adds them to alembic's `op`: `op.add_site_scope` and `op.drop_site_scope` turn an
existing table into a scoped one and back; `op.enable_row_security` and `op.disable_row_security` switch PostgreSQL's
row-level security for a table. `op.distribute_table` distributes a new table of a database that is distributed.

`upgrade_own` creates and upgrades multisite's own tables, for code that creates databases, such as tests. `first_site`
returns the site for the existing rows of an application, for a migration written by hand.
"""

from __future__ import annotations

from multisite.alembic.distribute import DistributeTable
from multisite.alembic.migrate import first_site, upgrade_own
from multisite.alembic.row_security import DisableRowSecurity, EnableRowSecurity
from multisite.alembic.site_scope import AddSiteScope, DropSiteScope

__all__ = [
    "AddSiteScope",
    "DisableRowSecurity",
    "DistributeTable",
    "DropSiteScope",
    "EnableRowSecurity",
    "first_site",
    "upgrade_own",
]
