"""Row-level security for tests: PostgreSQL with the roles of docs/row-level-security.md, without the scoping layer."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from click.testing import CliRunner, Result
from databases import closing_engine
from paths import ROOT
from scoped_models import Base, Book
from snippets import snippets
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

import multisite.alembic  # noqa: F401  # Adds the operations.
from multisite.cli import main
from multisite.core.finding import Finding
from multisite.scoping import execution, row_security
from multisite.scoping.column import SiteId, executing
from multisite.scoping.pin import scope_of_unscoped_statement
from multisite.scoping.row_security_audit import audit_row_security

PAGE = ROOT / "docs" / "row-level-security.md"


@dataclass(frozen=True)
class Secured:
    """A database with row-level security: an engine for each role that can log in, and the names of the roles.

    `admin` is the engine of a superuser, to whom it does not apply.
    """

    admin: sa.Engine
    owner: sa.Engine
    engine: sa.Engine
    owner_role: str
    app_role: str
    all_sites_role: str

    def url(self, role: str) -> str:
        """Return the URL of the database for one of the roles."""
        return url_of(self.admin, role)

    def operations(self, engine: sa.Engine | None = None) -> Any:
        """Return a context manager with alembic's `op` for `engine`, by default the owner's, that commits."""
        return operations(engine or self.owner)


def url_of(engine: sa.Engine, role: str) -> str:
    return engine.url.set(username=role, password="change-me").render_as_string(hide_password=False)


@contextmanager
def operations(engine: sa.Engine) -> Iterator[Operations]:
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)) as op:
        yield op


@contextmanager
def roles(admin: sa.Engine) -> Iterator[Secured]:
    """Create the roles of the page under unique names; drop them, with all they own, after the block."""
    suffix = uuid.uuid4().hex[:8]
    names = {name: f"{name}_{suffix}" for name in ("app", "app_owner", "app_all_sites")}
    recipe = re.sub(r"\bapp(_owner|_all_sites)?\b", lambda found: names[found[0]], snippets(PAGE, "sql")[0].text)
    with admin.begin() as connection:
        connection.connection.cursor().execute(recipe.replace("change-me-too", "change-me"))
    all_sites_role = names["app_all_sites"]
    row_security.all_sites_roles.add(all_sites_role)
    try:
        with (
            closing_engine(url_of(admin, names["app_owner"])) as owner,
            closing_engine(url_of(admin, names["app"])) as engine,
        ):
            yield Secured(admin, owner, engine, names["app_owner"], names["app"], all_sites_role)
    finally:
        row_security.all_sites_roles.discard(all_sites_role)
        with admin.begin() as connection:
            cursor = connection.connection.cursor()
            # Not CURRENT_USER: the coordinator of Citus 13.2.2 would crash.
            cursor.execute("SELECT quote_ident(current_user)")
            (superuser,) = cursor.fetchone()
            cursor.execute(f"REASSIGN OWNED BY {', '.join(names.values())} TO {superuser}")
            for name in sorted(names.values(), reverse=True):
                cursor.execute(f"DROP OWNED BY {name}")
            cursor.execute(f"DROP ROLE {', '.join(names.values())}")


@contextmanager
def secured(admin: sa.Engine, tables: Iterable[sa.Table], *, form: str | None = None) -> Iterator[Secured]:
    """Enable row-level security for `tables` inside the block.

    Args:
        admin: engine of a superuser, on the database of the tables.
        tables: the scoped tables.
        form: the form of the policies, as in `op.enable_row_security`.
    """
    scoped = list(tables)
    with roles(admin) as made:
        with admin.begin() as connection:
            cursor = connection.connection.cursor()
            cursor.execute(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname !~ '^(pg_|info)'"
            )
            for (name,) in cursor.fetchall():
                cursor.execute(f"ALTER TABLE {name} OWNER TO {made.owner_role}")
        with made.operations() as op:
            for table in scoped:
                op.enable_row_security(table.name, schema=table.schema, all_sites_role=made.all_sites_role, form=form)
        try:
            yield made
        finally:
            made.engine.dispose()
            with operations(admin) as op:  # A test may have changed their owner.
                for table in scoped:
                    op.disable_row_security(table.name, schema=table.schema)


@contextmanager
def without_scoping_layer(engine: sa.Engine) -> Iterator[None]:
    """Remove the scoping layer from all SQL inside the block, and clear the compiled cache of `engine`.

    Transactions still set their site for row-level security, `site_id` still has its default, and sessions still check
    their objects, which does not involve SQL.
    """

    def init_compiled(
        cls: type, dialect: Any, connection: Any, dbapi: Any, options: Any, compiled: Any, *args: Any, **kw: Any
    ) -> Any:
        scope = scope_of_unscoped_statement(connection)
        if compiled.statement.__visit_name__ not in execution._SAVEPOINTS:
            execution._set_site(connection, dbapi, scope, compiled, required=True)
        token = executing.set(scope)
        try:
            return execution._init_compiled(cls, dialect, connection, dbapi, options, compiled, *args, **kw)
        finally:
            executing.reset(token)

    def init_statement(
        cls: type, dialect: Any, connection: Any, dbapi: Any, options: Any, text: str, *args: Any, **kw: Any
    ) -> Any:
        row_security.set_transaction_site_for_text(connection, dbapi, scope_of_unscoped_statement(connection), text)
        return execution._init_statement(cls, dialect, connection, dbapi, options, text, *args, **kw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SQLCompiler, "__new__", lambda cls, *args, **kwargs: object.__new__(cls))
        patch.setattr(DefaultExecutionContext, "_init_compiled", classmethod(init_compiled))
        patch.setattr(DefaultExecutionContext, "_init_statement", classmethod(init_statement))
        patch.setattr(DefaultExecutionContext, "_init_ddl", classmethod(execution._init_ddl))
        patch.setattr(DefaultExecutionContext, "_exec_default_clause_element", execution._exec_default)
        patch.setattr(SiteId, "process_bind_param", lambda self, value, dialect: value)
        _clear_caches(engine)
        yield
    _clear_caches(engine)


def _clear_caches(engine: sa.Engine) -> None:
    """Clear compiled statements, and the functions by which types process values."""
    engine.clear_compiled_cache()
    engine.dialect._type_memos.clear()


SCOPED = [table for table in Base.metadata.sorted_tables if "site_id" in table.c]


def secrets(connection: sa.Connection | Session) -> set[str]:
    return set(connection.scalars(sa.select(Book.secret)))


def raw(connection: sa.Connection | Session, sql: str = "SELECT secret FROM books") -> set[Any]:
    """Return the first column of a query by the driver's cursor on the same connection, which is not scoped."""
    if isinstance(connection, Session):
        connection = connection.connection()
    with connection.connection.cursor() as cursor:
        return {row[0] for row in cursor.execute(sql)}


