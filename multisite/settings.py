"""The settings of multisite: one table, one function that turns strings into a frozen typed object.

Everything below `multisite.` in an application's settings is looked at here and nowhere else. An unknown key or a
bad value raises `SettingError` with the key, the value and what was expected.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multisite import hosts
from multisite.errors import InvalidHost, SettingError, UnknownSetting

__all__ = [
    "ALL_SITES_ROLE",
    "PREFIX",
    "ROW_SECURITY_FORM",
    "ROW_SECURITY_FORMS",
    "SITE_PREFIX",
    "STATIC_FOLDER",
    "THEMES_FOLDER",
    "Settings",
    "parse_settings",
    "secret_error",
    "site_defaults",
]

PREFIX = "multisite."

SITE_PREFIX = f"{PREFIX}site."
"""What the keys begin with that are defaults for the settings of sites, which an application declares."""

ALL_SITES_ROLE = f"{PREFIX}all_sites_role"
"""The key of that setting, which the migrations of an application look up too."""

ROW_SECURITY_FORM = f"{PREFIX}row_security_form"
"""The key of that setting, which the migrations of an application look up too."""

ROW_SECURITY_FORMS = ("role", "setting")
"""How a transaction says that it is for all sites where row-level security is on: by a role, or by the setting."""

STATIC_FOLDER = "static"
"""The folder of static files, in a site's folder, in a theme's and among the shared templates."""

THEMES_FOLDER = "themes"
"""The folder among the shared templates that holds one folder for each theme, and that no template's name reaches."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _path(value: str) -> Path:
    if not value or "\0" in value:
        raise ValueError("a folder")
    return Path(value).absolute()


def _file(value: str) -> Path:
    if not value or "\0" in value or value.endswith("/"):
        raise ValueError("a file")
    return Path(value).absolute()


def _url(value: str) -> str:
    if "://" not in value:
        raise ValueError("a database URL such as sqlite:////srv/app/multisite.db")
    return value


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise ValueError("a number of seconds from 0 to 86400")
    return seconds


def _count(value: str) -> int:
    # The length first: Python refuses to read a number of thousands of digits, in words that explain nothing here.
    if len(value) > 9 or not value.isascii() or not value.isdigit() or not 0 < int(value) <= 100_000_000:
        raise ValueError("a whole number from 1 to 100000000")
    return int(value)


def _boolean(value: str) -> bool:
    # Pyramid's asbool takes every word that it does not know for a no.
    if value.lower() not in {"true", "false"}:
        raise ValueError("true or false")
    return value.lower() == "true"


def _limit(value: str) -> int:
    return 0 if value == "0" else _count(value)


def _header(value: str) -> str:
    # Servers that take an underscore would let a visitor write the header of a proxy in another spelling.
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", value):
        raise ValueError("the name of a header, such as X-Request-ID")
    return value


def _plain_path(value: str) -> str:
    if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+", value):
        raise ValueError("a path such as /multisite/tls-ask, of letters, digits and -._~ between its slashes")
    return value


def _networks(value: str) -> tuple[Network, ...]:
    try:
        return tuple(map(ipaddress.ip_network, value.split()))
    except ValueError:
        raise ValueError("addresses or networks such as 127.0.0.0/8, separated by white space") from None


def _role(value: str) -> str:
    # PostgreSQL cuts a longer name off, and then means another role.
    if not 0 < len(value.encode()) <= 63 or "\0" in value:
        raise ValueError("the name of a PostgreSQL role, of 63 bytes at most")
    return value


def _form(value: str) -> str:
    if value not in ROW_SECURITY_FORMS:
        raise ValueError("role or setting")
    return value


def _unknown_host(value: str) -> str:
    if value in {"404", "421"}:
        return value
    try:
        return hosts.parse(value, underscores=True).name
    except InvalidHost:
        raise ValueError("404, 421, or the host of the site to fall back to") from None


def _suffix(value: str) -> str:
    try:
        name, port = hosts.parse(value, underscores=True)
    except InvalidHost:
        name, port = "", None
    if not name or port is not None:
        raise ValueError("the end of a name, such as localhost")
    return name


def _paths(value: str) -> tuple[str, ...]:
    paths = tuple(value.split())
    if any(not path.startswith("/") for path in paths):
        raise ValueError("paths that begin with a slash, separated by white space")
    return paths


def _names(value: str) -> tuple[str, ...]:
    return tuple(value.split())


MIN_SECRET_CHARACTERS = 32
"""The shortest secret: so many hexadecimal digits hold 128 bits, what new keys need from 2031 on (NIST SP 800-57 part 1
revision 5, section 5.6.3)."""


def _secret(value: str) -> str:
    kind, _, name = value.partition(":")
    if kind in {"env", "file"}:
        # Read when the application starts (`multisite.secrets`): commands that derive nothing do without.
        if not name or "\0" in name:
            raise ValueError("a secret, or where it is: env:NAME or file:PATH")
    elif (fault := secret_error(value)) is not None:
        raise ValueError(fault)
    return value


def secret_error(secret: str) -> str | None:
    """Return what should have been there instead of `secret`, None if it is a good one."""
    if len(secret) >= MIN_SECRET_CHARACTERS and not any(map(str.isspace, secret)):
        return None
    return (
        f"{MIN_SECRET_CHARACTERS} characters at least, none of them a space; make a secret: "
        "python3 -c 'import secrets; print(secrets.token_hex(32))'"
    )


def _secrets(value: str) -> tuple[str, ...]:
    return tuple(map(_secret, value.split()))


