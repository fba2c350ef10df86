"""Set and unset the values that a site has for settings, in the database; of one site, or of several at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite.core import domains
from multisite.directory.models import SettingRow, SiteRow
from multisite.directory.records import SiteRecord, read_site, read_sites
from multisite.errors import MultisiteError, SettingError, UnknownSetting
from multisite.sites.hidden_values import shown_text
from multisite.sites.operator_log import LoggedChange, record_changes, record_site_change
from multisite.sites.settings.registry import SettingsRegistry, parse_own_settings
from multisite.sites.settings.setting import SITE_COLUMNS, THEME_PREFIX
from multisite.sites.transaction import directory_transaction, read_ready_site
from multisite.sites.validation import check_locale, check_timezone

__all__ = [
    "check_settings",
    "check_settings_with_theme",
    "insert_settings",
    "record_settings",
    "set_settings",
    "set_settings_of_sites",
    "unset_settings",
    "unset_settings_of_sites",
]

_CHECKS = {"locale": check_locale, "timezone": check_timezone}

STATEMENT_SITES = 500
"""How many sites one statement changes: SQLite limits the number of its parameters."""


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
    texts, of_theme = _split(texts, declared)
    columns, rows = check_settings(texts, declared)
    domain = domains.existing(host)
    with directory_transaction(engine) as connection:
        record = read_ready_site(connection, domain)
        rows |= _check_of_theme(of_theme, record.site.theme, declared)
        _write(connection, [record.site.id], columns, rows)
        changed = read_site(connection, domain)
        record_site_change(connection, "set", record, changed)
        return changed


def set_settings_of_sites(
    engine: Engine, site_ids: Iterable[int], texts: Mapping[str, str], *, declared: SettingsRegistry
) -> set[int]:
    """Set settings of several sites in one transaction, of all of them or of none.

    Args:
        engine: The database of the directory.
        site_ids: The ids of the sites. One that is not complete, is being removed or does not exist is left out.
        texts: As for `set_settings`.
        declared: The settings that the application declares.

    Returns:
        The ids of the sites that were changed.

    Raises:
        UnknownSetting: A setting is not declared.
        SettingError: A value is not valid.
        MultisiteError: The locale or the time zone is not valid.
    """
    texts, of_theme = _split(texts, declared)
    columns, rows = check_settings(texts, declared)
    changed: set[int] = set()
    with directory_transaction(engine) as connection:
        for ids in _ready_sites(connection, site_ids):
            before = list(read_sites(connection, ids))
            for theme in {record.site.theme for record in before} if of_theme else ():
                rows |= _check_of_theme(of_theme, theme, declared)
            _write(connection, ids, columns, rows)
            record_settings(connection, "set", before, {each: {**texts, **of_theme} for each in ids})
            changed.update(ids)
    return changed


def check_settings(texts: Mapping[str, str], declared: SettingsRegistry) -> tuple[dict[str, str], dict[str, str]]:
    """Return the columns of a site and the settings in `texts`, after checking both.

    Raises:
        UnknownSetting: A setting is not declared.
        SettingError: A value is not valid.
        MultisiteError: The locale or the time zone is not valid.
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
                raise SettingError(name, shown_text(name, text), str(error)) from error
    return columns, {name: text for name, text in texts.items() if name not in columns}


def check_settings_with_theme(
    texts: Mapping[str, str], theme: str | None, declared: SettingsRegistry
) -> tuple[dict[str, str], dict[str, str]]:
    """Check `texts` as settings of a site that has `theme`, without changing one.

    Returns:
        The texts of columns of the site, and those of its settings.

    Raises:
        UnknownSetting: A setting is not declared.
        SettingError: A value is not valid.
        MultisiteError: The locale or the time zone is not valid, or there is no theme.
    """
    texts, of_theme = _split(texts, declared)
    columns, rows = check_settings(texts, declared)
    return columns, rows | _check_of_theme(of_theme, theme, declared)


def _split(texts: Mapping[str, str], declared: SettingsRegistry) -> tuple[dict[str, str], dict[str, str]]:
    """Split `texts` into those of columns and of the application, and those that the theme of a site declares."""
    of_theme = {name: text for name, text in texts.items() if name.startswith(THEME_PREFIX) and name not in declared}
    return {name: text for name, text in texts.items() if name not in of_theme}, of_theme


