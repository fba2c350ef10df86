"""Change the availability of a site: open, in maintenance or disabled."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core import domains
from multisite.directory.matching import bypass_digest
from multisite.directory.models import SiteRow
from multisite.directory.records import SiteRecord, read_site
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError
from multisite.sites.operator_log import record_site_change
from multisite.sites.transaction import directory_transaction, read_ready_site

__all__ = ["MAX_MESSAGE_CHARACTERS", "disable_site", "enable_site", "maintain_site"]

MAX_MESSAGE_CHARACTERS = 500
"""The maximum length of a maintenance message."""

_ANNOUNCED = ("maintenance_message", "maintenance_until")

_NO_MAINTENANCE = {"maintenance_message": None, "maintenance_until": None, "maintenance_pass": None}


def enable_site(engine: Engine, host: str) -> SiteRecord:
    """Bring the site with the domain `host` online.

    Returns:
        The new record of the site.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No site has this domain.
        MultisiteError: The site is not complete or is being removed.
    """
    return _set(engine, host, "enable-site", availability="open", **_NO_MAINTENANCE)


def disable_site(engine: Engine, host: str) -> SiteRecord:
    """Take the site offline, so that it answers 404; nothing is deleted. Returns and raises as `enable_site` does."""
    return _set(engine, host, "disable-site", availability="disabled", **_NO_MAINTENANCE)


def maintain_site(
    engine: Engine, host: str, *, message: str | None = None, until: datetime | None = None
) -> tuple[SiteRecord, str]:
    """Put the site into maintenance, so that it answers 503 except to operators with a token.

    Args:
        engine: The database of the directory.
        host: Any domain of the site.
        message: Shown on the maintenance page.
        until: The announced end, in the site's time zone if it is naive. The site does not come back by itself.

    Returns:
        The new record of the site, and a new token, which `multisite.directory.matching.BYPASS_NAME` takes.

    Raises:
        InvalidHost: `host` is not valid.
        UnknownSite: No site has this domain.
        MultisiteError: The site is not complete or is being removed; the message is empty or too long; or `until` is
            in the past.
    """
    if message is not None and (not message.strip() or len(message) > MAX_MESSAGE_CHARACTERS):
        raise MultisiteError(f"a message has 1 to {MAX_MESSAGE_CHARACTERS} characters")
    if until is not None:
        until = _in_utc(engine, host, until)
    bypass_token = secrets.token_urlsafe(24)
    record = _set(
        engine,
        host,
        "maintain-site",
        availability="maintenance",
        maintenance_message=message,
        maintenance_until=until,
        maintenance_pass=bypass_digest(bypass_token),
    )
    return record, bypass_token


def _in_utc(engine: Engine, host: str, until: datetime) -> datetime:
    if until.tzinfo is None:
        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            zone = read_site(connection, domains.existing(host)).site.timezone
        until = until.replace(tzinfo=ZoneInfo(zone))
    try:
        until_utc = until.astimezone(UTC)
    except OverflowError:
        raise MultisiteError(f"{until.isoformat(sep=' ')} is not between the years 1 and 9999 in UTC") from None
    if until_utc <= datetime.now(UTC):
        raise MultisiteError(f"{until.isoformat(sep=' ')} has already passed")
    return until_utc


def _set(engine: Engine, host: str, what: str, **values: object) -> SiteRecord:
    domain = domains.existing(host)
    with directory_transaction(engine) as connection:
        record = read_ready_site(connection, domain)
        connection.execute(sa.update(SiteRow).where(SiteRow.id == record.site.id).values(**values))
        changed = read_site(connection, domain)
        details = {name: str(value) for name, value in values.items() if name in _ANNOUNCED and value is not None}
        record_site_change(connection, what, record, changed, **details)
        return changed