def _setting(default: Any, parse: Callable[[str], Any], sentence: str, *, hidden: bool = False) -> Any:
    """Return a field of `Settings`. What is `hidden` shows up neither in its `repr` nor in an error."""
    metadata = {"parse": parse, "sentence": sentence, "hidden": hidden}
    return field(default=default, repr=not hidden, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """The settings, parsed. Each field is the key behind `multisite.`; its metadata holds parser and sentence."""

    sites_dir: Path = _setting(Path("sites"), _path, "Folder that holds one folder of templates for each site.")
    templates_dir: Path = _setting(Path("templates"), _path, "Folder of the templates that all sites share.")
    database_url: str | None = _setting(
        None, _url, "Database that holds the tables sites and domains, if it is not sqlalchemy.url."
    )
    refresh_seconds: float = _setting(
        1.0, _seconds, "How often, at most, a process asks whether the directory of sites has changed."
    )
    max_age_seconds: float = _setting(
        300.0,
        _seconds,
        "After how long an entry of the directory is read again although nothing is known to have changed.",
    )
    notify: bool = _setting(
        False, _boolean, "Whether PostgreSQL tells each process at once that the directory of sites has changed."
    )
    allow_underscores: bool = _setting(
        False, _boolean, "Whether the names of hosts may have underscores, in domains and in requests."
    )
    unknown_host: str = _setting(
        "404", _unknown_host, "What a host without a site gets: 404, 421, or the pages of the site with this host."
    )
    development_suffix: str | None = _setting(
        None, _suffix, "What may stand behind a site's name: with localhost, example.com.localhost is example.com."
    )
    open_paths: tuple[str, ...] = _setting(
        (), _paths, "Paths that answer without a site: exact, or prefixes that end in a slash."
    )
    directory_size: int = _setting(10_000, _count, "How many hosts are kept in memory.")
    server_file: Path | None = _setting(
        None, _file, "File in which a server says where it listens, for the addresses that commands print."
    )
    snapshot: Path | None = _setting(
        None, _file, "File that serves the sites asked for last while the database is down from the start on."
    )
    error_pages: bool = _setting(
        True, _boolean, "Whether errors are answered by the templates 404.mako, 500.mako and so on, or error.mako."
    )
    max_requests_per_site: int = _setting(
        0, _limit, "How many requests of one site a process works on at the same time; 0 for no limit."
    )
    page_cache_seconds: float = _setting(
        0.0, _seconds, "For how long pages that views let everybody have are kept in memory; 0 for not at all."
    )
    page_cache_size: int = _setting(64, _count, "How many megabytes of such pages a process keeps.")
    page_cache_ignored_cookies: tuple[str, ...] = _setting(
        (), _names, "Names of cookies on which no page depends, or how they begin, with a star."
    )
    request_id_header: str | None = _setting(
        None, _header, "Header in which a proxy sends the id of a request; none: each gets a new one."
    )
    metrics_path: str | None = _setting(
        None, _plain_path, "Path at which Prometheus reads metrics, if multisite.metrics is included."
    )
    metrics_from: tuple[Network, ...] = _setting(
        (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")),
        _networks,
        "Addresses and networks from which metrics_path may be asked.",
    )
    tls_ask_path: str | None = _setting(
        None, _plain_path, "Path at which a proxy asks whether to get a certificate for a domain."
    )
    tls_ask_from: tuple[Network, ...] = _setting(
        (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")),
        _networks,
        "Addresses and networks from which tls_ask_path may be asked.",
    )
    global_tables: tuple[str, ...] = _setting(
        (), _names, "Names of tables and views that belong to no site although no model declares them."
    )
    owner_url: str | None = _setting(
        None, _url, "The database as the owner of its tables reaches it, for migrations; none: as the application does."
    )
    all_sites_role: str | None = _setting(
        None, _role, "The PostgreSQL role that all_sites works under where row-level security is on."
    )
    row_security_form: str | None = _setting(
        None, _form, "How row-level security is told of all sites: by a role or by the setting; none: as suits."
    )
    allow_row_security_bypass: bool = _setting(
        False, _boolean, "Whether the application starts although row-level security does not hold for its role."
    )
    secret: str | None = _setting(
        None, _secret, "What the secrets of all sites are derived from, env:NAME or file:PATH.", hidden=True
    )
    previous_secrets: tuple[str, ...] = _setting(
        (), _secrets, "Former values of multisite.secret: what was signed with them is still accepted.", hidden=True
    )

    @property
    def themes_dir(self) -> Path:
        """The folder of the themes, which lies in that of the shared templates."""
        return self.templates_dir / THEMES_FOLDER


def parse_settings(settings: Mapping[str, Any]) -> Settings:
    """Return the `Settings` found in `settings`, a mapping as Pyramid's registry or an ini section gives it.

    Keys outside of the prefix `multisite.` are ignored, and so are those that `site_defaults` returns. Values that are
    not strings are turned into strings first. Raises `SettingError` for an unknown key and for a value that cannot be
    meant.
    """
    fields = {item.name: item for item in dataclasses.fields(Settings)}
    # Where nothing is said too, the folders stay where they were when the process changes to another one.
    values: dict[str, Any] = {
        "sites_dir": Settings.sites_dir.absolute(),
        "templates_dir": Settings.templates_dir.absolute(),
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
    for folder in (parsed.themes_dir, parsed.templates_dir / STATIC_FOLDER):
        # What lies there is every site's: its files would be served to the visitors of the others.
        if parsed.sites_dir.resolve().is_relative_to(folder.resolve()):
            raise SettingError("multisite.sites_dir", parsed.sites_dir, f"a folder outside of {folder}")
    return parsed


def site_defaults(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the defaults for settings of sites in `settings`, by the name behind `multisite.site.`.

    They are checked where it is known which ones there are: when the application is complete.
    """
    return {
        key.removeprefix(SITE_PREFIX): str(value).strip()
        for key, value in settings.items()
        if key.startswith(SITE_PREFIX)
    }
