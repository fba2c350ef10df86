"""The operator log: who changed which site, when and how. It is append-only.

The functions of `multisite.sites` write into it, in the transaction of their change, so that a command, the console and
a script leave the same rows. `multisite.core.actor` says who acts. Values that may be secret are hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite.core import domains
from multisite.core.actor import current_actor
from multisite.core.current_site import request_id
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.operator_tables import log_table
from multisite.directory.records import SiteRecord, get_site
from multisite.directory.tables import AS_MULTISITE, as_multisite
from multisite.errors import UnknownSite
from multisite.sites.hidden_values import without_secrets
from multisite.sites.settings.registry import parse_own_settings
from multisite.sites.site_words import update_words

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = [
    "LogEntry",
    "LogSelection",
    "LoggedChange",
    "list_log",
    "prune_log",
    "record",
    "record_changes",
    "record_export",
    "record_in",
    "record_now",
    "record_site_change",
]

PAGE_ENTRIES = 1_000
"""How many entries `list_log` reads at a time."""

Values = Mapping[str, Any]


class LoggedChange(NamedTuple):
    """A change to record: the site, or None if it concerns no single site, and the values that differ."""

    site: Site | None
    before: Values | None = None
    after: Values | None = None


def record(
    connection: Connection, what: str, site: Site | None = None, *, before: Values | None = None,
    after: Values | None = None,
) -> None:  # fmt: skip
    """Record an action in the transaction of `connection`, which may be that of a session.

    Args:
        connection: A connection to the database of the directory.
        what: The action, named as its command, such as `rename-site`.
        site: The site that it concerns; None for none or several.
        before: The values before, as far as they change. They must be representable as JSON.
        after: The values after.
    """
    record_changes(connection, what, [LoggedChange(site, before, after)])


def record_changes(connection: Connection, what: str, changes: Iterable[LoggedChange]) -> None:
    """Record an action on several sites, with an entry for each."""
    actor, now = current_actor(), datetime.now(UTC)
    common = {
        "at": now,
        "who": actor.name[:200],
        "what": what,
        "request_id": request_id.get(),
        "address": actor.address,
    }
    rows = [
        {
            **common,
            "site_id": None if each.site is None else each.site.id,
            "site": None if each.site is None else each.site.domain,
            "before": None if each.before is None else without_secrets(each.before),
            "after": None if each.after is None else without_secrets(each.after),
        }
        for each in changes
    ]
    if rows:
        with as_multisite(connection):
            connection.execute(sa.insert(log_table), rows)


def record_now(
    engine: Engine, what: str, site: Site | None = None, *, before: Values | None = None, after: Values | None = None
) -> None:
    """Record an action that has happened elsewhere than in the database of the directory, as `record` does."""
    with engine.begin() as connection:
        record(connection, what, site, before=before, after=after)


def record_in(
    session: Session, directory: Engine, what: str, site: Site, *, before: Values | None = None,
    after: Values | None = None,
) -> None:  # fmt: skip
    """Record what `session` has done to rows of a site, in its transaction.

    If the application's tables are in another database than the directory, the entry is committed first: no change is
    without one.
    """
    if session.get_bind().engine.url == directory.url:
        record(session.connection(), what, site, before=before, after=after)
    else:
        record_now(directory, what, site, before=before, after=after)


def record_site_change(
    connection: Connection, what: str, before: SiteRecord | None, after: SiteRecord | None, **details: Any
) -> None:
    """Record an action on a site with the values in which its two records differ; one of them may be missing.

    Every change of a site ends here, so this also updates the words by which operators find it.

    Args:
        connection: A connection to the database of the directory.
        what: The action.
        before: None for a new site.
        after: None for a removed one.
        details: Further values after the action.

    Raises:
        ValueError: Both records are missing.
    """
    either = after or before
    if either is None:
        raise ValueError("an action on a site needs its record")
    old, new = ({} if each is None else _values(each) for each in (before, after))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    record(
        connection,
        what,
        either.site,
        before=None if before is None else {name: old.get(name) for name in names},
        after=None if after is None else {**{name: new.get(name) for name in names}, **details},
    )
    update_words(connection, before, after)


def _values(each: SiteRecord) -> dict[str, Any]:
    site = each.site
    own = parse_own_settings(site.own_settings)
    return {
        "name": site.name,
        "status": each.status,
        "theme": site.theme,
        "locale": site.locale,
        "timezone": site.timezone,
        "copy_of": site.copy_of,
        "domains": [f"{domain.host} ({domain.kind})" for domain in each.domains],
        **{f"setting {name}": text for name, text in own.items()},
    }


def record_export(engine: Engine, site: Site, archive: Path, *, users: str = "keep") -> None:
    """Record that an archive of a site was written, which has everything that the site has."""
    record_now(engine, "export-site", site, after={"archive": archive.name, "users": users})


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry of the log. `site` is the canonical domain of the site at that time; `at` is in UTC."""

    id: int
    at: datetime
    who: str
    what: str
    site_id: int | None
    site: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class LogSelection:
    """Which entries are listed. Each field that is set excludes further ones.

    `site` is any domain of a site, or the canonical domain of one that was removed. `who` is a whole name, with or
    without what is in parentheses. `whats` are names of actions. `since` and `until` are aware; `until` is excluded.
    """

    site: str | None = None
    who: str | None = None
    whats: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self, engine: Engine) -> Iterator[sa.ColumnElement[bool]]:
        """Yield the conditions of a statement on the log. Raises `UnknownSite` if the log has no such site either."""
        columns = log_table.c
        if self.site is not None:
            yield _of_site(engine, self.site)
        if self.who is not None:
            yield sa.or_(columns.who == self.who, columns.who.startswith(f"{self.who} (", autoescape=True))
        if self.whats:
            yield columns.what.in_(self.whats)
        if self.since is not None:
            yield columns.at >= self.since
        if self.until is not None:
            yield columns.at < self.until


