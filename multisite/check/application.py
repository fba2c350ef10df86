"""The application to check: its registry, its databases, and the tables that its models declare."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pyramid.interfaces import IRequestFactory
from pyramid.request import Request, apply_request_extensions
from pyramid.threadlocal import RequestContext
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import Mapper, RelationshipDirection
from sqlalchemy.orm.mapper import _all_registries

from multisite.alembic.schema import Reference, TableName
from multisite.check.environment import Environment, read_environment
from multisite.check.schema import TableSchema, declared_table, tables_in_database, views_in_database
from multisite.core.dialects import dialect_error
from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.core.site import Site
from multisite.directory.records import get_site
from multisite.directory.schema import metadata as own
from multisite.errors import MultisiteError
from multisite.scoping.column import has_site_id
from multisite.scoping.tables import tables
from multisite.sites.ini import Ini, read_ini
from multisite.web.database_role import skip_database_role_check
from multisite.web.loading import load, reason_of

__all__ = ["Application", "Database", "open_application"]

_ALEMBIC_TABLES = ("alembic_version", "multisite_alembic_version", "_alembic_tmp_")
_SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema"})


@dataclass(frozen=True)
class Database:
    """A database of the application.

    Attributes:
        engine: Connects to the database.
        declared: The tables that the models declare.
        scoped: The names of those that are scoped.
        links: The references of relationships between scoped tables, by the name of the relationship, whether or not
            the model has a foreign key for them.
        found: The tables of the database, including multisite's own.
        views: The definitions of the views of the database.
    """

    engine: Engine
    declared: Mapping[TableName, TableSchema]
    scoped: frozenset[TableName]
    links: Mapping[str, Reference]
    found: Mapping[TableName, TableSchema]
    views: Mapping[TableName, str]

    def sites(self) -> TableSchema | None:
        """Return the table `sites`; None if it is in another database."""
        return self.found.get(TableName(None, "sites"))

    def scoped_tables(self) -> Iterator[tuple[TableSchema, TableSchema | None]]:
        """Yield each scoped table as declared and as found in the database, None if it does not exist there."""
        for name in sorted(self.scoped, key=str):
            yield self.declared[name], self.found.get(name)


@dataclass(frozen=True)
class Application:
    """The application to check.

    Attributes:
        registry: Its Pyramid registry.
        site: The only site to check; None for all sites.
        ini: Its ini file; None for an application that was created in code.
        engines: The engines that it uses, by their purpose.
        databases: The databases that answer.
        unreachable: Why other databases do not answer, by URL.
        unsupported: Why the databases of scoped tables are not supported, by URL.
        progress: Called with a description before each step that may take long.
    """

    registry: Any
    site: Site | None
    ini: Ini | None
    engines: Mapping[str, Engine]
    databases: tuple[Database, ...]
    unreachable: Mapping[str, str]
    unsupported: Mapping[str, str]
    progress: Callable[[str], None]

    @property
    def directory(self) -> Engine | None:
        """The engine of the directory; None if its database does not answer."""
        engine: Engine = self.registry[DIRECTORY].engine
        return engine if engine.url in {database.engine.url for database in self.databases} else None

    @cached_property
    def environment(self) -> Environment | None:
        """The state of the application's migrations; None if it has none or a database does not answer.

        Raises what `read_environment` raises.
        """
        if self.ini is None or not self.ini.has_alembic or self.unreachable:
            return None
        return read_environment(self.ini.path)

    @property
    def global_tables(self) -> frozenset[str]:
        """The lower-cased names of `multisite.global_tables`."""
        return frozenset(name.lower() for name in self.registry[SETTINGS].global_tables)

    def is_global(self, name: TableName) -> bool:
        """Return whether `multisite.global_tables` lists a table."""
        return name.name in self.global_tables


@contextmanager
def open_application(
    app: Any, host: str | None, metadata: Iterable[sa.MetaData] | None, progress: Callable[[str], None]
) -> Iterator[Application]:
    """Yield the application to check; the arguments are those of `multisite.check.run`."""
    ini = read_ini(app) if isinstance(app, (str, Path)) else None
    if ini is not None:
        with skip_database_role_check():
            app = load(str(app))
    registry = getattr(app, "registry", app)
    if DIRECTORY not in registry:
        raise MultisiteError('this application does not include multisite: config.include("multisite") is missing')
    site = None if host is None else get_site(registry[DIRECTORY].engine, host).site
    metadata = tuple(tables.metadata if metadata is None else metadata)
    _configure(metadata)
    request = registry.queryUtility(IRequestFactory, default=Request).blank(
        "/", environ={"HTTP_HOST": site.host if site else "localhost"}
    )
    request.registry = registry
    with RequestContext(request):
        apply_request_extensions(request)
        session, failed = _session_of(request)
        engines = _engines(registry, session, metadata)
        databases, unreachable, unsupported = _databases(engines, progress)
        used = {purpose: engine for purpose, (engine, _) in engines.items()}
        try:
            yield Application(registry, site, ini, used, databases, failed | unreachable, unsupported, progress)
        finally:
            if ini is not None:
                # This application was loaded only to be checked.
                for engine in (registry[DIRECTORY].engine, *used.values()):
                    engine.dispose()


def _configure(metadata: Collection[sa.MetaData]) -> None:
    """Configure the mappers, which SQLAlchemy does on first use."""
    for each in list(_all_registries()):
        if each.metadata in metadata:
            try:
                # With the registries that it depends on, such as that of multisite's own models.
                each.configure(cascade=True)
            except Exception as error:
                raise MultisiteError(f"the models cannot be configured ({reason_of(error)})") from error


def _session_of(request: Any) -> tuple[Any, dict[str, str]]:
    """Return the session of `request`, None without one, and the error that it raised, if any."""
    try:
        return getattr(request, "dbsession", None), {}
    except Exception as error:  # The application's code may raise anything.
        return None, {"request.dbsession": reason_of(error)}


def _engines(registry: Any, session: Any, metadata: Iterable[sa.MetaData]) -> dict[str, tuple[Engine, list[sa.Table]]]:
    """Return the engines, by their purpose, each with the tables that the session uses it for."""
    directory: Engine = registry[DIRECTORY].engine
    mappers = {mapper.local_table: mapper for registry in _all_registries() for mapper in registry.mappers}
    found: dict[str, tuple[Engine, list[sa.Table]]] = {}
    for table in _tables_of(metadata):
        engine = _engine_of(session, mappers.get(table), table)
        if engine is None or engine.dialect.is_async:
            engine = directory
        for known, of_engine in found.values():
            if known is engine:
                of_engine.append(table)
                break
        else:
            found[f"the engine of {table.name}"] = (engine, [table])
    if all(engine is not directory for engine, _ in found.values()):
        found["the engine of the directory"] = (directory, [])
    return found


def _tables_of(metadata: Iterable[sa.MetaData]) -> list[sa.Table]:
    found = [
        table
        for each in metadata
        for table in each.tables.values()
        # Also those in a MetaData of alembic's, if a revision of multisite ran in this process.
        if not (table.schema is None and table.name in own.tables)
        and (table.schema or "").lower() not in _SYSTEM_SCHEMAS
        and not table.name.startswith(_ALEMBIC_TABLES)
    ]
    return sorted(found, key=lambda table: table.fullname)


def _engine_of(session: Any, mapper: Mapper[Any] | None, table: sa.Table) -> Engine | None:
    """Return the engine that `session` uses for a table; None without an engine or a session."""
    # An AsyncSession wraps a plain one.
    session = getattr(session, "sync_session", session)
    if session is None:
        return None
    try:
        bind = session.get_bind(mapper) if mapper is not None else session.get_bind(clause=table)
    except sa.exc.UnboundExecutionError:
        return None
    engine: Engine = bind.engine
    return engine


def _databases(
    engines: Mapping[str, tuple[Engine, list[sa.Table]]], progress: Callable[[str], None]
) -> tuple[tuple[Database, ...], dict[str, str], dict[str, str]]:
    """Return the databases that answer, one for each URL, and the `unreachable` and `unsupported` ones with reasons.

    A database with an unsupported dialect and without scoped tables is ignored.
    """
    by_url: dict[sa.URL, tuple[Engine, list[sa.Table]]] = {}
    for engine, tables_of_engine in engines.values():
        by_url.setdefault(engine.url, (engine, []))[1].extend(tables_of_engine)
    databases: list[Database] = []
    unreachable: dict[str, str] = {}
    unsupported: dict[str, str] = {}
    for url, (engine, tables_of_database) in by_url.items():
        name = url.render_as_string()
        if fault := dialect_error(engine.dialect.name):
            if any(has_site_id(table) for table in tables_of_database):
                unsupported[name] = fault
            continue
        progress(f"the tables of {name}")
        try:
            with engine.connect() as connection:
                databases.append(_read_database(connection, tables_of_database))
        except (sa.exc.SQLAlchemyError, MultisiteError) as error:
            unreachable[name] = reason_of(error)
    return tuple(databases), unreachable, unsupported


def _read_database(connection: Connection, declared_tables: Iterable[sa.Table]) -> Database:
    default_schema = sa.inspect(connection).default_schema_name
    declared = {}
    scoped = set()
    for table in declared_tables:
        table_schema = declared_table(table, default_schema)
        declared[table_schema.name] = table_schema
        if has_site_id(table):
            scoped.add(table_schema.name)
    found = tables_in_database(connection)
    views = views_in_database(connection)
    links = dict(_relationships(set(declared_tables), default_schema))
    return Database(connection.engine, declared, frozenset(scoped), links, found, views)


def _relationships(declared_tables: set[sa.Table], default_schema: str | None) -> Iterator[tuple[str, Reference]]:
    """Yield the name and the reference of each many-to-one relationship between scoped tables."""
    for mapper in (mapper for registry in _all_registries() for mapper in registry.mappers):
        for relationship in mapper.relationships:
            if relationship.direction is not RelationshipDirection.MANYTOONE or relationship.viewonly:
                continue
            pairs = relationship.local_remote_pairs or []
            tables = {column.table for pair in pairs for column in pair}
            ends = [(local.table, remote.table) for local, remote in pairs]
            if len(set(ends)) != 1 or not tables <= declared_tables or not all(map(has_site_id, tables)):
                continue
            table, target = (declared_table(each, default_schema).name for each in ends[0])
            columns, keys = zip(*((local.name, remote.name) for local, remote in pairs), strict=True)
            yield f"{mapper.class_.__name__}.{relationship.key}", Reference(table, columns, target, keys)
