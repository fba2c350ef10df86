"""Operations for the revisions of an application, on SQLite and PostgreSQL.

A revision that says `import multisite.alembic` finds them with alembic's own: `op.add_site_scope` and
`op.drop_site_scope` give the rows of an existing table to a site, and take that back;
`op.enable_row_security` and `op.disable_row_security` let PostgreSQL itself keep a table's sites apart.
"""

from __future__ import annotations

from multisite.alembic.row_security import DisableRowSecurity, EnableRowSecurity
from multisite.alembic.site_scope import AddSiteScope, DropSiteScope

__all__ = ["AddSiteScope", "DisableRowSecurity", "DropSiteScope", "EnableRowSecurity"]
