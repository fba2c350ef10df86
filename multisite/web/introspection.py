"""Introspectables for multisite's settings and open paths, shown by tools that read `config.introspector`."""

from __future__ import annotations

import dataclasses
from typing import Any

from pyramid.config import Configurator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from multisite.core.settings import PREFIX, Settings

__all__ = ["CATEGORY", "OPEN_PATHS", "includeme", "redacted"]

CATEGORY = "multisite settings"
OPEN_PATHS = "multisite open paths"

_FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
_URLS = frozenset({"database_url", "owner_url"})


def redacted(name: str, value: Any) -> Any:
    """Return `value` of the setting `name` without passwords; for a secret, only whether it is set."""
    if name in _URLS and value is not None:
        try:
            return make_url(value).render_as_string(hide_password=True)
        except ArgumentError:
            return "(set)"
    if _FIELDS[name].metadata["hidden"]:
        return "(set)" if value else None
    return value


def includeme(config: Configurator, settings: Settings) -> None:
    """Register introspectables for `settings` and for each open path."""
    found = []
    for field in dataclasses.fields(settings):
        key, value = PREFIX + field.name, redacted(field.name, getattr(settings, field.name))
        entry = config.introspectable(CATEGORY, key, key, "setting")
        entry.update(value=value, is_default=getattr(settings, field.name) == field.default)
        entry["sentence"] = field.metadata["sentence"]
        found.append(entry)
    for path in settings.open_paths:
        entry = config.introspectable(OPEN_PATHS, path, path, "open path")
        entry.update(path=path, is_prefix=path.endswith("/"))
        found.append(entry)
    config.action(None, None, introspectables=tuple(found))
