"""multisite's own tables for its operators: the log, traffic, errors, jobs and checks of domains.

They are for the whole of multisite. No statement within a site can name them (`multisite.scoping.tables`), and they
have no foreign keys, so that what they say about a site remains when the site is removed.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection

from multisite.directory.tables import BigId, UtcDateTime, metadata

__all__ = [
    "LOG_FLOOR_DAYS",
    "LOG_STATEMENTS",
    "domain_checks_table",
    "errors_table",
    "jobs_table",
    "log_table",
    "traffic_table",
    "view_traffic_table",
]

LOG_FLOOR_DAYS = 30
"""The database refuses to delete a row of the log that is younger, whoever asks."""

log_table = sa.Table(
    "multisite_log",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("who", sa.String(200), nullable=False),
    sa.Column("what", sa.String(64), nullable=False),
    sa.Column("site_id", sa.BigInteger),
    sa.Column("site", sa.String(460)),
    sa.Column("before", sa.JSON(none_as_null=True)),
    sa.Column("after", sa.JSON(none_as_null=True)),
    sa.Column("request_id", sa.String(128)),
    sa.Column("address", sa.String(64)),
    sa.Index("ix_multisite_log_at", "at"),
    sa.Index("ix_multisite_log_site_id", "site_id", "id"),
    # A reused id would put a new row among old ones.
    sqlite_autoincrement=True,
)
"""The operator log. `site` is the canonical domain of the site at that time; both are NULL for what concerns no site.

`before` and `after` are objects with the values that differ. Triggers make the table append-only.
"""

traffic_table = sa.Table(
    "multisite_traffic",
    metadata,
    sa.Column("site_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("span", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("start", UtcDateTime, primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Index("ix_multisite_traffic_start", "span", "start"),
)
"""The requests of a site in `span` seconds from `start` on: a minute, an hour or a day in UTC.

`site_id` is 0 for requests without a site. `seconds` is the sum of their durations.
"""

view_traffic_table = sa.Table(
    "multisite_view_traffic",
    metadata,
    sa.Column("view", sa.String(200), primary_key=True),
    sa.Column("start", UtcDateTime, primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
)
"""The requests for a view of all sites in the hour from `start` on. `view` is the name of its route."""

errors_table = sa.Table(
    "multisite_errors",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("site_id", sa.BigInteger, nullable=False),
    sa.Column("view", sa.String(200), nullable=False),
    sa.Column("error", sa.String(200), nullable=False),
    sa.Column("request_id", sa.String(128)),
    sa.Column("path", sa.String(200)),
    sa.Index("ix_multisite_errors_site_id", "site_id", "id"),
)
"""The last errors of each site. `error` is the status and the type of the exception: its text may hold anything. `path`
is without its query, and without parts that look like tokens; NULL if the error is older than the column."""

jobs_table = sa.Table(
    "multisite_jobs",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("site", sa.String(460)),
    sa.Column("arguments", sa.JSON, nullable=False),
    sa.Column("who", sa.String(200), nullable=False),
    sa.Column("address", sa.String(64)),
    sa.Column("request_id", sa.String(128)),
    sa.Column("status", sa.String(12), nullable=False),
    sa.Column("created", UtcDateTime, nullable=False),
    sa.Column("started", UtcDateTime),
    sa.Column("heartbeat", UtcDateTime),
    sa.Column("ended", UtcDateTime),
    sa.Column("worker", sa.String(200)),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("cancel", sa.Boolean, nullable=False),
    sa.Column("progress", sa.String(300), nullable=False),
    sa.Column("result", sa.JSON(none_as_null=True)),
    sa.Column("error", sa.String(2000)),
    sa.CheckConstraint("status IN ('waiting', 'running', 'done', 'failed', 'cancelled')", name="status"),
    sa.Index("ix_multisite_jobs_status", "status", "id"),
    sqlite_autoincrement=True,
)
"""Long work for `multisite work`. `worker` is the process that does it, and `heartbeat` its last sign of life."""

domain_checks_table = sa.Table(
    "multisite_domain_checks",
    metadata,
    sa.Column("domain", sa.String(460), primary_key=True),
    sa.Column("site_id", sa.BigInteger, nullable=False),
    sa.Column("checked", UtcDateTime, nullable=False),
    sa.Column("expected", sa.JSON, nullable=False),
    sa.Column("found", sa.JSON, nullable=False),
    sa.Column("dns", sa.String(12), nullable=False),
    sa.Column("certificate", sa.String(12), nullable=False),
    sa.Column("certificate_until", UtcDateTime),
    sa.Column("message", sa.String(1000), nullable=False),
    sa.Index("ix_multisite_domain_checks_site_id", "site_id"),
)
"""The last check of each domain: its records in DNS, and its certificate."""

_REFUSED = "the operator log is append-only"

LOG_STATEMENTS = {
    "sqlite": (
        f"""CREATE TRIGGER multisite_log_update BEFORE UPDATE ON multisite_log BEGIN
SELECT RAISE(ABORT, '{_REFUSED}');
END""",
        f"""CREATE TRIGGER multisite_log_delete BEFORE DELETE ON multisite_log
WHEN OLD.at > datetime('now', '-{LOG_FLOOR_DAYS} days') BEGIN
SELECT RAISE(ABORT, '{_REFUSED}');
END""",
    ),
    "postgresql": (
        f"""CREATE FUNCTION multisite_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
IF TG_OP = 'DELETE' THEN
IF OLD.at <= now() - interval '{LOG_FLOOR_DAYS} days' THEN
RETURN OLD;
END IF;
END IF;
RAISE EXCEPTION '{_REFUSED}';
END $$""",
        """CREATE TRIGGER multisite_log_change BEFORE UPDATE OR DELETE ON multisite_log
FOR EACH ROW EXECUTE FUNCTION multisite_log_refuse()""",
        """CREATE TRIGGER multisite_log_truncate BEFORE TRUNCATE ON multisite_log
FOR EACH STATEMENT EXECUTE FUNCTION multisite_log_refuse()""",
    ),
}
"""By database, what makes the log append-only. Revision 0012 has its own copy, since a revision is never changed."""


@event.listens_for(log_table, "after_create")
def _make_append_only(table: sa.Table, connection: Connection, **_: Any) -> None:
    for statement in LOG_STATEMENTS.get(connection.dialect.name, ()):
        connection.exec_driver_sql(statement)


@event.listens_for(log_table, "after_drop")
def _drop_function(table: sa.Table, connection: Connection, **_: Any) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP FUNCTION IF EXISTS multisite_log_refuse()")
