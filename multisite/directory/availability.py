"""Availability: whether a site is open, in maintenance or disabled."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite import domains
from multisite.directory.changing import check_site_ready, directory_transaction
from multisite.directory.info import SiteRecord, read_site
from multisite.errors import MultisiteError
from multisite.models import AS_MULTISITE, SiteRow

__all__ = ["MAX_MESSAGE_CHARACTERS", "PASS", "digest_of", "disable_site", "enable_site", "maintain_site"]

MAX_MESSAGE_CHARACTERS = 500
"""The longest message of a site in maintenance."""

PASS = "multisite_pass"  # noqa: S105  # Its name.
"""The name of the parameter, and of the cookie, that holds the word by which operators pass."""

_NOTHING = {"maintenance_message": None, "maintenance_until": None, "maintenance_pass": None}


def enable_site(engine: Engine, host: str) -> SiteRecord:
    """Open the site that has the domain `host`, in any spelling, to its visitors; return it after that.

    Raises `InvalidHost`, `UnknownSite`, and `MultisiteError` for a site that is not complete or is being removed.
    """
    return _set(engine, host, availability="open", **_NOTHING)


def disable_site(engine: Engine, host: str) -> SiteRecord:
    """Let the site answer as if it were not there; everything it has stays. Returns and raises as `enable_site`."""
    return _set(engine, host, availability="disabled", **_NOTHING)


def maintain_site(
    engine: Engine, host: str, *, message: str | None = None, until: datetime | None = None
) -> tuple[SiteRecord, str]:
    """Let the site tell its visitors to come back; return it, and a new word by which operators pass.

    `message` is shown on the page. `until` is when it will be over as far as one knows, by the site's clock where it
    has no time zone; the site does not open by itself then. Raises as `enable_site`, and `MultisiteError` for a
    message that is too long or a time that has passed.
    """
    if message is not None and (not message.strip() or len(message) > MAX_MESSAGE_CHARACTERS):
        raise MultisiteError(f"a message has 1 to {MAX_MESSAGE_CHARACTERS} characters")
    if until is not None:
        until = _in_utc(engine, host, until)
    bypass_token = secrets.token_urlsafe(24)
    info = _set(
        engine,
        host,
        availability="maintenance",
        maintenance_message=message,
        maintenance_until=until,
        maintenance_pass=digest_of(bypass_token),
    )
    return info, bypass_token


def digest_of(bypass_token: str) -> str:
    """Return what is stored of a word by which operators pass: who can read the table cannot pass."""
    return hashlib.sha256(bypass_token.encode("utf-8", "surrogateescape")).hexdigest()


def _in_utc(engine: Engine, host: str, until: datetime) -> datetime:
    if until.tzinfo is None:
        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            zone = read_site(connection, domains.existing(host)).site.timezone
        until = until.replace(tzinfo=ZoneInfo(zone))
    try:
        until_utc = until.astimezone(UTC)
    except OverflowError:
        raise MultisiteError(f"{until.isoformat(sep=' ')} is not a time within the years 1 to 9999 in UTC") from None
    if until_utc <= datetime.now(UTC):
        raise MultisiteError(f"{until.isoformat(sep=' ')} has passed already")
    return until_utc


def _set(engine: Engine, host: str, **values: object) -> SiteRecord:
    domain = domains.existing(host)
    with directory_transaction(engine) as connection:
        info = read_site(connection, domain)
        check_site_ready(info)
        connection.execute(sa.update(SiteRow).where(SiteRow.id == info.site.id).values(**values))
        return read_site(connection, domain)
