"""The pin: the site, or all sites, that a session belongs to until it is closed or reset.

A session takes its site once, at its first attached object or first connection, and keeps it through commits and
rollbacks; so its identity map never holds rows of two sites. Where from, in this order: `info={"site": site}` or
`info={"all_sites": "reason"}`, `info={"request": request}` (its `request.site`), the scope current at first use.

Only the first two obey their pin whatever is current. Any other session that is used inside `using_site(other)` or
`all_sites` raises, since the block says what its author expects and the session cannot give it. So does one whose
`info` names another site than it did when the session took its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any
from weakref import ref

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session, SessionTransaction

from multisite.core.current_site import Scope, current_scope, log_all_sites
from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.scoping.errors import CrossSiteError

__all__ = [
    "ALL_SITES",
    "PINNED",
    "Pin",
    "change_listeners",
    "connection_for_bind",
    "init_connection",
    "mark_changed",
    "pin_of",
    "scope_of",
    "scope_of_unscoped_statement",
]

ALL_SITES = Scope(None, "pinned to all sites")
PINNED = "multisite_pin"
"""The attribute that holds the pin, of a session and of the connections that it has in use."""


change_listeners: list[Callable[[Connection, Scope], None]] = []
"""Called with the connection and the scope of each statement that may change rows of sites, before it is executed."""


class Pin:
    """What one session is pinned to. `scope` is None as long as nothing has decided it.

    `explicit` says that the session's `info` has decided it, by "site" or "all_sites"; `given` holds what `info` said
    at that moment, in the order of `_KEYS`.
    """

    __slots__ = ("connections", "explicit", "given", "identity_map", "info", "scope", "session", "transaction")

    def __init__(self, session: Session) -> None:
        # Weak, since the session holds the pin: a circle would keep each session until the garbage collector runs.
        self.session = ref(session)
        self.identity_map = session.identity_map
        self.transaction: SessionTransaction | None = None
        self.connections: list[Connection] = []
        self.scope: Scope | None = None
        self.info = session.info
        self.given: tuple[Any, ...] = (None, None, None)
        self.explicit = False

    def resolve(self) -> Scope | None:
        """Return the scope; decide it if it is still open and somebody knows a site."""
        if self.scope is None and (session := self.session()) is not None:
            self.given = tuple(map(self.info.get, _KEYS))
            self.explicit = self.given[0] is not None or self.given[1] is not None
            self.scope = _first_scope(session)
        return self.scope

    def checked(self) -> Scope | None:
        """Return the scope as `resolve` does; raise `CrossSiteError` where another one is current that counts.

        A block counts always. A request counts against a session that an earlier request has left open, not against
        one that was pinned by a block, or by its own request. Raises it also if `info` has come to name another scope.
        """
        scope = self.scope or self.resolve()
        if scope is None:
            return None
        site, all_sites, request = self.given
        info = self.info.get
        if info("site") is not site or info("all_sites") is not all_sites or info("request") is not request:
            self._check_info(scope)
        if self.explicit:
            return scope
        block = current_scope()
        if block is None or _same(block, scope) or (scope.explicit and not block.explicit):
            return scope
        raise CrossSiteError(
            f"this session is pinned to {_describe(scope)} and was used where {_describe(block)} is current: close it "
            "first, make a session for each, or use request.site_session(site) or request.all_sites_session(reason)"
        )

    def _check_info(self, scope: Scope) -> None:
        """Raise `CrossSiteError` unless what `info` says now leads to the same scope."""
        site, all_sites, request = now = tuple(map(self.info.get, _KEYS))
        if not self.explicit:
            fits = site is None and all_sites is None and _fits_request(request, self.given[2], scope)
        elif scope.site is None:
            fits = site is None and all_sites is not None
        else:
            fits = (
                isinstance(site, Site) and site.id == scope.site.id and (all_sites is None) == (self.given[1] is None)
            )
        if not fits:
            raise CrossSiteError(
                f"the info of this session was changed after it was pinned to {_describe(scope)}: close the session "
                "first, or make another one"
            )
        self.given = now

    def is_current(self, session: Session) -> bool:
        """Return whether its session still is what was pinned: it has not been closed or reset since."""
        if self.identity_map is session.identity_map:
            return True
        # close() and reset() replace the identity map, which is how they are noticed; expunge_all() does so too, but
        # leaves the transaction, whose connection still carries this pin.
        if self.transaction is not None and self.transaction is session.get_transaction():
            self.identity_map = session.identity_map
            return True
        return False


_KEYS = ("site", "all_sites", "request")
"""The keys of `Session.info` that name what the session is pinned to."""


def _fits_request(request: Any, given: Any, scope: Scope) -> bool:
    """Return whether a session whose `info` named the request `given` may name `request` now."""
    if request is given:
        return True
    try:
        return scope.site is not None and request.site.id == scope.site.id
    except (MultisiteError, AttributeError):
        return False


_beginning: ContextVar[Pin | None] = ContextVar("multisite_beginning", default=None)
"""The pin of a session for the one connection that SQLAlchemy is about to make for it; that connection takes it out."""


def pin_of(session: Session) -> Pin:
    """Return the pin of `session`, a new and open one if it has none."""
    pin: Pin | None = session.__dict__.get(PINNED)
    if pin is None or not pin.is_current(session):
        pin = Pin(session)
        session.__dict__[PINNED] = pin
    return pin


def scope_of(connection: Connection) -> Scope | None:
    """Return what a statement on `connection` is limited to; None if no site is known.

    A connection that a session has in use has the session's pin, any other the scope that is current.
    """
    pin: Pin | None = connection.__dict__.get(PINNED)
    if pin is not None:
        return pin.checked()
    return current_scope()


def scope_of_unscoped_statement(connection: Connection) -> Scope | None:
    """Return the same for a statement without scoped tables, where another scope that is current does not matter."""
    pin: Pin | None = connection.__dict__.get(PINNED)
    if pin is not None:
        return pin.scope or pin.resolve()
    return current_scope()


def _first_scope(session: Session) -> Scope | None:
    site = session.info.get("site")
    if site is not None:
        if not isinstance(site, Site):
            raise TypeError(f'Session(info={{"site": …}}) takes a multisite.Site, not {type(site).__name__}')
        return Scope(site)
    reason = session.info.get("all_sites")
    if reason is not None:
        return reason if isinstance(reason, Scope) else log_all_sites(reason)
    request = session.info.get("request")
    if request is not None:
        try:
            return Scope(request.site)
        except (MultisiteError, AttributeError):
            # An open path, an unknown host, or a test's DummyRequest: unscoped tables may be used all the same.
            return current_scope()
    return current_scope()


def _same(one: Scope, other: Scope) -> bool:
    if one.site is None or other.site is None:
        return one.site is other.site
    return one.site.id == other.site.id


def _describe(scope: Scope) -> str:
    return "all sites" if scope.site is None else scope.site.host


@event.listens_for(Session, "after_begin")
def _attach_pin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """Let the connection carry the session's pin while the session has it in use."""
    pin = pin_of(session)
    other: Pin | None = connection.__dict__.get(PINNED)
    if other is pin and connection in pin.connections:
        return
    scope = pin.resolve()
    if other not in (None, pin) and (scope is None or other.scope is None or not _same(scope, other.scope)):
        raise CrossSiteError(
            "two sessions share this connection, and they do not belong to the same site: give each its own"
        )
    pin.transaction = session.get_transaction()
    pin.connections.append(connection)
    connection.__dict__[PINNED] = pin


