"""Check whether code of the application wraps a view, so that calling the view directly would leave that out."""

from __future__ import annotations

from typing import Any

__all__ = ["has_own_derivers"]

_KNOWN = frozenset({
    "secured_view", "owrapped_view", "http_cached_view", "decorated_view", "rendered_view", "mapped_view", "csrf_view",
    "page_cache",
})  # fmt: skip
"""Pyramid's view derivers, and multisite's own, none of which changes the response of a view without their options."""


def has_own_derivers(registry: Any) -> bool:
    """Return whether the application has a view deriver of its own; True if that is not known."""
    introspector = registry.introspector
    derivers = introspector.get_category("view derivers") if introspector is not None else None
    return not derivers or not _KNOWN.issuperset(each["introspectable"]["name"] for each in derivers)