def setting(connection: sa.Connection | Session) -> tuple[str, str]:
    """Return the site setting and the role of a transaction, read from the database."""
    found = raw(connection, "SELECT (current_setting('multisite.site_id', true), current_user::text)")
    return found.pop()


def raw_after(session: Session) -> set[Any]:
    """Return the result of the driver's cursor after a statement of the session."""
    session.scalars(sa.select(Book.id)).all()
    return raw(session)


def raw_command(connection: sa.Connection, sql: str) -> None:
    with connection.connection.cursor() as cursor:
        cursor.execute(sql)


def write_ini(folder: Path, made: Secured, *, role: str = "") -> Path:
    """Write an ini file with the URLs of the application's role and of the owner."""
    for name in ("sites", "templates"):
        (folder / name).mkdir(exist_ok=True)
    ini = folder / "app.ini"
    app, owner = (made.url(name).replace("%", "%%") for name in (made.app_role, made.owner_role))
    ini.write_text(
        f"[app:main]\nuse = egg:pyramid-multisite\nsqlalchemy.url = {app}\nmultisite.owner_url = {owner}\n"
        f"multisite.sites_dir = {folder}/sites\nmultisite.templates_dir = {folder}/templates\n"
        + (f"multisite.all_sites_role = {role}\n" if role else "")
        + "[server:main]\nuse = egg:waitress#main\nport = 6543\n",
        "utf-8",
    )
    return ini


def invoke(ini: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["-c", str(ini), *arguments])


def faults_of(connection: sa.Connection, made: Secured) -> dict[str, Finding]:
    """Return the findings for the application's role, in a transaction of the superuser."""
    raw_command(connection, f"SET SESSION AUTHORIZATION {made.app_role}")
    return {f"{found.kind} {found.subject}": found for found in audit_row_security(connection)}


def faults(engine: sa.Engine) -> dict[str, Finding]:
    with engine.connect() as connection:
        return {f"{found.kind} {found.subject}": found for found in audit_row_security(connection)}
