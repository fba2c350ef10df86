"""ports and paths of domains

A domain was unique by its name; now it is unique by name, port and path.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0003"
down_revision = "0002"

KEY = ["host", "port", "path"]

CHECKS = {
    "ck_domains_port": "port BETWEEN 0 AND 65535",
    "ck_domains_path": "path = '' OR (substr(path, 1, 1) = '/' AND substr(path, length(path), 1) <> '/')",
    "ck_domains_canonical": "kind <> 'canonical' OR substr(host, 1, 1) <> '*'",
}


def upgrade(op: Operations) -> None:
    if op.get_context().dialect.name == "sqlite":
        _rebuild(op)
        return
    for column in _new_columns():
        op.add_column("domains", column)
    op.drop_constraint("uq_domains_host", "domains", type_="unique")
    op.create_unique_constraint("uq_domains_host_port_path", "domains", KEY)
    for name, condition in CHECKS.items():
        op.create_check_constraint(name, "domains", condition)


def _rebuild(op: Operations) -> None:
    """Rebuild the table, since SQLite cannot change constraints of an existing one. Nothing refers to this table."""
    # Not by ALTER TABLE ... RENAME, which fails if the database has a view that is already broken.
    # Alembic creates and thereby declares both tables: the scoping layer refuses SQL that names an unknown one.
    kept = op.create_table(
        "domains_0003",
        sa.Column("id", sa.Integer),
        sa.Column("site_id", sa.BigInteger),
        sa.Column("host", sa.String(253)),
        sa.Column("kind", sa.String(10)),
    )
    op.execute("INSERT INTO domains_0003 (id, site_id, host, kind) SELECT id, site_id, host, kind FROM domains")
    op.drop_table("domains")
    op.create_table(
        "domains",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("site_id", sa.BigInteger, nullable=False),
        sa.Column("host", sa.String(253), nullable=False),
        *_new_columns(),
        sa.Column("kind", sa.String(10), nullable=False, server_default="alias"),
        sa.PrimaryKeyConstraint("id", name="pk_domains"),
        sa.CheckConstraint("kind IN ('canonical', 'alias', 'redirect')", name="ck_domains_kind"),
        sa.CheckConstraint("host = lower(host) AND length(host) > 0", name="ck_domains_host"),
        *(sa.CheckConstraint(condition, name=name) for name, condition in CHECKS.items()),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_domains_site_id", ondelete="CASCADE"),
        sa.UniqueConstraint(*KEY, name="uq_domains_host_port_path"),
    )
    op.execute("INSERT INTO domains (id, site_id, host, kind) SELECT id, site_id, host, kind FROM domains_0003")
    op.drop_table(kept.name)
    op.create_index(
        "uq_domains_canonical", "domains", ["site_id"], unique=True, sqlite_where=sa.text("kind = 'canonical'")
    )
    op.create_index("ix_domains_site_id", "domains", ["site_id"])


def _new_columns() -> tuple[sa.Column[int], sa.Column[str]]:
    return (
        sa.Column("port", sa.Integer, nullable=False, server_default="0"),
        sa.Column("path", sa.String(200), nullable=False, server_default=""),
    )
