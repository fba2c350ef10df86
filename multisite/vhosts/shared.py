"""What applications share on purpose: the resources of the section `[multisite:shared]`.

    [multisite:shared]
    sqlalchemy.url = postgresql+psycopg://app@/app
    search = myapp.search:Client
    search.url = http://127.0.0.1:7700

makes one SQLAlchemy engine and one `Client(url="http://127.0.0.1:7700")`. The applications find them in their settings,
as `shared.engine` and `shared.search`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any, NamedTuple

from multisite import forks
from multisite.vhosts.ini import Places, VhostError, as_written

__all__ = ["SECTION", "Shared", "read_shared"]

SECTION = "multisite:shared"

PREFIX = "shared."
"""What stands before the name of a resource in the settings of the applications."""

_ENGINE = "engine"
_SQLALCHEMY = "sqlalchemy."
_MAKE_ENGINE = "multisite.directory.engines:engine_from_settings"
"""A dotted name as any other: SQLAlchemy is imported only where the section has settings for it."""

_DOTTED = re.compile(r"[A-Za-z_][\w.]*(?::[A-Za-z_][\w.]*)?")


class _Resource(NamedTuple):
    """How a resource is made: by calling what `dotted` names with `arguments` and `options`."""

    dotted: str
    arguments: tuple[Any, ...]
    options: Mapping[str, str]


class Shared:
    """The resources, each made once, when the first application is loaded that takes settings. Safe in threads."""

    def __init__(self, resources: Mapping[str, _Resource], places: Places) -> None:
        self._resources = resources
        self._places = places
        self._lock = forks.fork_safe_lock()
        self._made: dict[str, Any] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that the applications get."""
        return tuple(PREFIX + name for name in self._resources)

    def settings(self) -> dict[str, Any]:
        """Return the resources as settings. Raises `VhostError` if one cannot be made; it is tried again next time."""
        with self._lock:
            for name, resource in self._resources.items():
                if name not in self._made:
                    self._made[name] = self._make(name, resource)
            return {PREFIX + name: made for name, made in self._made.items()}

    def _make(self, name: str, resource: _Resource) -> Any:
        try:
            return resolve_name(resource.dotted)(*resource.arguments, **resource.options)
        except Exception as error:
            key = _SQLALCHEMY + "url" if resource.dotted == _MAKE_ENGINE else name
            # Without its value, which may hold a password.
            place = self._places.of_section(SECTION, key)
            raise VhostError(
                place, f"the shared resource '{name}' cannot be made ({type(error).__name__}: {error})"
            ) from error


def read_shared(settings: Mapping[str, str], places: Places) -> Shared:
    """Return the resources that `settings` describe, the keys of the section. Raises `VhostError`; makes nothing."""
    resources: dict[str, _Resource] = {}
    options: dict[str, dict[str, str]] = {}
    engine = {key: value for key, value in settings.items() if key.startswith(_SQLALCHEMY)}
    if engine:
        resources[_ENGINE] = _Resource(_MAKE_ENGINE, (engine,), {})
    for key, value in settings.items():
        name, dot, option = key.partition(".")
        if key in engine:
            continue
        if dot:
            options.setdefault(name, {})[option] = value
            continue
        if name in resources:
            raise VhostError(
                places.of_section(SECTION, key),
                f"{as_written(key, value)}: sqlalchemy.url makes an engine already, leave one of them out",
            )
        if not _DOTTED.fullmatch(value):
            raise VhostError(
                places.of_section(SECTION, key),
                f"{as_written(key, value)}: expected the dotted name of what makes it, such as package.module:function",
            )
        resources[name] = _Resource(value, (), options.setdefault(name, {}))
    for name in options:
        if name not in resources:
            key = next(key for key in settings if key.startswith(name + "."))
            raise VhostError(
                places.of_section(SECTION, key),
                f"'{key}' is an option of '{name}', which no line makes: add '{name} = package.module:function'",
            )
    return Shared(resources, places)