def _of_site(engine: Engine, host: str) -> sa.ColumnElement[bool]:
    try:
        return log_table.c.site_id == get_site(engine, host).site.id
    except UnknownSite:
        domain = str(domains.existing(host))
        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            if connection.scalar(sa.select(log_table.c.id).where(log_table.c.site == domain).limit(1)) is None:
                raise
        return log_table.c.site == domain


def list_log(
    engine: Engine, chosen: LogSelection | None = None, *, before_id: int | None = None, limit: int | None = None
) -> Iterator[LogEntry]:
    """Yield entries of the log, beginning with the newest, in constant memory.

    Args:
        engine: The database of the directory.
        chosen: Which entries; None for all.
        before_id: Continue after the entry with this id, which is not yielded.
        limit: At most how many; None for all.

    Yields:
        The entries.

    Raises:
        InvalidHost: The domain of the selection is not valid.
        UnknownSite: Neither a site nor an entry has that domain.
    """
    conditions = tuple((chosen or LogSelection()).conditions(engine))
    while limit is None or limit > 0:
        size = PAGE_ENTRIES if limit is None else min(limit, PAGE_ENTRIES)
        page = sa.select(log_table).where(*conditions).order_by(log_table.c.id.desc()).limit(size)
        if before_id is not None:
            page = page.where(log_table.c.id < before_id)
        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            found = [LogEntry(**row._mapping) for row in connection.execute(page)]
        yield from found
        if len(found) < size:
            return
        before_id = found[-1].id
        limit = None if limit is None else limit - size


def prune_log(engine: Engine, *, settings: Settings) -> int:
    """Delete the entries that are older than `multisite.log_days`, and return their number."""
    oldest = datetime.now(UTC) - timedelta(days=settings.log_days)
    with engine.begin() as connection, as_multisite(connection):
        return connection.execute(sa.delete(log_table).where(log_table.c.at < oldest)).rowcount
