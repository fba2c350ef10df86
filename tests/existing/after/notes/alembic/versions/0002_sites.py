"""the notes so far belong to a first site"""

import sqlalchemy as sa
from alembic import op
from multisite.migrate import first_site

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade():
    # Makes multisite's own tables too, if nobody has: `alembic upgrade head` works as `multisite migrate` does.
    site_id = first_site(op.get_bind(), "www.example.com")

    op.add_column("notes", sa.Column("site_id", sa.BigInteger(), nullable=True))
    op.execute(sa.text("UPDATE notes SET site_id = :site_id").bindparams(site_id=site_id))
    op.drop_index("ix_notes_name", "notes")
    with op.batch_alter_table("notes") as notes:
        notes.alter_column("site_id", existing_type=sa.BigInteger(), nullable=False)
        notes.create_foreign_key(op.f("fk_notes_site_id_sites"), "sites", ["site_id"], ["id"])
        notes.create_unique_constraint(op.f("uq_notes_site_id_id"), ["site_id", "id"])
    op.create_index("ix_notes_name", "notes", ["site_id", "name"], unique=True)


def downgrade():
    raise NotImplementedError("two sites may have notes of the same name, which the old table cannot hold")
