"""Changes: which sites' rows a transaction changes, said to every process when it commits.

The wall says which statements change rows of sites, and for whom. When the connection is about to commit, the version
of each of those sites in `multisite_changes` is raised as the last statement of that transaction: rows and version come
to light together, in whatever process looks, and the lock on the version lasts as long as the commit.
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

from multisite.application import current_application
from multisite.models import ChangeRow
from multisite.page_cache.versions import ALL, Versions
from multisite.scoping.pin import PINNED, Pin, change_listeners
from multisite.site import Scope

__all__ = ["announce", "raise_versions", "watch"]

log = logging.getLogger(__name__)

_CHANGED = "_multisite_changed"
"""The attribute, of a connection and of a session, with the ids of the sites whose rows its transaction changes."""

_ELSEWHERE = "_multisite_changed_elsewhere"
"""The attribute of a session with those of these sites whose rows are in a database without the versions."""

_watched: WeakSet[Versions] = WeakSet()

_table: Any = ChangeRow.__table__


def watch(versions: Versions) -> None:
    """Raise versions from now on in this process, and let `versions` know at once; for as long as somebody keeps it."""
    _watched.add(versions)
    if _note not in change_listeners:
        change_listeners.append(_note)
        event.listen(Session, "after_commit", _committed)


_announcing: list[Versions] = []
"""Keeps what `announce` has made for as long as the process lives."""


def announce(engine: Engine) -> None:
    """Let servers that keep pages see what this process changes in the database of `engine`: for scripts that do not
    make the application, which would do it by itself."""
    _announcing.append(Versions(engine, refresh_seconds=0, size=1))
    watch(_announcing[-1])


def _note(connection: Connection, scope: Scope) -> None:
    """Remember that the transaction of `connection` changes rows of the site in `scope`."""
    site_id = ALL if scope.site is None else scope.site.id
    changed: set[int] | None = connection.__dict__.get(_CHANGED)
    if changed is None:
        if not _watched:
            return
        changed = connection.__dict__[_CHANGED] = set()
        # Events of this one connection. Those of an engine would slow down every statement of every request.
        for name in ("commit", "prepare_twophase"):
            event.listen(connection, name, _raise)
        event.listen(connection, "rollback", _rolled_back)
    changed.add(site_id)
    pin: Pin | None = connection.__dict__.get(PINNED)
    session = None if pin is None else pin.session()
    if session is not None:
        session.__dict__.setdefault(_CHANGED, set()).add(site_id)
        if not _is_watched(connection):
            session.__dict__.setdefault(_ELSEWHERE, set()).add(site_id)


def _raise(connection: Connection, *_args: object) -> None:
    changed: set[int] = connection.__dict__[_CHANGED]
    if not changed:
        return
    site_ids = sorted(changed)
    changed.clear()
    has_session = connection.__dict__.get(PINNED) is not None
    # One database may be reached by several URLs. A session says elsewhere what cannot be said here.
    if (_is_watched(connection) or not has_session) and _is_there(connection):
        raise_versions(connection, site_ids)
    if not has_session:
        # Nobody will say when it has committed. Whoever asks meanwhile gets the old version, and asks again soon.
        _tell(site_ids)


def _is_watched(connection: Connection) -> bool:
    url = connection.engine.url
    return any(versions.engine.url == url for versions in list(_watched))


def _is_there(connection: Connection) -> bool:
    url = connection.engine.url
    own = next((versions for versions in list(_watched) if versions.engine.url == url), None)
    return sa.inspect(connection).has_table(_table.name) if own is None else own.is_there(connection)


def _rolled_back(connection: Connection) -> None:
    if connection._is_autocommit_isolation():
        # Nothing was taken back: this is how such a connection is left.
        _raise(connection)
    connection.__dict__[_CHANGED].clear()


def _committed(session: Session) -> None:
    """Let this process know at once, and databases that hold the versions apart from the rows."""
    if session.in_nested_transaction():  # A savepoint: others see nothing of it yet.
        return
    changed: set[int] | None = session.__dict__.pop(_CHANGED, None)
    if not changed:
        return
    elsewhere: set[int] = session.__dict__.pop(_ELSEWHERE, set())
    if elsewhere:
        _raise_elsewhere(sorted(elsewhere))
    _tell(sorted(changed))


def _raise_elsewhere(site_ids: list[int]) -> None:
    here = current_application.get()
    for versions in list(_watched):
        if here is not None and versions.application not in {None, here}:
            continue  # Another application of this process (multisite.vhosts), whose sites have the same numbers.
        try:
            with versions.engine.begin() as connection:
                if versions.is_there(connection):
                    raise_versions(connection, site_ids)
        except SQLAlchemyError as error:
            # The rows are committed: whoever did that must not be told that they are not.
            log.error(
                "versions of sites cannot be raised, and pages outlive the rows they show: %s",
                str(error).partition("\n")[0],
            )


def _tell(site_ids: list[int]) -> None:
    for versions in list(_watched):
        for site_id in site_ids:
            versions.changed(site_id)


def raise_versions(connection: Connection, site_ids: list[int]) -> None:
    """Raise the versions of these sites in the transaction of `connection`, in the order of their ids."""
    for site_id in site_ids:
        connection.execute(_statement(connection.dialect.name), {"site_id": site_id, "version": 1})


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
