"""the operator log

It is append-only: triggers refuse to change a row, or to delete one that is younger than 30 days.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0012"
down_revision = "0011"

# As in multisite/directory/operator_tables.py when this revision was written.
STATEMENTS = {
    "sqlite": (
        """CREATE TRIGGER multisite_log_update BEFORE UPDATE ON multisite_log BEGIN
SELECT RAISE(ABORT, 'the operator log is append-only');
END""",
        """CREATE TRIGGER multisite_log_delete BEFORE DELETE ON multisite_log
WHEN OLD.at > datetime('now', '-30 days') BEGIN
SELECT RAISE(ABORT, 'the operator log is append-only');
END""",
    ),
    "postgresql": (
        """CREATE FUNCTION multisite_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
IF TG_OP = 'DELETE' THEN
IF OLD.at <= now() - interval '30 days' THEN
RETURN OLD;
END IF;
END IF;
RAISE EXCEPTION 'the operator log is append-only';
END $$""",
        """CREATE TRIGGER multisite_log_change BEFORE UPDATE OR DELETE ON multisite_log
FOR EACH ROW EXECUTE FUNCTION multisite_log_refuse()""",
        """CREATE TRIGGER multisite_log_truncate BEFORE TRUNCATE ON multisite_log
FOR EACH STATEMENT EXECUTE FUNCTION multisite_log_refuse()""",
    ),
}


def upgrade(op: Operations) -> None:
    op.create_table(
        "multisite_log",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("what", sa.String(64), nullable=False),
        sa.Column("site_id", sa.BigInteger),
        sa.Column("site", sa.String(460)),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON),
        sa.Column("request_id", sa.String(128)),
        sa.Column("address", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_multisite_log"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_multisite_log_at", "multisite_log", ["at"])
    op.create_index("ix_multisite_log_site_id", "multisite_log", ["site_id", "id"])
    connection = op.get_bind()
    for statement in STATEMENTS.get(connection.dialect.name, ()):
        connection.exec_driver_sql(statement)


def downgrade(op: Operations) -> None:
    op.drop_table("multisite_log")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION multisite_log_refuse()")
