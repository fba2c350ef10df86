"""The pin: the site, or all sites, that a session belongs to until it is closed or reset.

A session takes its scope once, at its first attached object or first connection, and keeps it through commits and
rollbacks, so its identity map never holds rows of two sites. The scope comes from the first of these that is set:
`info={"site": site}` or `info={"all_sites": "reason"}`, `info={"request": request}` (its `request.site`), the scope
that is current at first use.

A session whose `info` has "site" or "all_sites" keeps to it, whatever is current. Any other session raises
`CrossSiteError` inside `using_site(other)` or `all_sites`, because it cannot do what the block asks for. So does one
whose `info` has been changed to name another site.
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
"""The attribute of a session, and of the connections it is using, that holds the pin."""


change_listeners: list[Callable[[Connection, Scope], None]] = []
"""Called with the connection and the scope of each statement that may change rows of sites, before it is executed."""


class Pin:
    """The scope that a session is pinned to; `scope` is None until it is decided.

    `explicit` is whether "site" or "all_sites" in the session's `info` decided it. `given` holds the values of `info`
    at that time, in the order of `_KEYS`.
    """

    __slots__ = ("connections", "explicit", "given", "identity_map", "info", "scope", "session", "transaction")

    def __init__(self, session: Session) -> None:
        # A weak reference: the session holds the pin, and a cycle would live until the garbage collector runs.
        self.session = ref(session)
        self.identity_map = session.identity_map
        self.transaction: SessionTransaction | None = None
        self.connections: list[Connection] = []
        self.scope: Scope | None = None
        self.info = session.info
        self.given: tuple[Any, ...] = (None, None, None)
        self.explicit = False

    def resolve(self) -> Scope | None:
        """Return the scope; decide it first if it is undecided and a site is known."""
        if self.scope is None and (session := self.session()) is not None:
            self.given = tuple(map(self.info.get, _KEYS))
            self.explicit = self.given[0] is not None or self.given[1] is not None
            self.scope = _first_scope(session)
        return self.scope

    def checked(self) -> Scope | None:
        """Return the scope as `resolve` does, and check it against the current scope and `info`.

        Raises:
            CrossSiteError: a block for another scope is current; or a request for another one, and the session was
                pinned by an earlier request; or `info` now names another scope.
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
        """Raise `CrossSiteError` unless the present values of `info` name the same scope."""
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
        """Return whether the session has not been closed or reset since it was pinned."""
        if self.identity_map is session.identity_map:
            return True
        # close() and reset() replace the identity map, and are detected by that. expunge_all() does too, but keeps the
        # transaction, whose connection still has this pin.
        if self.transaction is not None and self.transaction is session.get_transaction():
            self.identity_map = session.identity_map
            return True
        return False


_KEYS = ("site", "all_sites", "request")
"""The keys of `Session.info` that name what the session is pinned to."""


def _fits_request(request: Any, given: Any, scope: Scope) -> bool:
    """Return whether the `info` of a session may name `request` although it named `given` before."""
    if request is given:
        return True
    try:
        return scope.site is not None and request.site.id == scope.site.id
    except (MultisiteError, AttributeError):
        return False


_beginning: ContextVar[Pin | None] = ContextVar("multisite_beginning", default=None)
"""The pin of a session for the next connection, which SQLAlchemy is about to create; that connection removes it."""


def pin_of(session: Session) -> Pin:
    """Return the pin of `session`; if it has none, a new undecided one."""
    pin: Pin | None = session.__dict__.get(PINNED)
    if pin is None or not pin.is_current(session):
        pin = Pin(session)
        session.__dict__[PINNED] = pin
    return pin


def scope_of(connection: Connection) -> Scope | None:
    """Return the scope of statements on `connection`; None if no site is known.

    If a session is using the connection, the session's pin decides, otherwise the current scope.
    """
    pin: Pin | None = connection.__dict__.get(PINNED)
    if pin is not None:
        return pin.checked()
    return current_scope()


def scope_of_unscoped_statement(connection: Connection) -> Scope | None:
    """Return the scope for a statement without scoped tables, without checking it against the current one."""
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
            # An open path, an unknown host, or a test's DummyRequest: unscoped tables may still be used.
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
    """Give the connection the session's pin while the session is using it."""
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
    """Remove the pin from connections that outlive the session's transaction, as with `Session(bind=connection)`."""
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
    """Return the session's connection as SQLAlchemy does; it has the pin before listeners of the engine see it."""
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
    """Begin to use a connection that was passed to the session."""
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
    """Initialize a connection; the first one that is created for a session gets the session's pin.

    Others that a listener creates in the meantime have the current scope, as usual.
    """
    pin = _beginning.get()
    if pin is not None:
        _beginning.set(None)
        connection.__dict__[PINNED] = pin
    _init_connection(connection, *args, **kw)


def mark_changed(connection: Connection) -> None:
    """Tell zope.sqlalchemy that the session of `connection` has changes to commit.

    zope.sqlalchemy detects flushes and ORM DML itself, and would silently roll back all other changes.
    """
    datamanager = sys.modules.get("zope.sqlalchemy.datamanager")
    pin: Pin | None = connection.__dict__.get(PINNED)
    if datamanager is None or pin is None or (session := pin.session()) is None:
        return
    if datamanager._SESSION_STATE.get(session) == datamanager.STATUS_ACTIVE:
        datamanager._SESSION_STATE[session] = datamanager.STATUS_CHANGED
