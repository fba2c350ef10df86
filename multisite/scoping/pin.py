"""The pin: the site, or all sites, that a session belongs to until it is closed or reset.

A session takes its site once, at its first attached object or first connection, and keeps it through commits and
rollbacks; so its identity map never holds rows of two sites. Where from, in this order: `info={"site": site}` or
`info={"all_sites": "reason"}`, `info={"request": request}` (its `request.site`), the scope current at first use.

Only the first two obey their pin whatever is current. Any other session that is used inside `using_site(other)` or
`all_sites` raises, since the block says what its author expects and the session cannot give it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any
from weakref import ref

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.orm import InstanceState, Session, SessionTransaction
from sqlalchemy.orm.attributes import instance_state

from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN
from multisite.scoping.model import SiteScoped
from multisite.scoping.refusal import CrossSiteError, NoCurrentSite
from multisite.site import Scope, Site, announce, current_scope

__all__ = [
    "ALL_SITES",
    "PINNED",
    "Pin",
    "change_listeners",
    "known_scope_of",
    "mark_changed",
    "merge_checked",
    "pin_of",
    "scope_of",
]

ALL_SITES = Scope(None, "pinned to all sites")
PINNED = "_multisite_pin"
"""The attribute that holds the pin, of a session and of the connections that it has in use."""


change_listeners: list[Callable[[Connection, Scope], None]] = []
"""Called with the connection and the scope of each statement that may change rows of sites, before it is executed."""


class Pin:
    """What one session is pinned to. `scope` is None as long as nothing has decided it."""

    __slots__ = ("connections", "explicit", "life", "scope", "session", "transaction")

    def __init__(self, session: Session) -> None:
        # Weak, since the session holds the pin: a circle would keep each session until the garbage collector runs.
        self.session = ref(session)
        self.life = session.identity_map
        self.transaction: SessionTransaction | None = None
        self.connections: list[Connection] = []
        self.scope: Scope | None = None
        self.explicit = session.info.get("site") is not None or session.info.get("all_sites") is not None

    def resolve(self) -> Scope | None:
        """Return the scope; decide it if it is still open and somebody knows a site."""
        if self.scope is None and (session := self.session()) is not None:
            self.scope = _first_scope(session)
        return self.scope

    def checked(self) -> Scope | None:
        """Return the scope as `resolve` does; raise `CrossSiteError` where another one is current that counts.

        A block counts always. A request counts against a session that an earlier request has left open, not against
        one that was pinned by a block, or by its own request.
        """
        scope = self.scope or self.resolve()
        if self.explicit or scope is None:
            return scope
        block = current_scope()
        if block is None or _same(block, scope) or (scope.block and not block.block):
            return scope
        raise CrossSiteError(
            f"this session is pinned to {_spell(scope)} and was used where {_spell(block)} is current: close it "
            "first, make a session for each, or use request.site_session(site) or request.all_sites_session(reason)"
        )

    def is_current(self, session: Session) -> bool:
        """Return whether its session still is what was pinned: it has not been closed or reset since."""
        if self.life is session.identity_map:
            return True
        # close() and reset() replace the identity map, which is how they are noticed; expunge_all() does so too, but
        # leaves the transaction, whose connection still carries this pin.
        if self.transaction is not None and self.transaction is session.get_transaction():
            self.life = session.identity_map
            return True
        return False


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


def known_scope_of(connection: Connection) -> Scope | None:
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
        return reason if isinstance(reason, Scope) else announce(reason)
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


def _spell(scope: Scope) -> str:
    return "all sites" if scope.site is None else scope.site.host


@event.listens_for(Session, "after_begin")
def _stamp(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """Let the connection carry the session's pin while the session has it in use."""
    pin = pin_of(session)
    other: Pin | None = connection.__dict__.get(PINNED)
    if other is pin:
        return
    scope = pin.resolve()
    if other is not None and (scope is None or other.scope is None or not _same(scope, other.scope)):
        raise CrossSiteError(
            "two sessions share this connection, and they do not belong to the same site: give each its own"
        )
    pin.transaction = session.get_transaction()
    pin.connections.append(connection)
    connection.__dict__[PINNED] = pin


@event.listens_for(Session, "after_transaction_end")
def _unstamp(session: Session, transaction: SessionTransaction) -> None:
    """Take the pin off connections that go on without the session, as `Session(bind=connection)` leaves them."""
    pin = session.__dict__.get(PINNED)
    if transaction.parent is not None or pin is None:
        return
    for connection in pin.connections:
        if connection.__dict__.get(PINNED) is pin:
            del connection.__dict__[PINNED]
    pin.connections.clear()
    pin.transaction = None


@event.listens_for(Session, "before_attach")
def _check_attached(session: Session, instance: Any) -> None:
    """Pin the session at its first object, and refuse an object of another site."""
    if isinstance(instance, SiteScoped):
        _check_site(session, instance_state(instance), instance.__dict__)


def _check_site(session: Session, state: InstanceState[Any], attributes: Mapping[str, Any]) -> None:
    scope = pin_of(session).checked()
    site_id = attributes.get(SITE_COLUMN)
    if (site_id is None and state.key is None) or (scope is not None and scope.site is None):
        return
    own, name = None if scope is None else scope.site, state.class_.__name__
    if site_id is None:
        if _is_loaded(state):
            raise CrossSiteError(
                f"this {name} was loaded without its site_id: nobody knows whose it is, so load it here"
            )
    elif own is None:
        # It would be in the identity map of whatever site the session is pinned to next.
        raise NoCurrentSite(f"adding, merging or linking a {name} of site {site_id}")
    elif site_id != own.id:
        raise CrossSiteError(
            f"this {name} belongs to site {site_id}, the session to {own.host} ({own.id}): it "
            "cannot be added, merged or linked here"
        )


def _is_loaded(state: InstanceState[Any]) -> bool:
    """Return whether an object holds values of its row besides the key, as `load_only` leaves it without a `site_id`.

    An expired object holds none, and loads them within the site that it has been added to.
    """
    keys = {state.mapper.get_property_by_column(column).key for column in state.mapper.primary_key}
    return bool(state.unmodified - state.unloaded - keys)


_merge = Session._merge


def merge_checked(session: Session, state: Any, state_dict: Mapping[str, Any], **kw: Any) -> Any:
    """Merge an object unless it is of another site: stands in front of `Session._merge`.

    With `load=False` SQLAlchemy takes the attributes over without a query or an event that could be limited.
    """
    if issubclass(state.class_, SiteScoped):
        _check_site(session, state, state_dict)
    return _merge(session, state, state_dict, **kw)  # type: ignore[arg-type]


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