@event.listens_for(Session, "after_transaction_end")
def _detach_pin(session: Session, transaction: SessionTransaction) -> None:
    """Take the pin off connections that go on without the session, as `Session(bind=connection)` leaves them."""
    pin = session.__dict__.get(PINNED)
    if transaction.parent is not None or pin is None:
        return
    for connection in pin.connections:
        if connection.__dict__.get(PINNED) is pin:
            del connection.__dict__[PINNED]
    pin.connections.clear()
    pin.transaction = None


_connection_for_bind = SessionTransaction._connection_for_bind


@wraps(_connection_for_bind)
def connection_for_bind(transaction: SessionTransaction, bind: Any, execution_options: Any) -> Connection:
    """Take up a connection as SQLAlchemy does, with the session's pin on it before listeners of the engine get it."""
    if bind in transaction._connections or transaction.parent is not None:
        return _connection_for_bind(transaction, bind, execution_options)
    pin = pin_of(transaction.session)
    if isinstance(bind, Connection):
        return _take_up(transaction, bind, execution_options, pin)
    token = _beginning.set(pin)
    try:
        return _connection_for_bind(transaction, bind, execution_options)
    finally:
        _beginning.reset(token)


def _take_up(transaction: SessionTransaction, bind: Connection, execution_options: Any, pin: Pin) -> Connection:
    """Take up a connection that the session was given."""
    is_free = bind.__dict__.setdefault(PINNED, pin) is pin and bind not in pin.connections
    try:
        return _connection_for_bind(transaction, bind, execution_options)
    except BaseException:
        if is_free and bind not in pin.connections:
            bind.__dict__.pop(PINNED, None)
        raise


_init_connection = Connection.__init__


@wraps(_init_connection)
def init_connection(connection: Connection, /, *args: Any, **kw: Any) -> None:
    """Make a connection; the first one that is made while a session takes one up carries the session's pin.

    Any other that a listener makes meanwhile has the scope that is current, as it has at any other time.
    """
    pin = _beginning.get()
    if pin is not None:
        _beginning.set(None)
        connection.__dict__[PINNED] = pin
    _init_connection(connection, *args, **kw)


def mark_changed(connection: Connection) -> None:
    """Tell zope.sqlalchemy that the session behind `connection` has something to commit.

    It notices ORM flushes and ORM DML by itself, and would silently roll back everything else.
    """
    datamanager = sys.modules.get("zope.sqlalchemy.datamanager")
    pin: Pin | None = connection.__dict__.get(PINNED)
    if datamanager is None or pin is None or (session := pin.session()) is None:
        return
    if datamanager._SESSION_STATE.get(session) == datamanager.STATUS_ACTIVE:
        datamanager._SESSION_STATE[session] = datamanager.STATUS_CHANGED
