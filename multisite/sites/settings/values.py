"""Set and unset the values that a site has for settings, in the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite.core import domains
from multisite.directory.models import SettingRow, SiteRow
from multisite.directory.records import SiteRecord, read_site
from multisite.errors import MultisiteError, SettingError, UnknownSetting
from multisite.sites.settings.registry import SettingsRegistry, parse_own_settings
from multisite.sites.settings.setting import SITE_COLUMNS
from multisite.sites.transaction import directory_transaction, read_ready_site
from multisite.sites.validation import check_locale, check_timezone

__all__ = ["set_settings", "unset_settings"]

_CHECKS = {"locale": check_locale, "timezone": check_timezone}


def set_settings(engine: Engine, host: str, texts: Mapping[str, str], *, declared: SettingsRegistry) -> SiteRecord:
    """Set settings of the site with the domain `host`, all of them or none.

    Args:
        engine: The database of the directory.
        host: Any domain of the site.
        texts: The texts of the values by name. `locale` and `timezone`, which are columns of the site, work too.
        declared: The settings that the application declares.

    Returns:
        The new record of the site.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No site has this domain.
        UnknownSetting: A setting is not declared.
        SettingError: A value is not valid.
        MultisiteError: The locale or the time zone is not valid, or the site is not complete.
    """
    columns: dict[str, str] = {}
    for name, text in texts.items():
        if name in _CHECKS:
            columns[name] = _CHECKS[name](text)
        elif name not in declared:
            raise UnknownSetting(name, text, _known_names(declared))
        else:
            try:
                declared[name].parse(text)
            except ValueError as error:
                raise SettingError(name, text, str(error)) from error
    rows = {name: text for name, text in texts.items() if name not in columns}
    domain = domains.existing(host)
    with directory_transaction(engine) as connection:
        record = read_ready_site(connection, domain)
        _update_columns(connection, record, columns)
        _delete(connection, record, rows)
        for name, text in rows.items():
            connection.execute(sa.insert(SettingRow).values(site_id=record.site.id, name=name, value=text))
        return read_site(connection, domain)


def unset_settings(engine: Engine, host: str, names: Iterable[str], *, declared: SettingsRegistry) -> SiteRecord:
    """Reset the settings `names` of the site with the domain `host` to their defaults.

    The value of a setting that is no longer declared can be removed too.

    Returns:
        The new record of the site.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No site has this domain.
        UnknownSetting: A setting is neither declared nor set for the site.
        MultisiteError: A name is that of a column of the site, or the site is not complete.
    """
    names = set(names)
    if not names.isdisjoint(SITE_COLUMNS):
        raise MultisiteError(f"{' and '.join(SITE_COLUMNS)} have no default: set another value instead")
    domain = domains.existing(host)
    with directory_transaction(engine) as connection:
        record = read_ready_site(connection, domain)
        own = parse_own_settings(record.site.own_settings)
        for name in sorted(names):
            if name not in declared and name not in own:
                raise UnknownSetting(name, None, _known_names(declared))
        _delete(connection, record, names)
        return read_site(connection, domain)


def _known_names(declared: SettingsRegistry) -> set[str]:
    return {*SITE_COLUMNS, *(setting.name for setting in declared)}


def _update_columns(connection: Connection, record: SiteRecord, columns: Mapping[str, str]) -> None:
    if columns:
        connection.execute(sa.update(SiteRow).where(SiteRow.id == record.site.id).values(**columns))


def _delete(connection: Connection, record: SiteRecord, names: Iterable[str]) -> None:
    named = SettingRow.name.in_(list(names))
    connection.execute(sa.delete(SettingRow).where(SettingRow.site_id == record.site.id, named))
