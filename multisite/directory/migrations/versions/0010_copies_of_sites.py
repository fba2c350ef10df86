"""the site that a site was copied from

The column is added on its own, since `sites` must never be rebuilt (see 0001).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0010"
down_revision = "0009"


def upgrade(op: Operations) -> None:
    # A column constraint, since SQLite cannot add a constraint to an existing table.
    not_empty = sa.CheckConstraint("copy_of <> ''", name="ck_sites_copy_of")
    op.add_column("sites", sa.Column("copy_of", sa.String(460), not_empty))
