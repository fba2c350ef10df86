"""multisite's own tables for the state of the whole: processes, what the last check found, and measurements of sites.

They are for the whole of multisite, and no statement within a site can name them (`multisite.scoping.tables`).
"""

from __future__ import annotations

import sqlalchemy as sa

from multisite.directory.tables import BigId, UtcDateTime, metadata

__all__ = ["checks_table", "measurements_table", "processes_table"]

processes_table = sa.Table(
    "multisite_processes",
    metadata,
    sa.Column("host", sa.String(150), primary_key=True),
    sa.Column("pid", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("started", UtcDateTime, nullable=False),
    sa.Column("seen", UtcDateTime, nullable=False),
    sa.Column("directory_version", sa.BigInteger, nullable=False),
    sa.Column("template_generation", sa.BigInteger, nullable=False),
    sa.Column("directory_read", UtcDateTime),
    sa.Column("versions", sa.JSON, nullable=False),
    sa.Column("kind", sa.String(10), nullable=False, server_default="server"),
)
"""The processes that serve requests (the kind `server`) or do jobs (`worker`), by machine and number.

`seen` is when the process wrote the row last. `directory_version` and `template_generation` are what it had read from
the directory then, and `directory_read` is when. `versions` are those of multisite and its libraries, by name."""

checks_table = sa.Table(
    "multisite_checks",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("made", UtcDateTime, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("who", sa.String(200), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
)
"""The last check of the application: the number of its findings, and the first of them as objects."""

measurements_table = sa.Table(
    "multisite_measurements",
    metadata,
    sa.Column("site_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.Column("measured", sa.BigInteger, nullable=False),
)
"""The rows of a site, the bytes of its files, and when something in it changed last, as measured at `measured`. Times
are Unix time, in seconds: a list is sorted by them."""
