"""SQL that sets another site later than it is sent: the site of the transaction is set again before each statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_postgresql
from row_security import SCOPED, Secured, secured
from scoped_models import ONE, build_library
from sqlalchemy.engine import Connection

from multisite import using_site

ALL_SECRETS = "CREATE FUNCTION all_secrets() RETURNS SETOF varchar LANGUAGE sql AS 'SELECT secret FROM books'"
"""The scoping layer does not see what a function of the database reads: row-level security alone limits it."""

SET_CONFIG = "SELECT set_config('multisite.site_id', '2', true)"


@pytest.fixture(scope="module", params=["role", "setting"])
def library(request: pytest.FixtureRequest, postgresql_url: str) -> Iterator[Secured]:
    with fresh_postgresql(postgresql_url) as url, closing_engine(url) as admin:
        build_library(admin)
        with secured(admin, SCOPED, form=request.param) as library:
            with admin.begin() as connection:
                connection.connection.cursor().execute(ALL_SECRETS)
            yield library


def prepared(connection: Connection) -> Callable[[], Any]:
    connection.exec_driver_sql(f"PREPARE later AS {SET_CONFIG}")
    return lambda: connection.exec_driver_sql("EXECUTE later")


def declared(connection: Connection) -> Callable[[], Any]:
    connection.execute(sa.text(f"DECLARE later CURSOR FOR {SET_CONFIG}"))
    return lambda: connection.execute(sa.text("FETCH ALL FROM later"))


def streamed(connection: Connection) -> Callable[[], Any]:
    text = sa.text("SELECT set_config('multisite.site_id', x, true) FROM (VALUES ('2'), ('2'), ('2'), ('2')) v(x)")
    return connection.execute(text, execution_options={"stream_results": True, "max_row_buffer": 1}).all


def streamed_function(connection: Connection) -> Callable[[], Any]:
    rows = sa.values(sa.column("x", sa.String), name="v").data([("2",)] * 4)
    statement = sa.select(sa.func.set_config("multisite.site_id", rows.c.x, True))
    return connection.execute(statement, execution_options={"stream_results": True, "max_row_buffer": 1}).all


@pytest.mark.parametrize("send", [prepared, declared, streamed, streamed_function])
def test_a_site_that_is_set_later_is_set_back(
    library: Secured, send: Callable[[Connection], Callable[[], Any]]
) -> None:
    with closing_engine(library.url(library.app_role)) as engine, using_site(ONE), engine.connect() as connection:
        run = send(connection)
        for _ in range(2):
            assert set(connection.scalars(sa.func.all_secrets())) == {"secret-1"}
            run()
            assert set(connection.scalars(sa.func.all_secrets())) == {"secret-1"}
