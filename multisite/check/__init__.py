"""Check the isolation of an application's sites, for `multisite check` and for the application's tests.

    def test_the_sites_are_separated(app):
        assert multisite.check.run(app) == []

A check is a generator function that takes the `Application` and yields a `Finding` for each problem. It is listed in
one of the two tuples below. An exception that it raises is reported as a finding too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from multisite.check.application import Application, Database, open_application
from multisite.check.connections import check_connections, check_foreign_keys, check_row_security
from multisite.check.credentials import check_credentials
from multisite.check.directory import check_directory
from multisite.check.migrations import check_migrations
from multisite.check.references import check_indexes, check_references
from multisite.check.rows import check_rows_across_sites, check_rows_without_site
from multisite.check.site_columns import check_columns
from multisite.check.site_settings import check_site_settings
from multisite.check.tables import check_tables, check_undeclared_tables, check_views
from multisite.check.templates import check_templates
from multisite.check.unique_keys import check_unique_keys
from multisite.core.current_site import all_sites
from multisite.core.finding import Finding
from multisite.web.loading import reason_of

__all__ = ["APPLICATION_CHECKS", "SITE_CHECKS", "Application", "Check", "Database", "Finding", "run"]

Check = Callable[[Application], Iterable[Finding]]

APPLICATION_CHECKS: tuple[Check, ...] = (
    check_migrations,
    check_directory,
    check_tables,
    check_columns,
    check_unique_keys,
    check_references,
    check_indexes,
    check_undeclared_tables,
    check_views,
    check_foreign_keys,
    check_row_security,
    check_rows_without_site,
    check_credentials,
)
"""The checks that do not concern a single site."""

SITE_CHECKS: tuple[Check, ...] = (check_rows_across_sites, check_templates, check_site_settings)
"""The checks that can be limited to one site, `application.site` if that is not None."""


def run(
    app: Any,
    host: str | None = None,
    *,
    metadata: Iterable[sa.MetaData] | None = None,
    progress: Callable[[str], None] = lambda _doing: None,
) -> list[Finding]:
    """Return the problems of an application, an empty list if there are none.

    Args:
        app: A Pyramid application, its registry, or the path of an ini file. The application's migrations are only
            checked with an ini file.
        host: Any host of a site, to run only the checks of that site; None runs all of them.
        metadata: The tables to check; None for those of every MetaData of the process.
        progress: Called with a description of each step that may take long.

    Raises:
        UnknownSite: No site has the host.
        InvalidHost: `host` is not a host.
        MultisiteError: The application of the ini file cannot be loaded, or does not include multisite.
    """
    checks = (check_connections, *(APPLICATION_CHECKS if host is None else ()), *SITE_CHECKS)
    with all_sites("multisite check"), open_application(app, host, metadata, progress) as application:
        return [finding for check in checks for finding in _findings(check, application)]


def _findings(check: Check, application: Application) -> Iterator[Finding]:
    try:
        yield from check(application)
    except Exception as error:  # A failing check must not prevent the others.
        name = check.__name__.removeprefix("check_").replace("_", " ")
        yield Finding("check-failed", name, reason_of(error), "fix that and run the check again")
