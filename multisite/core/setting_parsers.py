"""Parsers for the values of settings: each converts a string, or raises `ValueError` with what was expected."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from urllib.parse import urlsplit

from multisite import hosts
from multisite.errors import InvalidHost

__all__ = [
    "ROW_SECURITY_FORMS",
    "Network",
    "parse_boolean",
    "parse_count",
    "parse_file",
    "parse_folder",
    "parse_header_name",
    "parse_host",
    "parse_limit",
    "parse_log_days",
    "parse_mail_url",
    "parse_media_url",
    "parse_networks",
    "parse_paths",
    "parse_public_addresses",
    "parse_role",
    "parse_row_security_form",
    "parse_seconds",
    "parse_secret",
    "parse_secrets",
    "parse_suffix",
    "parse_unknown_host",
    "parse_url",
    "parse_url_path",
    "parse_words",
    "secret_error",
]

ROW_SECURITY_FORMS = ("role", "setting")
"""How a transaction tells row-level security that it is for all sites: by its role, or by a setting."""

MIN_SECRET_CHARACTERS = 32
"""The shortest secret. 32 hexadecimal digits hold 128 bits, which new keys need from 2031 on (NIST SP 800-57 part 1
revision 5, section 5.6.3)."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_folder(value: str) -> Path:
    """Parse the path of a folder; the result is absolute."""
    if not value or "\0" in value:
        raise ValueError("a folder")
    return Path(value).absolute()


def parse_file(value: str) -> Path:
    """Parse the path of a file; the result is absolute."""
    if not value or "\0" in value or value.endswith("/"):
        raise ValueError("a file")
    return Path(value).absolute()


def parse_url(value: str) -> str:
    """Parse a database URL."""
    if "://" not in value:
        raise ValueError("a database URL such as sqlite:////srv/app/multisite.db")
    return value


def parse_mail_url(value: str) -> str:
    """Parse the URL of a mail server: `smtp://` (with STARTTLS if the server has it) or `smtps://` (TLS)."""
    expected = "a URL such as smtp://localhost or smtps://user:password@mail.example.com:465"
    try:
        parts = urlsplit(value)
        is_valid = parts.scheme in {"smtp", "smtps"} and parts.hostname and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(expected)
    return value


def parse_media_url(value: str) -> str:
    """Parse the path of a folder, which becomes absolute, or a URL of another store."""
    value = value.removeprefix("file://")
    return value if re.match(r"[a-z][a-z0-9+]*://", value) else str(parse_folder(value))


def parse_seconds(value: str) -> float:
    """Parse a duration of at most a day."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise ValueError("a number of seconds from 0 to 86400")
    return seconds


def parse_count(value: str) -> int:
    """Parse a whole number of at least 1."""
    # The length is checked first: for thousands of digits int() raises an error of its own, which explains nothing.
    if len(value) > 9 or not value.isascii() or not value.isdigit() or not 0 < int(value) <= 100_000_000:
        raise ValueError("a whole number from 1 to 100000000")
    return int(value)


def parse_limit(value: str) -> int:
    """Parse a whole number; 0 means no limit."""
    return 0 if value == "0" else parse_count(value)


def parse_log_days(value: str) -> int:
    """Parse the number of days that the operator log is kept: the database keeps each entry for 30 days."""
    days = parse_count(value)
    if days < 30:
        raise ValueError("a whole number of at least 30")
    return days


def parse_boolean(value: str) -> bool:
    """Parse `true` or `false`."""
    # Pyramid's asbool() takes any unknown word for False.
    if value.lower() not in {"true", "false"}:
        raise ValueError("true or false")
    return value.lower() == "true"


def parse_header_name(value: str) -> str:
    """Parse the name of an HTTP header."""
    # With an underscore, visitors could send a proxy's header themselves, since servers take "_" and "-" for the same.
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", value):
        raise ValueError("the name of a header, such as X-Request-ID")
    return value


def parse_url_path(value: str) -> str:
    """Parse the path of a URL."""
    if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+", value):
        raise ValueError("a path such as /multisite/tls-ask, of letters, digits and -._~ between its slashes")
    return value


def parse_networks(value: str) -> tuple[Network, ...]:
    """Parse IP addresses and networks."""
    try:
        return tuple(map(ipaddress.ip_network, value.split()))
    except ValueError:
        raise ValueError("addresses or networks such as 127.0.0.0/8, separated by whitespace") from None


def parse_role(value: str) -> str:
    """Parse the name of a PostgreSQL role."""
    # PostgreSQL truncates a longer name, which may then be that of another role.
    if not 0 < len(value.encode()) <= 63 or "\0" in value:
        raise ValueError("the name of a PostgreSQL role, of 63 bytes at most")
    return value


def parse_row_security_form(value: str) -> str:
    """Parse one of `ROW_SECURITY_FORMS`."""
    if value not in ROW_SECURITY_FORMS:
        raise ValueError("role or setting")
    return value


def parse_unknown_host(value: str) -> str:
    """Parse the response to an unknown host: a status, or the host of a fallback site."""
    if value in {"404", "421"}:
        return value
    try:
        return hosts.parse(value, underscores=True).name
    except InvalidHost:
        raise ValueError("404, 421, or the host of the site to fall back to") from None


def parse_host(value: str) -> str:
    """Parse a host name, without a port."""
    try:
        name, port = hosts.parse(value, underscores=True)
    except InvalidHost:
        name, port = "", None
    if not name or port is not None:
        raise ValueError("a host such as console.example.com, without a port")
    return name


def parse_public_addresses(value: str) -> tuple[str, ...]:
    """Parse addresses separated by white space, or one host name."""
    found = value.split()
    try:
        return tuple(str(ipaddress.ip_address(each)) for each in found)
    except ValueError:
        pass
    try:
        (name,) = found
        return (parse_host(name),)
    except ValueError:
        raise ValueError("addresses such as 192.0.2.1 2001:db8::1, or one name such as web.example.net") from None


def parse_suffix(value: str) -> str:
    """Parse a suffix of host names."""
    try:
        name, port = hosts.parse(value, underscores=True)
    except InvalidHost:
        name, port = "", None
    if not name or port is not None:
        raise ValueError("the end of a name, such as localhost")
    return name


def parse_paths(value: str) -> tuple[str, ...]:
    """Parse paths and path prefixes."""
    paths = tuple(value.split())
    if any(not path.startswith("/") for path in paths):
        raise ValueError("paths that begin with a slash, separated by whitespace")
    return paths


def parse_words(value: str) -> tuple[str, ...]:
    """Parse words separated by whitespace."""
    return tuple(value.split())


def parse_secret(value: str) -> str:
    """Parse a secret, or its location `env:NAME` or `file:PATH`, which is read when the application starts."""
    kind, _, name = value.partition(":")
    if kind in {"env", "file"}:
        # Not read here, because commands that derive nothing work without the secret.
        if not name or "\0" in name:
            raise ValueError("a secret, or where it is: env:NAME or file:PATH")
    elif (error := secret_error(value)) is not None:
        raise ValueError(error)
    return value


def parse_secrets(value: str) -> tuple[str, ...]:
    """Parse several secrets separated by whitespace."""
    return tuple(map(parse_secret, value.split()))


def secret_error(secret: str) -> str | None:
    """Return what is expected of a secret if `secret` is not valid, else None."""
    if len(secret) >= MIN_SECRET_CHARACTERS and not any(map(str.isspace, secret)):
        return None
    return (
        f"at least {MIN_SECRET_CHARACTERS} characters, none of them a space; generate a secret: "
        "python3 -c 'import secrets; print(secrets.token_hex(32))'"
    )
