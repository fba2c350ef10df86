"""underscores in the hosts of domains

The CHECK accepts them. Whether they are allowed depends on the setting `multisite.allow_underscores`, which a CHECK
cannot read.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from multisite.errors import MultisiteError

revision = "0009"
down_revision = "0008"

CHECK = (
    "ltrim(host, 'abcdefghijklmnopqrstuvwxyz0123456789-{}.:[]*') = '' AND length(host) > 0 "
    "AND replace(host, '..', '') = host "
    "AND substr(host, 1, 1) <> '.' AND substr(host, length(host), 1) <> '.'"
)
BEFORE, AFTER = CHECK.format(""), CHECK.format("_")


def upgrade(op: Operations) -> None:
    _change(op, AFTER)


def downgrade(op: Operations) -> None:
    domains = sa.table("domains", sa.column("host"))
    underscored = op.get_bind().scalar(sa.select(domains.c.host).where(domains.c.host.contains("_", autoescape=True)))
    if underscored is not None:
        raise MultisiteError(
            f"the domain '{underscored}' has an underscore, which the tables before this revision do not allow"
        )
    _change(op, BEFORE)


def _change(op: Operations, condition: str) -> None:
    if op.get_context().dialect.name == "sqlite":
        _rebuild(op, condition)
        return
    op.drop_constraint("ck_domains_host", "domains", type_="check")
    op.create_check_constraint("ck_domains_host", "domains", condition)


def _rebuild(op: Operations, condition: str) -> None:
    """Rebuild the table, since SQLite cannot change constraints of an existing one (see 0003)."""
    kept = op.create_table(
        "domains_0009",
        sa.Column("id", sa.Integer),
        sa.Column("site_id", sa.BigInteger),
        sa.Column("host", sa.String(253)),
        sa.Column("port", sa.Integer),
        sa.Column("path", sa.String(200)),
        sa.Column("kind", sa.String(10)),
    )
    op.execute(
        "INSERT INTO domains_0009 (id, site_id, host, port, path, kind) "
        "SELECT id, site_id, host, port, path, kind FROM domains"
    )
    op.drop_table("domains")
    op.create_table(
        "domains",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("site_id", sa.BigInteger, nullable=False),
        sa.Column("host", sa.String(253), nullable=False),
        sa.Column("port", sa.Integer, nullable=False, server_default="0"),
        sa.Column("path", sa.String(200), nullable=False, server_default=""),
        sa.Column("kind", sa.String(10), nullable=False, server_default="alias"),
        sa.PrimaryKeyConstraint("id", name="pk_domains"),
        sa.CheckConstraint("kind IN ('canonical', 'alias', 'redirect')", name="ck_domains_kind"),
        sa.CheckConstraint(condition, name="ck_domains_host"),
        sa.CheckConstraint("port BETWEEN 0 AND 65535", name="ck_domains_port"),
        sa.CheckConstraint(
            "path = '' OR (substr(path, 1, 1) = '/' AND substr(path, length(path), 1) <> '/')", name="ck_domains_path"
        ),
        sa.CheckConstraint("kind <> 'canonical' OR substr(host, 1, 1) <> '*'", name="ck_domains_canonical"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_domains_site_id", ondelete="CASCADE"),
        sa.UniqueConstraint("host", "port", "path", name="uq_domains_host_port_path"),
    )
    op.execute(
        "INSERT INTO domains (id, site_id, host, port, path, kind) "
        "SELECT id, site_id, host, port, path, kind FROM domains_0009"
    )
    op.drop_table(kept.name)
    op.create_index(
        "uq_domains_canonical", "domains", ["site_id"], unique=True, sqlite_where=sa.text("kind = 'canonical'")
    )
    op.create_index("ix_domains_site_id", "domains", ["site_id"])
