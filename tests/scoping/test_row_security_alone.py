"""The catalogue against the second wall alone: with the first one away, row-level security closes what runs as SQL.

What it cannot close stands here by name, with the reason. The engine is of the application's role; what the rows are
afterwards is read by a superuser's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from attack_catalogue import Rows, Way, all_ways, rows_of_both, run_way
from attack_catalogue.models import MoreBase, build, forget_compiled, plant_again
from attack_catalogue.tails import TOLD
from databases import closing_engine, fresh_postgresql
from row_security import Secured, secured, without_first_wall
from scoped_models import ONE, TWO, Base

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* has a cartesian product:sqlalchemy.exc.SAWarning",
    "ignore:Additional column names:sqlalchemy.exc.SAWarning",
)

WAYS = {name: way for name, way in all_ways().items() if "postgresql" in way.databases and way.exists and not way.apart}
SYNTAX_ERRORS = {f"text: {name}" for name in TOLD}
UNMAPPED: Any = SimpleNamespace(name="unmapped", schema=None)
"""The table that no model speaks for: to make a `Table` of it would declare it."""
SCOPED = [table for base in (Base, MoreBase) for table in base.metadata.sorted_tables if "site_id" in table.c]

OPEN: dict[str, tuple[str, ...]] = {
    "it is for all sites, which its reason says": ("side: all sites with a reason",),
    "the table belongs to no site, and has no policy": ("side: table without a site",),
    "the database looks after keys and references with the rights of the table's owner: `scoped_reference`": (
        "side: cascade along a reference without site id",
        "side: key that another site has",
        "side: reference without a constraint",
    ),
    "it is in the connection, which two sites use": ("side: temporary table of a connection used for two sites",),
    "PostgreSQL keeps it beside the tables, where there are no policies": ("side: large object",),
    "it is in memory, and no SQL is needed": (
        "side: cached object of another site",
        "side: object kept from another site",
    ),
    "the transaction is told the site that the session is pinned to, which is the other one": (
        "side: generator that yields within a block",
        "side: session that got an object for another site",
    ),
}
"""The ways that the second wall does not close, by the reason."""


@dataclass
class Ground:
    """A database with row-level security, and the rows of both sites in it."""

    secured: Secured
    planted: Rows

    def all_rows(self, connection: Any) -> Rows:
        """Return the rows as they are in a transaction, as the role that sees all sites."""
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL ROLE {self.secured.all_sites_role}")
        return rows_of_both(connection)


@pytest.fixture(scope="module", params=["role", pytest.param("setting", marks=pytest.mark.soak)])
def ground(request: pytest.FixtureRequest, postgresql_url: str) -> Iterator[Ground]:
    with fresh_postgresql(postgresql_url) as url, closing_engine(url) as admin:
        build(admin)
        with secured(admin, [*SCOPED, UNMAPPED], form=request.param) as made:
            with closing(admin.raw_connection()) as connection:
                planted = rows_of_both(connection)
            yield Ground(made, planted)


def leaks_of(ground: Ground, engine: sa.Engine, ways: dict[str, Way]) -> list[str]:
    """Return those of `ways` that leak on `engine` without the first wall."""
    found = []
    with without_first_wall(engine):
        forget_compiled()
        for name, way in ways.items():
            if run_way(way, engine, ONE, TWO, ground.planted, read=ground.all_rows).leaks:
                found.append(name)
            if way.commits:
                plant_again(ground.secured.admin)
    forget_compiled()
    return sorted(found)


def test_the_second_wall_alone_closes_all_that_is_sql(ground: Ground) -> None:
    assert leaks_of(ground, ground.secured.engine, WAYS) == sorted(name for names in OPEN.values() for name in names)


def test_negative_control_without_either_wall_they_leak(ground: Ground) -> None:
    """Row-level security is not in force for a superuser."""
    reads = {name: way for name, way in WAYS.items() if way.group in ("reads", "text") and name not in SYNTAX_ERRORS}
    assert len(leaks_of(ground, ground.secured.admin, reads)) > 0.8 * len(reads)
