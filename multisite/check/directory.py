"""Whether the rows of `sites` and `domains` are what they have to be: what is not is left out of the directory."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from multisite import program
from multisite.check.application import Application
from multisite.directory.faults import domain_row_error, site_row_error
from multisite.finding import Finding
from multisite.keys import SETTINGS
from multisite.migrate import is_current
from multisite.models import AS_MULTISITE, DomainRow, SiteRow

__all__ = ["check_directory"]

_SITES = sa.select(
    SiteRow.id,
    SiteRow.status,
    SiteRow.availability,
    SiteRow.theme,
    # As the driver gives it: a value that is no time is what is looked for.
    sa.type_coerce(SiteRow.maintenance_until, sa.types.NullType()).label("until"),
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


def check_directory(application: Application) -> Iterator[Finding]:
    """Report rows that constraints refuse and that are there all the same, from a dump or from before a constraint, and
    hosts that were added while underscores were allowed."""
    if application.directory is None:
        return
    with application.directory.connect().execution_options(**AS_MULTISITE) as connection:
        if not is_current(connection):  # Which is a finding of its own.
            return
        application.progress("the rows of sites and domains")
        for id_, status, availability, theme, until, *texts, has_canonical in connection.execute(_SITES):
            fault = site_row_error(status, availability, theme, until, tuple(texts))
            # Of a site that was removed nothing is left but this row, which keeps its id from being used again.
            if fault is None and not has_canonical and availability != "removed":
                fault = "it has no canonical domain"
            if fault is not None:
                yield _invalid_row("sites", id_, fault)
        for id_, host, port, path, kind, site_id, is_orphan in connection.execute(_DOMAINS):
            fault = domain_row_error(host, port, path, kind)
            if fault is None and is_orphan:
                fault = f"its site {site_id} does not exist"
            if fault is not None:
                yield _invalid_row("domains", id_, fault)
            elif "_" in host and not application.registry[SETTINGS].allow_underscores:
                yield _refused_host(host)


def _refused_host(host: str) -> Finding:
    return Finding(
        "refused-host",
        host,
        "requests for it are refused, because its name has an underscore",
        f"set multisite.allow_underscores = true, or do without it: {program.command(f'remove-domain {host}')}",
    )


def _invalid_row(table: str, id_: int, fault: str) -> Finding:
    return Finding(
        "directory-row",
        f"row {id_} of {table}",
        f"is skipped by the directory: {fault}",
        f"correct it in the table, then run: {program.command('refresh')}",
    )
