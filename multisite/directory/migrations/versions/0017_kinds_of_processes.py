"""kinds of processes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0017"
down_revision = "0016"


def upgrade(op: Operations) -> None:
    # Processes of the version before write rows without it: they serve requests.
    op.add_column("multisite_processes", sa.Column("kind", sa.String(10), nullable=False, server_default="server"))
