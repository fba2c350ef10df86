"""Cache invalidation: record which sites' rows a transaction changes, and publish that to every process at commit.

The scoping layer reports the statements that change rows, and of which site. Just before the connection commits, the
last statement of the transaction bumps the versions of those sites in `multisite_changes`. Rows and versions therefore
become visible together in every process, and the lock on a version row is held only during the commit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from multisite.core.application import current_application
from multisite.core.current_site import Scope
from multisite.directory.tables import AS_MULTISITE, changes_table
from multisite.page_cache.versions import ALL_SITES, Versions
from multisite.scoping.pin import PINNED, Pin, change_listeners

__all__ = ["bump_versions", "publish_changes", "subscribe"]

log = logging.getLogger(__name__)

PAGES_DEPEND = "multisite_page_cache"
"""Execution option of an engine or a connection: False if no page shows what is changed there."""

_CHANGED = "_multisite_changed"
"""Attribute of a connection and of a session: ids of the sites whose rows the transaction changes."""

_ELSEWHERE = "_multisite_changed_elsewhere"
"""Attribute of a session: those of the ids whose rows are in a database that does not hold the versions."""

_subscribers: WeakSet[Versions] = WeakSet()

_table: Any = changes_table


def subscribe(versions: Versions) -> None:
    """Bump versions on changes in this process, and notify `versions` at once, until it is garbage-collected."""
    _subscribers.add(versions)
    if _record not in change_listeners:
        change_listeners.append(_record)
        event.listen(Session, "after_commit", _committed)


_publishers: list[Versions] = []
"""Keeps the `Versions` that `publish_changes` creates alive for the life of the process."""


def publish_changes(engine: Engine) -> None:
    """Make changes of this process in the database of `engine` visible to servers that cache pages.

    For scripts that do not create the Pyramid application, which does this by itself.
    """
    _publishers.append(Versions(engine, refresh_seconds=0, size=1))
    subscribe(_publishers[-1])


def _record(connection: Connection, scope: Scope) -> None:
    """Record that the transaction of `connection` changes rows of the site in `scope`."""
    if connection.get_execution_options().get(PAGES_DEPEND) is False:
        return
    site_id = ALL_SITES if scope.site is None else scope.site.id
    changed: set[int] | None = connection.__dict__.get(_CHANGED)
    if changed is None:
        if not _subscribers:
            return
        changed = connection.__dict__[_CHANGED] = set()
        # Listen on this connection only: listeners on the engine would slow down every statement of every request.
        for name in ("commit", "prepare_twophase"):
            event.listen(connection, name, _bump_versions)
        event.listen(connection, "rollback", _rolled_back)
    changed.add(site_id)
    pin: Pin | None = connection.__dict__.get(PINNED)
    session = None if pin is None else pin.session()
    if session is not None:
        session.__dict__.setdefault(_CHANGED, set()).add(site_id)
        if not _holds_versions(connection):
            session.__dict__.setdefault(_ELSEWHERE, set()).add(site_id)


def _bump_versions(connection: Connection, *_args: object) -> None:
    changed: set[int] = connection.__dict__[_CHANGED]
    if not changed:
        return
    site_ids = sorted(changed)
    changed.clear()
    has_session = connection.__dict__.get(PINNED) is not None
    # Several URLs may mean the same database. With a session, versions in another database are bumped after the commit.
    if (_holds_versions(connection) or not has_session) and _table_exists(connection):
        bump_versions(connection, site_ids)
    if not has_session:
        # Nothing reports the commit of a plain connection. A reader in between gets the old version, but only briefly.
        _notify_local(site_ids)


def _holds_versions(connection: Connection) -> bool:
    url = connection.engine.url
    return any(versions.engine.url == url for versions in list(_subscribers))


def _table_exists(connection: Connection) -> bool:
    url = connection.engine.url
    own = next((versions for versions in list(_subscribers) if versions.engine.url == url), None)
    return sa.inspect(connection).has_table(_table.name) if own is None else own.table_exists(connection)


def _rolled_back(connection: Connection) -> None:
    if connection._is_autocommit_isolation():
        # Nothing was rolled back: in autocommit mode, a connection is released by this call.
        _bump_versions(connection)
    connection.__dict__[_CHANGED].clear()


def _committed(session: Session) -> None:
    """Notify this process, and bump versions that are in another database than the rows."""
    if session.in_nested_transaction():  # Releasing a savepoint makes nothing visible to others.
        return
    changed: set[int] | None = session.__dict__.pop(_CHANGED, None)
    if not changed:
        return
    elsewhere: set[int] = session.__dict__.pop(_ELSEWHERE, set())
    if elsewhere:
        _bump_elsewhere(sorted(elsewhere))
    _notify_local(sorted(changed))


def _bump_elsewhere(site_ids: list[int]) -> None:
    here = current_application.get()
    for versions in list(_subscribers):
        if here is not None and versions.application not in {None, here}:
            continue  # Another application in this process (multisite.vhosts): its site ids mean other sites.
        try:
            with versions.engine.begin() as connection:
                if versions.table_exists(connection):
                    bump_versions(connection, site_ids)
        except SQLAlchemyError as error:
            # The rows are committed, so this must not look like a failed commit.
            log.error(
                "cannot bump the versions of sites; cached pages may show outdated rows: %s",
                str(error).partition("\n")[0],
            )


def _notify_local(site_ids: list[int]) -> None:
    for versions in list(_subscribers):
        for site_id in site_ids:
            versions.invalidate(site_id)


def bump_versions(connection: Connection, site_ids: list[int]) -> None:
    """Bump the versions of these sites in the transaction of `connection`, in the order of their ids."""
    for site_id in site_ids:
        row = {"site_id": site_id, "version": 1}
        connection.execute(_statement(connection.dialect.name), row, execution_options=AS_MULTISITE)


_statements: dict[str, sa.Executable] = {}


def _statement(dialect: str) -> Any:
    if dialect not in _statements:
        _statements[dialect] = _upsert(dialect)
    return _statements[dialect]


def _upsert(dialect: str) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite

    insert: Callable[..., Any] = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(_table).on_conflict_do_update(
        index_elements=[_table.c.site_id], set_={"version": _table.c.version + 1}
    )
