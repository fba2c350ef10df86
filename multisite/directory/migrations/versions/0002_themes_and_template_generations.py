"""columns of sites and multisite_version for themes and template generations

The columns are added one by one, since `sites` must never be rebuilt (see 0001).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0002"
down_revision = "0001"

NAME_STARTS = "abcdefghijklmnopqrstuvwxyz0123456789"


def upgrade(op: Operations) -> None:
    # A column constraint, since SQLite cannot add a constraint to an existing table.
    name_of_folder = sa.CheckConstraint(
        f"length(theme) BETWEEN 1 AND 64 AND ltrim(theme, '{NAME_STARTS}-_') = '' "
        f"AND ltrim(substr(theme, 1, 1), '{NAME_STARTS}') = ''",
        name="ck_sites_theme",
    )
    op.add_column("sites", sa.Column("theme", sa.String(64), name_of_folder))
    for table in ("sites", "multisite_version"):
        op.add_column(table, sa.Column("template_generation", sa.BigInteger, nullable=False, server_default="0"))
