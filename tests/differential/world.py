"""One side of the comparison: its databases and sessions, and the performing of steps.

`World` is the base class of both sides; `shared` and `reference` define which database a site uses. This module does
not import multisite.
"""

from __future__ import annotations

import gc
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

from differential.action import Action, Call, Outcome, name_of
from differential.program import SITES, Step, Tape
from differential.rows import Rows, grouped, planting, reading


def make_engine(url: str) -> sa.Engine:
    """Return an engine as an application creates it; SQLite enforces foreign keys and does not wait for the disk."""
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def set_pragmas(connection: Any, record: Any) -> None:
            for pragma in ("foreign_keys = ON", "synchronous = OFF", "journal_mode = MEMORY"):
                connection.execute(f"PRAGMA {pragma}")

    return engine


def exclude_from_collection() -> None:
    """Exclude all objects that exist by now from the collections after failed steps, which take long otherwise."""
    gc.collect()
    gc.freeze()


def _plant(raw: sqlite3.Connection, script: str) -> None:
    try:
        raw.executescript(script)
    except sqlite3.OperationalError:
        # A session that a step abandoned, in a reference cycle with its error, holds the lock until it is collected.
        gc.collect()
        raw.executescript(script)


class World:
    """The databases of one side, and the sessions that are open on them."""

    models: SimpleNamespace

    def __init__(self, urls: dict[int, str]) -> None:
        """Create engines for `urls`, one URL for each site; sites with the same URL share an engine."""
        engines = {url: make_engine(url) for url in set(urls.values())}
        self.engines = {site: engines[url] for site, url in urls.items()}
        self.dialect = next(iter(engines.values())).dialect.name
        self.kept: dict[int, Session] = {}
        self.roaming: Session | None = None
        self.roams_for: int | None = None
        self.lent: dict[sa.Engine, sa.Connection] = {}
        self.statements: dict[Any, Any] = {}
        self._raw: dict[sa.Engine, Any] = {}

    # -- differences between the sides -------------------------------------------------------------------------------

    with_site: bool

    def open(self, site: int) -> Session:
        """Return a new session that belongs to `site` permanently."""
        raise NotImplementedError

    def working_for(self, site: int) -> AbstractContextManager[Any]:
        """Return a block in which unpinned sessions and connections belong to `site`."""
        raise NotImplementedError

    def open_unpinned(self, site: int) -> Session:
        """Return a new session that belongs to the site for which it is first used, which is `site`."""
        raise NotImplementedError

    def key(self, *columns: str) -> list[str]:
        """Return the columns of a unique key of a scoped table."""
        raise NotImplementedError

    def for_all_sites(self, do: Callable[[Any], Any]) -> list[Any]:
        """Return the results of `do` for connections that together see the rows of all sites."""
        raise NotImplementedError

    # -- the databases -----------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Close all sessions and plant the initial rows."""
        self.close_sessions()
        self.statements.clear()
        exclude_from_collection()  # With the sessions closed, what is left are caches, which only grow.
        for engine in set(self.engines.values()):
            sites = tuple(site for site in SITES if self.engines[site] is engine)
            script = planting(sites, dialect=self.dialect, with_site=self.with_site)
            raw = self.raw(engine)
            if self.dialect == "sqlite":
                _plant(raw, script)
            elif os.environ.get("MULTISITE_TEST_KEYS") == "citus":
                # Citus refuses such a script as one message.
                for statement in script.split(";\n"):
                    raw.execute(statement)
            else:
                raw.execute(script)

    def close_sessions(self) -> None:
        for session in (*self.kept.values(), self.roaming):
            if session is not None:
                session.close()
        self.kept.clear()
        for connection in self.lent.values():
            connection.close()
        self.lent.clear()
        self.roaming = self.roams_for = None

    def close(self) -> None:
        self.close_sessions()
        for raw in self._raw.values():
            raw.close()
        for engine in set(self.engines.values()):
            engine.dispose()

    def raw(self, engine: sa.Engine) -> Any:
        """Return a connection of the driver, which bypasses SQLAlchemy and commits each statement."""
        if engine not in self._raw:
            connection, arguments = engine.dialect.import_dbapi(), engine.dialect.create_connect_args(engine.url)
            self._raw[engine] = raw = connection.connect(*arguments[0], **arguments[1])
            if self.dialect == "sqlite":
                raw.isolation_level = None
                raw.execute("PRAGMA synchronous = OFF")
            else:
                raw.autocommit = True
        return self._raw[engine]

    def contents(self, acting: int) -> dict[int, Rows]:
        """Return all rows by site: as committed, or, for `acting`, as its kept session sees them."""
        found = []
        sql = reading(with_site=self.with_site)
        session = self.kept.get(acting)
        for site in SITES if not self.with_site else (acting,):
            if site == acting and session is not None and session.in_transaction():
                cursor = session.connection().connection.cursor()
                cursor.execute(sql)
            else:
                cursor = self.raw(self.engines[site]).execute(sql)
            rows = cursor.fetchall()
            found += rows if self.with_site else [(table, site, *values) for table, _, *values in rows]
        return grouped(found)

    def existing(self, site: int, table: str) -> list[int]:
        """Return the sorted ids of the rows of `site` in a table (shared side only)."""
        rows = self.raw(self.engines[site]).execute(f"SELECT id FROM {table} WHERE site_id = {site} ORDER BY id")
        return [row[0] for row in rows.fetchall()]

    # -- places of actions -------------------------------------------------------------------------------------------

    @contextmanager
    def place(self, kind: str, site: int) -> Iterator[Any]:
        """Yield a session or connection of `site`, and end its transaction unless the place keeps it open.

        kept: the session that the site keeps open, with its transaction. nested, undone: a savepoint of that session,
        which is released or rolled back. fresh: a new session. roaming: one session that serves several sites, and is
        closed in between. connection: a new Connection. lent: a Connection that serves several sites, with a session or
        without.
        """
        if kind in ("kept", "nested", "undone"):
            session = self.kept_session(site)
            if kind == "kept":
                yield session
                return
            with session.begin_nested() as savepoint:
                yield session
                session.flush()
                if kind == "undone":
                    savepoint.rollback()
        elif kind == "fresh":
            with self.open(site) as session:
                yield session
                session.commit()
        else:
            with self.working_for(site):
                if kind == "roaming":
                    yield self.roaming_session(site)
                    self.roaming_session(site).commit()
                elif kind == "connection":
                    with self.engines[site].begin() as connection:
                        yield connection
                else:
                    yield self.lent_connection(site)
                    self.lent_connection(site).commit()

    def kept_session(self, site: int) -> Session:
        if site not in self.kept:
            self.kept[site] = hold_objects(self.open(site))
        return self.kept[site]

    def roaming_session(self, site: int) -> Session:
        """Return the roaming session, after closing it if it last served another site."""
        if self.roaming is not None and self.roams_for != site:
            self.roaming.close()
            self.prepare_to_roam(self.roaming, site)
        if self.roaming is None:
            self.roaming = hold_objects(self.open_unpinned(site))
        self.roams_for = site
        return self.roaming

    def prepare_to_roam(self, session: Session, site: int) -> None:
        """Prepare a closed session to serve `site`."""

    def lent_connection(self, site: int) -> sa.Connection:
        engine = self.engines[site]
        if engine not in self.lent:
            self.lent[engine] = engine.connect()
        return self.lent[engine]

    def settle(self, kind: str, site: int, *, everything: bool = False) -> list[str]:
        """Commit the transactions that would block a step, and return the names of errors.

        SQLite allows one writer at a time. On PostgreSQL, the sites do not block each other, but another session or
        connection of a site would wait for the site's kept session.
        """
        keeps = kind in ("kept", "nested", "undone")
        errors = []
        for other, session in list(self.kept.items()):
            is_in_the_way = everything or (not keeps if other == site else self.dialect == "sqlite")
            if is_in_the_way and session.in_transaction():
                try:
                    session.commit()
                except Exception as error:
                    errors.append(name_of(error))
                    session.rollback()
        return errors

    # -- steps -------------------------------------------------------------------------------------------------------

    def perform(self, step: Step, site: int, number: int, action: Action, *, skip: bool = False) -> Outcome:
        """Perform one step for one site.

        With `skip`, do everything except the action, since the other side refused it: after an attack, the session of
        the site is closed on both sides.
        """
        is_attack = action.refusable or action.hostile
        place = action.place or step.place
        if action.needs_session and place in ("connection", "lent"):
            place = "kept"
        settled = self.settle(place, site, everything=is_attack or action.everywhere)
        outcome = Outcome()
        try:
            if not skip:
                outcome = Outcome(self._act(step, site, number, action, place))
        except Exception as error:
            outcome = Outcome(None, name_of(error), str(error))
            self._give_up(site)
        if outcome.error is not None:
            # A traceback in a cycle may hold a connection, and with it a lock of SQLite's file, until it is collected.
            gc.collect()
        if is_attack:
            settled += self._forget(site)
        return Outcome((outcome.value, settled), outcome.error, outcome.message)

    def _act(self, step: Step, site: int, number: int, action: Action, place: str) -> Any:
        tape = Tape(step.tape)
        with ExitStack() as stack:
            session = None if action.everywhere else stack.enter_context(self.place(place, site))
            if place == "lent" and tape.chance():
                session = stack.enter_context(Session(bind=session))
                value = action.do(Call(self, session, site, step, number, tape))
                session.commit()
                return value
            value = action.do(Call(self, session, site, step, number, tape))
            if (action.refusable or action.hostile) and isinstance(session, Session):
                session.flush()
            return value

    def _give_up(self, site: int) -> None:
        for session in (self.kept.get(site), self.roaming, *self.lent.values()):
            if session is not None:
                session.rollback()

    def _forget(self, site: int) -> list[str]:
        """Commit and close the sessions of a site after an attack, and return the names of errors."""
        errors = []
        session = self.kept.pop(site, None)
        if session is not None:
            try:
                session.commit()
            except Exception as error:
                errors.append(name_of(error))
            session.close()
        if self.roams_for == site and self.roaming is not None:
            self.roaming.close()
            self.roaming = self.roams_for = None
        return errors


def hold_objects(session: Session) -> Session:
    """Keep strong references to the objects of `session`, so that results do not depend on garbage collection."""
    held: list[Any] = []

    @event.listens_for(session, "loaded_as_persistent")
    @event.listens_for(session, "pending_to_persistent")
    @event.listens_for(session, "detached_to_persistent")
    def hold(session: Session, instance: Any) -> None:
        held.append(instance)

    @event.listens_for(session, "persistent_to_detached")
    def let_go(session: Session, instance: Any) -> None:
        held[:] = [each for each in held if each is not instance]

    return session
