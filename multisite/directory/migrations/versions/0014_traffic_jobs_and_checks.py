"""traffic and errors of sites, jobs, and checks of domains"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0014"
down_revision = "0013"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade(op: Operations) -> None:
    op.create_table(
        "multisite_traffic",
        sa.Column("site_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("span", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("site_id", "span", "start", name="pk_multisite_traffic"),
    )
    op.create_index("ix_multisite_traffic_start", "multisite_traffic", ["span", "start"])
    op.create_table(
        "multisite_view_traffic",
        sa.Column("view", sa.String(200), nullable=False),
        sa.Column("start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("view", "start", name="pk_multisite_view_traffic"),
    )
    op.create_table(
        "multisite_errors",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("site_id", sa.BigInteger, nullable=False),
        sa.Column("view", sa.String(200), nullable=False),
        sa.Column("error", sa.String(200), nullable=False),
        sa.Column("request_id", sa.String(128)),
        sa.PrimaryKeyConstraint("id", name="pk_multisite_errors"),
    )
    op.create_index("ix_multisite_errors_site_id", "multisite_errors", ["site_id", "id"])
    op.create_table(
        "multisite_jobs",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("site", sa.String(460)),
        sa.Column("arguments", sa.JSON, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("address", sa.String(64)),
        sa.Column("request_id", sa.String(128)),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True)),
        sa.Column("heartbeat", sa.DateTime(timezone=True)),
        sa.Column("ended", sa.DateTime(timezone=True)),
        sa.Column("worker", sa.String(200)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("cancel", sa.Boolean, nullable=False),
        sa.Column("progress", sa.String(300), nullable=False),
        sa.Column("result", sa.JSON),
        sa.Column("error", sa.String(2000)),
        sa.PrimaryKeyConstraint("id", name="pk_multisite_jobs"),
        sa.CheckConstraint(
            "status IN ('waiting', 'running', 'done', 'failed', 'cancelled')", name="ck_multisite_jobs_status"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_multisite_jobs_status", "multisite_jobs", ["status", "id"])
    op.create_table(
        "multisite_domain_checks",
        sa.Column("domain", sa.String(460), nullable=False),
        sa.Column("site_id", sa.BigInteger, nullable=False),
        sa.Column("checked", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expected", sa.JSON, nullable=False),
        sa.Column("found", sa.JSON, nullable=False),
        sa.Column("dns", sa.String(12), nullable=False),
        sa.Column("certificate", sa.String(12), nullable=False),
        sa.Column("certificate_until", sa.DateTime(timezone=True)),
        sa.Column("message", sa.String(1000), nullable=False),
        sa.PrimaryKeyConstraint("domain", name="pk_multisite_domain_checks"),
    )
    op.create_index("ix_multisite_domain_checks_site_id", "multisite_domain_checks", ["site_id"])
