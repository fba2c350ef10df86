"""Check the rows of `sites` and `domains`; the directory ignores invalid ones."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from multisite.alembic.migrate import is_current
from multisite.check.application import Application
from multisite.core import program
from multisite.core.finding import Finding
from multisite.core.keys import SETTINGS
from multisite.core.settings import Settings
from multisite.directory.models import DomainRow, SiteRow
from multisite.directory.row_validation import domain_row_error, site_row_error
from multisite.directory.tables import AS_MULTISITE

__all__ = ["check_directory"]

_SITES = sa.select(
    SiteRow.id,
    SiteRow.status,
    SiteRow.availability,
    SiteRow.theme,
    # The driver's own value, since the check looks for values that are not times.
    sa.type_coerce(SiteRow.maintenance_until, sa.types.NullType()).label("until"),
    SiteRow.copy_of,
    SiteRow.name,
    SiteRow.folder,
    SiteRow.locale,
    SiteRow.timezone,
    sa.exists().where(DomainRow.site_id == SiteRow.id, DomainRow.kind == "canonical").label("has_canonical"),
).order_by(SiteRow.id)

_DOMAINS = (
    sa.select(
        DomainRow.id,
        DomainRow.host,
        DomainRow.port,
        DomainRow.path,
        DomainRow.kind,
        DomainRow.site_id,
        SiteRow.id.is_(None),
    )
    .outerjoin_from(DomainRow, SiteRow, SiteRow.id == DomainRow.site_id)
    .order_by(DomainRow.id)
)


_IN_PARTS = {"yield_per": 1_000}
"""Read this many rows at a time, so that memory does not grow with the number of sites."""


def check_directory(application: Application) -> Iterator[Finding]:
    """Report rows that violate a constraint, hosts with underscores that are no longer allowed, and the console's host.

    Such rows come from a dump, or are older than the constraint.

    Yields:
        A fault for each row.
    """
    if application.directory is None:
        return
    settings = application.registry[SETTINGS]
    with application.directory.connect().execution_options(**AS_MULTISITE) as connection:
        if not is_current(connection):  # `check_migrations` reports this.
            return
        application.progress("the rows of sites and domains")
        for id_, status, availability, theme, until, copy_of, *texts, has_canonical in connection.execute(
            _SITES, execution_options=_IN_PARTS
        ):
            fault = site_row_error(status, availability, theme, until, copy_of, tuple(texts))
            # A removed site keeps this row, so that its id is not reused.
            if fault is None and not has_canonical and availability != "removed":
                fault = "it has no canonical domain"
            if fault is not None:
                yield _invalid_row("sites", id_, fault)
        for id_, host, port, path, kind, site_id, is_orphan in connection.execute(
            _DOMAINS, execution_options=_IN_PARTS
        ):
            fault = domain_row_error(host, port, path, kind)
            if fault is None and is_orphan:
                fault = f"its site {site_id} does not exist"
            if fault is not None:
                yield _invalid_row("domains", id_, fault)
            else:
                yield from _host_findings(host, settings)


def _host_findings(host: str, settings: Settings) -> Iterator[Finding]:
    if host == settings.console_host:
        yield _host_of_console(host)
    elif "_" in host and not settings.allow_underscores:
        yield _refused_host(host)


def _host_of_console(host: str) -> Finding:
    return Finding(
        "console-host",
        host,
        "visitors do not reach the site at it, because it is multisite.console_host",
        f"choose another host for the console, or remove it: {program.command(f'remove-domain {host}')}",
    )


def _refused_host(host: str) -> Finding:
    return Finding(
        "refused-host",
        host,
        "requests for it are refused, because its name has an underscore",
        f"set multisite.allow_underscores = true, or remove it: {program.command(f'remove-domain {host}')}",
    )


def _invalid_row(table: str, id_: int, fault: str) -> Finding:
    return Finding(
        "directory-row",
        f"row {id_} of {table}",
        f"is skipped by the directory: {fault}",
        f"correct it in the table, then run: {program.command('refresh')}",
    )
