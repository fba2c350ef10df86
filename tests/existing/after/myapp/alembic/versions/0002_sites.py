"""the rows so far belong to a first site"""

import multisite.alembic  # noqa: F401  # Adds the operations to op.
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade():
    op.add_site_scope("models", site="www.example.com")


def downgrade():
    op.drop_site_scope("models")