def _check_of_theme(texts: Mapping[str, str], theme: str | None, declared: SettingsRegistry) -> dict[str, str]:
    """Return `texts` after checking them as settings of `theme`, the theme of a site.

    Raises:
        MultisiteError: The site has no theme.
        UnknownSetting: The theme does not declare a setting.
        SettingError: A value is not valid.
    """
    if texts and theme is None:
        raise MultisiteError(f"'{next(iter(texts))}' is a setting of a theme, and the site has none")
    known = declared.of_theme(theme)
    for name, text in texts.items():
        if name not in known:
            raise UnknownSetting(name, text, {*_known_names(declared), *known})
        try:
            known[name].parse(text)
        except ValueError as error:
            raise SettingError(name, shown_text(name, text), str(error)) from error
    return dict(texts)


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
    names = _check_not_columns(names)
    domain = domains.existing(host)
    with directory_transaction(engine) as connection:
        record = read_ready_site(connection, domain)
        own, of_theme = parse_own_settings(record.site.own_settings), declared.of_theme(record.site.theme)
        _check_known(names, declared, {*own, *of_theme})
        _delete(connection, [record.site.id], names)
        changed = read_site(connection, domain)
        record_site_change(connection, "unset", record, changed)
        return changed


def unset_settings_of_sites(
    engine: Engine, site_ids: Iterable[int], names: Iterable[str], *, declared: SettingsRegistry
) -> set[int]:
    """Reset settings of several sites to their defaults in one transaction, of all of them or of none.

    `site_ids` are as for `set_settings_of_sites`.

    Returns:
        The ids of the sites that were changed.

    Raises:
        UnknownSetting: A setting is neither declared nor set for any of the sites.
        MultisiteError: A name is that of a column of the site.
    """
    names = _check_not_columns(names)
    changed: set[int] = set()
    found: set[str] = set()
    with directory_transaction(engine) as connection:
        for ids in _ready_sites(connection, site_ids):
            of_sites = SettingRow.site_id.in_(ids), SettingRow.name.in_(names)
            found.update(connection.scalars(sa.select(SettingRow.name).where(*of_sites).distinct()))
            before = list(read_sites(connection, ids))
            _delete(connection, ids, names)
            record_settings(connection, "unset", before, dict.fromkeys(ids, dict.fromkeys(names)))
            changed.update(ids)
        _check_known(names, declared, found)
    return changed


def _check_not_columns(names: Iterable[str]) -> set[str]:
    names = set(names)
    if not names.isdisjoint(SITE_COLUMNS):
        raise MultisiteError(f"{' and '.join(SITE_COLUMNS)} have no default: set another value instead")
    return names


def _check_known(names: Iterable[str], declared: SettingsRegistry, own: Collection[str]) -> None:
    for name in sorted(names):
        if name not in declared and name not in own:
            raise UnknownSetting(name, None, _known_names(declared))


def _known_names(declared: SettingsRegistry) -> set[str]:
    return {*SITE_COLUMNS, *(setting.name for setting in declared)}


def _ready_sites(connection: Connection, site_ids: Iterable[int]) -> Iterator[Sequence[int]]:
    """Yield those of the sites that may be changed, `STATEMENT_SITES` at a time."""
    remaining = sorted(set(site_ids))
    for start in range(0, len(remaining), STATEMENT_SITES):
        is_ready = SiteRow.status == "active", SiteRow.availability.not_in(["removing", "removed"])
        some = SiteRow.id.in_(remaining[start : start + STATEMENT_SITES])
        yield connection.scalars(sa.select(SiteRow.id).where(some, *is_ready)).all()


def _write(
    connection: Connection, site_ids: Sequence[int], columns: Mapping[str, str], rows: Mapping[str, str]
) -> None:
    if columns:
        connection.execute(sa.update(SiteRow).where(SiteRow.id.in_(site_ids)).values(**columns))
    _delete(connection, site_ids, rows)
    insert_settings(connection, dict.fromkeys(site_ids, rows))


def insert_settings(connection: Connection, settings: Mapping[int, Mapping[str, str]]) -> None:
    """Insert the settings of sites, given as texts by the id of the site."""
    rows = [
        {"site_id": site_id, "name": name, "value": text}
        for site_id, texts in settings.items()
        for name, text in texts.items()
    ]
    if rows:
        connection.execute(sa.insert(SettingRow), rows)


def record_settings(
    connection: Connection, what: str, before: Iterable[SiteRecord], after: Mapping[int, Mapping[str, str | None]]
) -> None:
    """Record changes of settings of several sites: the records before, and the new texts by the id of the site."""
    changes = []
    for record in before:
        old = parse_own_settings(record.site.own_settings)
        own: dict[str, str | None] = {name: getattr(record.site, name) for name in SITE_COLUMNS}
        own |= {f"setting {name}": text for name, text in old.items()}
        new = {
            name if name in SITE_COLUMNS else f"setting {name}": text for name, text in after[record.site.id].items()
        }
        new = {name: text for name, text in new.items() if own.get(name) != text}
        changes.append(LoggedChange(record.site, {name: own.get(name) for name in new}, new))
    record_changes(connection, what, changes)


def _delete(connection: Connection, site_ids: Sequence[int], names: Iterable[str]) -> None:
    named = SettingRow.name.in_(list(names))
    connection.execute(sa.delete(SettingRow).where(SettingRow.site_id.in_(site_ids), named))
