"""Startup of an application with a role to which row-level security does not apply."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine
from pyramid.config import Configurator
from row_security import SCOPED, Secured, raw_command, secured, write_ini
from scoped_models import ONE, Book, build_library
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

import multisite.check
from multisite.core.keys import DIRECTORY
from multisite.errors import MultisiteError
from multisite.scoping.row_security import MUST_BIND
from multisite.web.loading import load


@pytest.fixture
def library(postgresql_database_url: str) -> Iterator[Secured]:
    with closing_engine(postgresql_database_url) as admin:
        build_library(admin)
        with secured(admin, SCOPED) as made:
            yield made


def start(url: str, folder: Path, **settings: Any) -> Any:
    """Create the application and return its registry."""
    for name in ("sites", "templates"):
        (folder / name).mkdir(exist_ok=True)
    kept = settings.pop("registry", {})
    folders = {f"multisite.{name}_dir": str(folder / name) for name in ("sites", "templates")}
    with Configurator(settings={"sqlalchemy.url": url, **folders, **settings}) as config:
        config.include("multisite")
        config.registry.update(kept)
        config.make_wsgi_app()
        config.registry[DIRECTORY].engine.dispose()
        return config.registry


def admin_url(made: Secured) -> str:
    return made.admin.url.render_as_string(hide_password=False)


def test_it_starts_with_the_recommended_role(library: Secured, tmp_path: Path) -> None:
    assert start(library.url(library.app_role), tmp_path)[DIRECTORY].engine.url.username == library.app_role


def test_it_does_not_start_as_a_superuser(library: Secured, tmp_path: Path) -> None:
    with pytest.raises(MultisiteError, match=r"is a superuser.*allow_row_security_bypass = true"):
        start(admin_url(library), tmp_path)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("ALTER ROLE {app} BYPASSRLS", "a role with BYPASSRLS"),
        (
            "ALTER TABLE books NO FORCE ROW LEVEL SECURITY; ALTER TABLE books OWNER TO {app}",
            "owner of books, without FORCE",
        ),
        ("REVOKE {all} FROM {app}; GRANT {all} TO {app} WITH INHERIT TRUE", "inherits the rights of {all}"),
    ],
)
def test_it_does_not_start_with_another_role_that_bypasses_policies(
    library: Secured, tmp_path: Path, sql: str, reason: str
) -> None:
    names = {"app": library.app_role, "all": library.all_sites_role}
    with library.admin.begin() as connection:
        raw_command(connection, sql.format(**names))
    with pytest.raises(MultisiteError, match=reason.format(**names)):
        start(library.url(library.app_role), tmp_path)


@pytest.mark.parametrize("key", ["pyramid.reload_templates", "multisite.allow_row_security_bypass"])
def test_it_starts_if_a_bypass_is_allowed(library: Secured, tmp_path: Path, key: str) -> None:
    registry = start(admin_url(library), tmp_path, **{key: "true"})
    with Session(registry[DIRECTORY].engine, info={"site": ONE}) as session:
        assert len(session.scalars(sa.select(Book)).all()) == 3
    registry[DIRECTORY].engine.dispose()


def test_it_starts_without_policies(library: Secured, sqlite_database_url: str, tmp_path: Path) -> None:
    with library.operations() as op:
        for table in SCOPED:
            op.disable_row_security(table.name)
    start(admin_url(library), tmp_path)
    start(sqlite_database_url, tmp_path)


def test_every_engine_in_the_registry_is_checked(library: Secured, tmp_path: Path) -> None:
    good, bad = library.url(library.app_role), admin_url(library)
    with pytest.raises(MultisiteError, match="superuser"):
        start(bad, tmp_path, **{"multisite.database_url": good})
    with pytest.raises(MultisiteError, match="superuser"):
        start(good, tmp_path, registry={"dbsession_factory": sessionmaker(bind=library.admin)})
    assert MUST_BIND not in library.admin.dialect.__dict__


def test_an_asynchronous_engine_is_checked_at_its_first_statement(library: Secured, tmp_path: Path) -> None:
    async def read(engine: AsyncEngine) -> None:
        async with AsyncSession(engine, info={"site": ONE}) as session:
            await session.scalars(sa.select(Book))

    async def both() -> None:
        for url, is_refused in ((admin_url(library), True), (library.url(library.app_role), False)):
            engine = create_async_engine(url)
            sessions = async_sessionmaker(engine)
            start(library.url(library.app_role), tmp_path, registry={"sessions": sessions})
            with pytest.raises(MultisiteError, match="does not hold") if is_refused else nullcontext():
                await read(engine)
            await engine.dispose()

    asyncio.run(both())


def test_a_role_that_was_set_on_connect_counts(library: Secured, tmp_path: Path) -> None:
    with closing_engine(admin_url(library)) as engine:
        sa.event.listen(engine, "connect", lambda dbapi, _: on_connect(dbapi, library.app_role))
        start(library.url(library.app_role), tmp_path, registry={"engine": engine})


def on_connect(dbapi: Any, role: str) -> None:
    dbapi.cursor().execute(f"SET ROLE {role}")
    dbapi.commit()


def test_a_database_that_is_down_at_startup_is_checked_at_the_first_statement(
    library: Secured, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_down(_engine: sa.Engine) -> str:
        raise sa.exc.OperationalError("SELECT", {}, OSError("nobody listens"))

    with monkeypatch.context() as down, caplog.at_level(logging.WARNING, "multisite.web.database_role"):
        down.setattr("multisite.web.database_role._bypass_reason_of", is_down)
        registry = start(admin_url(library), tmp_path)
    assert "nobody listens" in caplog.text
    engine = registry[DIRECTORY].engine
    for _ in range(2):
        with Session(engine, info={"site": ONE}) as session, pytest.raises(MultisiteError, match="does not hold"):
            session.scalars(sa.select(Book)).all()
    engine.dispose()


def test_negative_control_without_the_check_every_site_is_read(library: Secured) -> None:
    with Session(library.admin, info={"site": ONE}) as session:
        session.scalars(sa.select(Book)).all()
        with session.connection().connection.cursor() as cursor:
            assert len(cursor.execute("SELECT * FROM books").fetchall()) == 6


def test_multisite_check_still_reports_it(library: Secured, tmp_path: Path) -> None:
    ini = write_ini(tmp_path, library)
    text = ini.read_text("utf-8").replace(
        library.url(library.app_role).replace("%", "%%"), admin_url(library).replace("%", "%%")
    )
    ini.write_text(text, "utf-8")
    found = multisite.check.run(str(ini))
    assert [finding.message for finding in found if finding.kind == "row-security-bypassed"] == [
        "is a superuser, for which row-level security does not hold"
    ]
    with pytest.raises(MultisiteError, match="does not apply to this application"):
        load(str(ini))
