"""Check objects that enter or leave a session's identity map without a statement that could be limited.

An object that is added, merged or linked must belong to the session's site. `get` and lazy loads return an object from
the identity map only if the session could execute a statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import InstanceState, Mapper, Session
from sqlalchemy.orm.attributes import instance_state

from multisite.scoping.errors import CrossSiteError, NoCurrentSite
from multisite.scoping.mapping import site_attribute
from multisite.scoping.pin import pin_of

__all__ = ["identity_lookup", "merge_checked"]


@event.listens_for(Session, "before_attach")
def _check_attached(session: Session, instance: Any) -> None:
    """Pin the session at its first object, and reject objects of another site."""
    state = instance_state(instance)
    if (attribute := site_attribute(state.mapper)) is not None:
        _check_site(session, state, instance.__dict__.get(attribute))


def _check_site(session: Session, state: InstanceState[Any], site_id: int | None) -> None:
    scope = pin_of(session).checked()
    if (site_id is None and state.key is None) or (scope is not None and scope.site is None):
        return
    own, name = None if scope is None else scope.site, state.class_.__name__
    if site_id is None:
        if _is_loaded(state):
            raise CrossSiteError(
                f"this {name} was loaded without its site_id: nobody knows whose it is, so load it here"
            )
    elif own is None:
        # Otherwise it would be in the identity map of whichever site the session is pinned to next.
        raise NoCurrentSite(f"adding, merging or linking a {name} of site {site_id}")
    elif site_id != own.id:
        raise CrossSiteError(
            f"this {name} belongs to site {site_id}, the session to {own.host} ({own.id}): it "
            "cannot be added, merged or linked here"
        )


def _is_loaded(state: InstanceState[Any]) -> bool:
    """Return whether an object has loaded values other than its key, such as one that `load_only` has loaded.

    An expired object has none: it loads them later, limited to the site of its session.
    """
    keys = {state.mapper.get_property_by_column(column).key for column in state.mapper.primary_key}
    return bool(state.unmodified - state.unloaded - keys)


_merge = Session._merge


def merge_checked(session: Session, state: Any, state_dict: Mapping[str, Any], **kw: Any) -> Any:
    """Merge an object as `Session._merge` does, after checking its site.

    With `load=False` SQLAlchemy copies the attributes without a query or an event that could be limited.

    Returns:
        The merged object.

    Raises:
        CrossSiteError: the object belongs to another site.
    """
    if (attribute := site_attribute(state.mapper)) is not None:
        _check_site(session, state, state_dict.get(attribute))
    return _merge(session, state, state_dict, **kw)  # type: ignore[arg-type]


_identity_lookup = Session._identity_lookup


def identity_lookup(session: Session, mapper: Mapper[Any], *args: Any, **kw: Any) -> Any:
    """Look up an object as `Session._identity_lookup` does, after checking the session's pin.

    If `get` or a lazy load of a many-to-one finds the object here, no statement is executed that could be refused.

    Returns:
        The object, or None or a marker of SQLAlchemy's if it is not there.

    Raises:
        CrossSiteError: another site is current than the one that the session is pinned to.
    """
    if site_attribute(mapper) is not None:
        pin_of(session).checked()
    return _identity_lookup(session, mapper, *args, **kw)
