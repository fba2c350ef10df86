"""Check the values of site settings."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from multisite.check.application import Application
from multisite.core import program
from multisite.core.finding import Finding
from multisite.core.keys import DIRECTORY
from multisite.core.site import Site
from multisite.directory.models import SettingRow
from multisite.directory.records import read_sites
from multisite.directory.tables import AS_MULTISITE
from multisite.sites.settings import SettingsRegistry
from multisite.web.site_settings import SITE_SETTINGS

__all__ = ["check_site_settings"]


def check_site_settings(application: Application) -> Iterator[Finding]:
    """Report invalid values, for which a site answers 503, and values of undeclared settings."""
    engine = application.registry[DIRECTORY].engine
    if application.site is not None:
        yield from _findings_of(application.site, application.registry[SITE_SETTINGS])
    elif engine.url.render_as_string() not in application.unreachable:
        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            chosen = connection.scalars(sa.select(SettingRow.site_id).distinct().order_by(SettingRow.site_id)).all()
            for record in read_sites(connection, chosen):
                yield from _findings_of(record.site, application.registry[SITE_SETTINGS])


def _findings_of(site: Site, declared: SettingsRegistry) -> Iterator[Finding]:
    if not site.own_settings:
        return
    for each in declared.describe(site):
        remedy = program.command(f"unset {site} {each.name}")
        if each.fault is not None:
            message = f"'{each.text}' is set, and expected {each.fault}: the site answers 503"
            yield Finding("site-setting", f"{site} {each.name}", message, f"{remedy}, or set another value")
        elif each.kind is None:
            message = "a value is set, and the application declares no such setting"
            yield Finding("site-setting", f"{site} {each.name}", message, remedy, "notice")
