"""The attack catalogue with row-level security alone: without the scoping layer, every attempt in SQL still fails.

The attempts that it cannot prevent are listed here, with the reason. The engine has the role of the application; the
rows are compared by the role for all sites.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from attack_catalogue import Attempt, Rows, all_attempts, rows_of_both, run_attempt
from attack_catalogue.models import MoreBase, build, clear_compiled, replant
from attack_catalogue.tails import SYNTAX_ERRORS
from databases import closing_engine, fresh_postgresql
from row_security import Secured, secured, without_scoping_layer
from scoped_models import ONE, TWO, Base
from site_keys import CLOSED, CRASHING, KEYS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:.* has a cartesian product:sqlalchemy.exc.SAWarning",
        "ignore:Additional column names:sqlalchemy.exc.SAWarning",
    ),
]

ATTEMPTS = {
    name: attempt
    for name, attempt in all_attempts().items()
    if "postgresql" in attempt.databases and attempt.exists and not attempt.in_subprocess and name not in CRASHING
}
INVALID_SQL = {f"text: {name}" for name in SYNTAX_ERRORS}
UNMAPPED: Any = SimpleNamespace(name="unmapped", schema=None)
"""The table without a model: a `Table` object would declare it."""
SCOPED = [table for base in (Base, MoreBase) for table in base.metadata.sorted_tables if "site_id" in table.c]

OPEN: dict[str, tuple[str, ...]] = {
    "it is for all sites, as its reason says": ("execution: all sites with a reason",),
    "the table belongs to no site, and has no policy": ("execution: table without a site",),
    "the database checks keys and references with the rights of the table's owner: use `scoped_reference`": (
        "execution: cascade along a reference without site id",
        "execution: existence of a key of another site",
        "execution: reference without a constraint",
    ),
    "the data is in the connection, which two sites use": (
        "execution: temporary table of a connection used for two sites",
    ),
    "PostgreSQL stores the data outside the tables, without policies": ("execution: large object",),
    "the data is in memory, and no SQL is executed": (
        "execution: cached object of another site",
        "execution: object kept from another site",
    ),
    "the transaction is for the site that the session is pinned to, which is the other one": (
        "execution: generator that yields within a block",
        "execution: session with an object added for another site",
    ),
}
"""The attempts that succeed in spite of row-level security, by reason."""


@dataclass
class Database:
    """A database with row-level security and the rows of both sites."""

    secured: Secured
    planted: Rows

    def all_rows(self, connection: Any) -> Rows:
        """Return the rows as a transaction sees them, read by the role for all sites."""
        # Citus would connect to its workers as that role, which cannot log in; its policies have the form `setting`.
        everything = "multisite.site_id = 'all'" if KEYS == "citus" else f"ROLE {self.secured.all_sites_role}"
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL {everything}")
        return rows_of_both(connection)


@pytest.fixture(scope="module", params=["role", "setting"])
def database(request: pytest.FixtureRequest, postgresql_url: str) -> Iterator[Database]:
    with fresh_postgresql(postgresql_url) as url, closing_engine(url) as admin:
        build(admin)
        with secured(admin, [*SCOPED, UNMAPPED], form=request.param) as made:
            with closing(admin.raw_connection()) as connection:
                planted = rows_of_both(connection)
            yield Database(made, planted)


def successful_attempts(database: Database, engine: sa.Engine, attempts: dict[str, Attempt]) -> list[str]:
    """Return the names of the attempts that leak on `engine` without the scoping layer."""
    found = []
    with without_scoping_layer(engine):
        clear_compiled()
        for name, attempt in attempts.items():
            if run_attempt(attempt, engine, ONE, TWO, database.planted, read=database.all_rows).leaks:
                found.append(name)
            if attempt.commits:
                replant(database.secured.admin)
    clear_compiled()
    return sorted(found)


def test_row_security_alone_prevents_every_attempt_in_sql(database: Database) -> None:
    assert successful_attempts(database, database.secured.engine, ATTEMPTS) == sorted(
        name for names in OPEN.values() for name in names if name not in CLOSED
    )


def test_negative_control_without_row_security_they_succeed(database: Database) -> None:
    """Row-level security does not apply to a superuser."""
    reads = {
        name: attempt
        for name, attempt in ATTEMPTS.items()
        if attempt.group in ("reads", "text") and name not in INVALID_SQL
    }
    assert len(successful_attempts(database, database.secured.admin, reads)) > 0.8 * len(reads)
