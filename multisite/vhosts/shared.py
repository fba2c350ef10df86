"""Resources that applications share on purpose, from the section `[multisite:shared]`.

    [multisite:shared]
    sqlalchemy.url = postgresql+psycopg://app@/app
    search = myapp.search:Client
    search.url = http://127.0.0.1:7700

This creates one SQLAlchemy engine and one `Client(url="http://127.0.0.1:7700")`, which the applications find in their
settings as `shared.engine` and `shared.search`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any, NamedTuple

from multisite.core import fork_safety
from multisite.vhosts.ini import IniPositions, VhostError, quoted_line

__all__ = ["SECTION", "Shared", "read_shared"]

SECTION = "multisite:shared"

PREFIX = "shared."
"""Prefix of a resource's name in the settings of the applications."""

_ENGINE = "engine"
_SQLALCHEMY = "sqlalchemy."
_MAKE_ENGINE = "multisite.directory.engines:engine_from_settings"
"""A dotted name like any other: SQLAlchemy is only imported if the section configures it."""

_DOTTED = re.compile(r"[A-Za-z_][\w.]*(?::[A-Za-z_][\w.]*)?")


class _Resource(NamedTuple):
    """A resource, created by calling the object that `dotted` names with `arguments` and `options`."""

    dotted: str
    arguments: tuple[Any, ...]
    options: Mapping[str, str]


class Shared:
    """The resources, each created once, when the first application that accepts settings is loaded. Thread-safe."""

    def __init__(self, resources: Mapping[str, _Resource], positions: IniPositions) -> None:
        self._resources = resources
        self._positions = positions
        self._lock = fork_safety.fork_safe_lock()
        self._made: dict[str, Any] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the settings that the applications get."""
        return tuple(PREFIX + name for name in self._resources)

    def settings(self) -> dict[str, Any]:
        """Return the resources as settings. Raises `VhostError` if one cannot be created; the next call retries it."""
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
            # Without the value, which may contain a password.
            position = self._positions.in_section(SECTION, key)
            raise VhostError(
                position, f"the shared resource '{name}' cannot be made ({type(error).__name__}: {error})"
            ) from error


def read_shared(settings: Mapping[str, str], positions: IniPositions) -> Shared:
    """Return the resources that the keys of the section define, without creating them. Raises `VhostError`."""
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
                positions.in_section(SECTION, key),
                f"{quoted_line(key, value)}: sqlalchemy.url already creates an engine; remove one of them",
            )
        if not _DOTTED.fullmatch(value):
            raise VhostError(
                positions.in_section(SECTION, key),
                f"{quoted_line(key, value)}: expected a dotted name to call, such as package.module:function",
            )
        resources[name] = _Resource(value, (), options.setdefault(name, {}))
    for name in options:
        if name not in resources:
            key = next(key for key in settings if key.startswith(name + "."))
            raise VhostError(
                positions.in_section(SECTION, key),
                f"'{key}' is an option of '{name}', which no line defines: add '{name} = package.module:function'",
            )
    return Shared(resources, positions)
