"""Checks of cached values: no object that is attached to a session, and no row of another site.

A memory backend hands the same object to every thread. An object attached to a session would load further attributes in
any of those threads, from a session that is closed by then or serves another request.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from multisite.errors import CrossSiteError, MultisiteError

__all__ = ["check_value"]


def check_value(value: object, site_id: int) -> None:
    """Check that `value` may be cached for the site with this id. Looks into containers and loaded relationships.

    Raises:
        MultisiteError: It contains an object attached to a session, a session or a result.
        CrossSiteError: It contains a row of another site.
    """
    if type(value) in _PLAIN:
        return
    seen: set[int] = set()
    waiting: list[object] = [value]
    while waiting:
        each = waiting.pop()
        if type(each) in _PLAIN or id(each) in seen:
            continue
        seen.add(id(each))
        waiting.extend(_children(each, site_id))


_PLAIN = frozenset({str, bytes, int, float, bool, type(None)})


def _children(value: Any, site_id: int) -> Iterable[object]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, (Sequence, AbstractSet)) and not isinstance(value, (str, bytes, bytearray, memoryview, range)):
        return value
    state = getattr(value, "_sa_instance_state", None)
    if state is not None:
        _check_object(value, state, site_id)
        return list(vars(value).values())
    _check_no_session(value)
    return ()


def _check_object(value: Any, state: Any, site_id: int) -> None:
    name = type(value).__name__
    if getattr(state, "session_id", None) is not None:
        raise MultisiteError(
            f"this {name} is in a session and cannot be cached: cache plain values of it, or session.expunge() it first"
        )
    model = sys.modules.get("multisite.scoping.mixin")
    if model is None or not isinstance(value, model.SiteScoped):
        return
    owner = vars(value).get("site_id")
    if owner is None and state.key is not None:
        raise CrossSiteError(f"this {name} was loaded without its site_id, so its site is unknown: it cannot be cached")
    if owner not in (None, site_id):
        raise CrossSiteError(f"this {name} belongs to site {owner} and cannot be cached for site {site_id}")


def _check_no_session(value: object) -> None:
    for module, names in (
        ("sqlalchemy.orm", ("Session", "Query")),
        ("sqlalchemy.engine", ("Result", "FilterResult", "Connection")),
    ):
        found = sys.modules.get(module)
        if found is not None and isinstance(value, tuple(getattr(found, name) for name in names)):
            raise MultisiteError(f"a {type(value).__name__} cannot be cached: cache its rows, as a list")
