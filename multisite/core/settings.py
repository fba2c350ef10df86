"""The settings of multisite: one table of them, and the function that parses them into a frozen dataclass.

Only this module reads the keys below `multisite.` in an application's settings. An unknown key or an invalid value
raises `SettingError` with the key, the value and what was expected.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multisite.core import setting_parsers as parsers
from multisite.errors import SettingError, UnknownSetting

__all__ = [
    "ALL_SITES_ROLE",
    "PREFIX",
    "ROW_SECURITY_FORM",
    "SITE_PREFIX",
    "STATIC_FOLDER",
    "THEMES_FOLDER",
    "Settings",
    "parse_settings",
    "site_defaults",
]

PREFIX = "multisite."
"""The prefix of all keys."""

SITE_PREFIX = f"{PREFIX}site."
"""The prefix of defaults for the settings of sites, which an application declares."""

ALL_SITES_ROLE = f"{PREFIX}all_sites_role"
"""The key of the setting `all_sites_role`, which the migrations of an application read too."""

ROW_SECURITY_FORM = f"{PREFIX}row_security_form"
"""The key of the setting `row_security_form`, which the migrations of an application read too."""

STATIC_FOLDER = "static"
"""The folder of static files, in the folder of a site or a theme, or in that of the shared templates."""

THEMES_FOLDER = "themes"
"""The folder among the shared templates with one folder per theme. Template names cannot refer to it."""

_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def _setting(default: Any, parse: Callable[[str], Any], sentence: str, *, hidden: bool = False) -> Any:
    """Return a field of `Settings`; a hidden value appears neither in the repr nor in errors."""
    metadata = {"parse": parse, "sentence": sentence, "hidden": hidden}
    return field(default=default, repr=not hidden, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """The parsed settings. A field has the name of its key without `multisite.`, and a parser in its metadata."""

    sites_dir: Path = _setting(Path("sites"), parsers.parse_folder, "Folder with one template folder per site.")
    archives_dir: Path | None = _setting(
        None, parsers.parse_folder, "Folder of the archives of removed sites, and of backups; by default none are kept."
    )
    keep_removed_days: int = _setting(
        30, parsers.parse_limit, "How many days a removed site can be restored; 0 for not at all."
    )
    log_days: int = _setting(365, parsers.parse_log_days, "How many days an entry of the operator log is kept.")
    templates_dir: Path = _setting(Path("templates"), parsers.parse_folder, "Folder of the shared templates.")
    templates_store: str | None = _setting(
        None,
        parsers.parse_media_url,
        "Store from which each machine copies the folders of sites and the shared templates: a folder or a URL.",
    )
    database_url: str | None = _setting(
        None, parsers.parse_url, "Database of the tables sites and domains, if it is not sqlalchemy.url."
    )
    refresh_seconds: float = _setting(
        1.0, parsers.parse_seconds, "How often, at most, a process checks whether the directory of sites has changed."
    )
    max_age_seconds: float = _setting(
        300.0, parsers.parse_seconds, "After how long an entry of the directory is read again even without a change."
    )
    notify: bool = _setting(
        False, parsers.parse_boolean, "Whether PostgreSQL notifies all processes of changes of the directory of sites."
    )
    allow_underscores: bool = _setting(
        False, parsers.parse_boolean, "Whether host names may contain underscores, in domains and in requests."
    )
    unknown_host: str = _setting(
        "404", parsers.parse_unknown_host, "Response to unknown hosts: 404, 421, or the site with this host."
    )
    development_suffix: str | None = _setting(
        None,
        parsers.parse_suffix,
        "Optional suffix of host names: with localhost, example.com.localhost is example.com.",
    )
    media_url: str = _setting(
        "media", parsers.parse_media_url, "Where the media of sites are kept: a folder, or a URL such as s3://bucket."
    )
    open_paths: tuple[str, ...] = _setting(
        (), parsers.parse_paths, "Paths that are served without a site; a final slash includes everything below."
    )
    directory_size: int = _setting(10_000, parsers.parse_count, "How many hosts to keep in memory.")
    server_file: Path | None = _setting(
        None, parsers.parse_file, "File to which a server writes its address, for the URLs that commands print."
    )
    snapshot: Path | None = _setting(
        None, parsers.parse_file, "File of recently used sites, for a start while the database is down."
    )
    error_pages: bool = _setting(
        True,
        parsers.parse_boolean,
        "Whether templates render errors: 404.mako, 500.mako and so on, or error.mako.",
    )
    max_requests_per_site: int = _setting(
        0, parsers.parse_limit, "How many requests of one site a process handles at the same time; 0 for no limit."
    )
    max_waiting_requests_per_site: int = _setting(
        0, parsers.parse_limit, "How many more requests of one site wait, each in a thread, before others get 503."
    )
    page_cache_seconds: float = _setting(
        0.0, parsers.parse_seconds, "How long public pages are cached in memory; 0 disables the page cache."
    )
    page_cache_size: int = _setting(64, parsers.parse_count, "Size of the page cache of a process, in megabytes.")
    page_cache_ignored_cookies: tuple[str, ...] = _setting(
        (), parsers.parse_words, "Names of cookies on which no page depends; a final * stands for any ending."
    )
    request_id_header: str | None = _setting(
        None,
        parsers.parse_header_name,
        "Header with the request id of a proxy; by default each request gets a new id.",
    )
    metrics_path: str | None = _setting(
        None, parsers.parse_url_path, "Path at which Prometheus reads metrics, if multisite.metrics is included."
    )
    metrics_from: tuple[parsers.Network, ...] = _setting(
        _LOOPBACK, parsers.parse_networks, "Addresses and networks that may request metrics_path."
    )
    console_host: str | None = _setting(
        None, parsers.parse_host, "Host of the operator's console, if multisite.console is included; it is no site."
    )
    console_networks: tuple[parsers.Network, ...] = _setting(
        _LOOPBACK, parsers.parse_networks, "Addresses and networks that may open the operator's console."
    )
    console_second_factor: bool = _setting(
        True, parsers.parse_boolean, "Whether operators of the console need a code from an app to log in."
    )
    console_worker: bool = _setting(
        False, parsers.parse_boolean, "Whether a process that serves the operator's console also does its jobs."
    )
    console_upload_size: int = _setting(
        1000, parsers.parse_count, "Size of an archive that is uploaded to the operator's console, in megabytes."
    )
    public_addresses: tuple[str, ...] = _setting(
        (), parsers.parse_public_addresses, "Addresses that domains lead to, or one name for CNAME records."
    )
    traffic: bool = _setting(
        False, parsers.parse_boolean, "Whether requests are counted in the database, by site and minute."
    )
    tls_ask_path: str | None = _setting(
        None, parsers.parse_url_path, "Path at which a proxy asks whether to obtain a certificate for a domain."
    )
    tls_ask_from: tuple[parsers.Network, ...] = _setting(
        _LOOPBACK, parsers.parse_networks, "Addresses and networks that may request tls_ask_path."
    )
    global_tables: tuple[str, ...] = _setting(
        (), parsers.parse_words, "Names of undeclared tables and views that belong to no site."
    )
    owner_url: str | None = _setting(
        None,
        parsers.parse_url,
        "Database URL of the tables' owner, for migrations; by default the application's.",
    )
    all_sites_role: str | None = _setting(
        None, parsers.parse_role, "PostgreSQL role of all_sites if row-level security is enabled."
    )
    row_security_form: str | None = _setting(
        None,
        parsers.parse_row_security_form,
        "How row-level security recognizes all_sites: by role or by setting; by default whichever is available.",
    )
    allow_row_security_bypass: bool = _setting(
        False, parsers.parse_boolean, "Whether the application starts even if its role bypasses row-level security."
    )
    mail: str | None = _setting(
        None,
        parsers.parse_mail_url,
        "URL of the mail server that sends invitations; without one, commands print the links.",
        hidden=True,
    )
    secret: str | None = _setting(
        None,
        parsers.parse_secret,
        "Secret from which all others are derived, env:NAME or file:PATH.",
        hidden=True,
    )
    previous_secrets: tuple[str, ...] = _setting(
        (), parsers.parse_secrets, "Former values of multisite.secret, whose signatures remain valid.", hidden=True
    )

    @property
    def themes_dir(self) -> Path:
        """The folder of the themes, among the shared templates."""
        return self.templates_dir / THEMES_FOLDER


def parse_settings(settings: Mapping[str, Any]) -> Settings:
    """Parse the settings below `multisite.`, except those that `site_defaults` returns; other keys are ignored.

    Args:
        settings: A mapping such as Pyramid's settings or an ini section. Values that are not strings are converted to
            strings first.

    Returns:
        The parsed settings, with the defaults of those that are missing.

    Raises:
        SettingError: If a value is invalid.
        UnknownSetting: If a key is unknown.
    """
    fields = {item.name: item for item in dataclasses.fields(Settings)}
    # The defaults are made absolute too, so that a later change of the working directory has no effect.
    values: dict[str, Any] = {
        "sites_dir": Settings.sites_dir.absolute(),
        "templates_dir": Settings.templates_dir.absolute(),
        "media_url": str(Path(Settings.media_url).absolute()),
    }
    for key, value in settings.items():
        if not key.startswith(PREFIX) or key.startswith(SITE_PREFIX):
            continue
        name = key[len(PREFIX) :]
        if name not in fields:
            shown = "(hidden)" if "secret" in name else value
            raise UnknownSetting(name, shown, fields, prefix=PREFIX, listed="docs/settings.md")
        try:
            values[name] = fields[name].metadata["parse"](str(value).strip())
        except ValueError as error:
            shown = "(hidden)" if fields[name].metadata["hidden"] else value
            raise SettingError(key, shown, str(error)) from None
    parsed = Settings(**values)
    _check_folders(parsed)
    if parsed.max_waiting_requests_per_site and not parsed.max_requests_per_site:
        expected = "0 without multisite.max_requests_per_site"
        waiting = str(parsed.max_waiting_requests_per_site)
        raise SettingError("multisite.max_waiting_requests_per_site", waiting, expected)
    return parsed


def _check_folders(parsed: Settings) -> None:
    for folder in (parsed.themes_dir, parsed.templates_dir / STATIC_FOLDER):
        # All sites share these folders, so the files of each site would be served to visitors of the others.
        if parsed.sites_dir.resolve().is_relative_to(folder.resolve()):
            raise SettingError("multisite.sites_dir", parsed.sites_dir, f"a folder outside of {folder}")
    for folder in (parsed.sites_dir, parsed.templates_dir):
        # Archives have everything that a site has, and files in these folders are served.
        if parsed.archives_dir is not None and parsed.archives_dir.resolve().is_relative_to(folder.resolve()):
            raise SettingError("multisite.archives_dir", parsed.archives_dir, f"a folder outside of {folder}")
    if parsed.templates_store is not None:
        _check_store(parsed, parsed.templates_store)
    if "://" not in parsed.media_url:
        media = Path(parsed.media_url).resolve()
        for folder in (parsed.sites_dir, parsed.templates_dir):
            # A site's folder has the name of its domain, and files in `static` are served to all sites.
            if media.is_relative_to(folder.resolve()):
                raise SettingError("multisite.media_url", parsed.media_url, f"a folder outside of {folder}")


def _check_store(parsed: Settings, store: str) -> None:
    if parsed.sites_dir.resolve().is_relative_to(parsed.templates_dir.resolve()):
        # The shared templates are replaced as a whole.
        raise SettingError("multisite.sites_dir", parsed.sites_dir, f"a folder outside of {parsed.templates_dir}")
    if "://" not in store:
        place = Path(store).resolve()
        for folder in (parsed.sites_dir, parsed.templates_dir):
            if place.is_relative_to(folder.resolve()) or folder.resolve().is_relative_to(place):
                raise SettingError("multisite.templates_store", store, f"a folder beside {folder}")


def site_defaults(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the defaults for settings of sites in `settings`, by the name after `multisite.site.`.

    They are checked once the application is complete and has declared its settings of sites.
    """
    return {
        key.removeprefix(SITE_PREFIX): str(value).strip()
        for key, value in settings.items()
        if key.startswith(SITE_PREFIX)
    }
