"""Settings of `egg:pyramid-multisite#vhosts`: those that begin with `vhosts.`, beside the lines of domains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multisite.core.setting_parsers import parse_boolean, parse_folder, parse_limit, parse_seconds, parse_words
from multisite.errors import UnknownSetting, escape_for_message
from multisite.vhosts.ini import IniPositions, VhostError

__all__ = ["PREFIX", "VhostOptions", "read_options"]

PREFIX = "vhosts."


def _option(default: Any, parse: Callable[[str], Any]) -> Any:
    return dataclasses.field(default=default, metadata={"parse": parse})


@dataclass(frozen=True)
class VhostOptions:
    """The parsed settings; docs/vhosts.md describes each.

    `root` is the folder below which each application gets its own folders, or None. `init` are dotted names.
    `max_requests` is 0 for no limit.
    """

    root: Path | None = _option(None, parse_folder)
    lazy: bool = _option(default=False, parse=parse_boolean)
    retry_seconds: float = _option(30.0, parse_seconds)
    max_requests: int = _option(0, parse_limit)
    init: tuple[str, ...] = _option((), parse_words)
    allow_mixed: bool = _option(default=False, parse=parse_boolean)
    allow_underscores: bool = _option(default=False, parse=parse_boolean)


def read_options(settings: Mapping[str, str], positions: IniPositions) -> tuple[VhostOptions, dict[str, str]]:
    """Return the options in `settings`, and the remaining lines. Raises `VhostError` if an option is not valid."""
    fields = {PREFIX + field.name: field for field in dataclasses.fields(VhostOptions)}
    values: dict[str, Any] = {}
    lines: dict[str, str] = {}
    for key, value in settings.items():
        if not key.startswith(PREFIX):
            lines[key] = value
            continue
        if key not in fields:
            names = [name.removeprefix(PREFIX) for name in fields]
            raise VhostError(
                positions.of(key), str(UnknownSetting(key.removeprefix(PREFIX), value, names, prefix=PREFIX))
            )
        try:
            values[fields[key].name] = fields[key].metadata["parse"](value.strip())
        except ValueError as error:
            raise VhostError(positions.of(key), f"{key} = {escape_for_message(value)}: expected {error}") from None
    return VhostOptions(**values), lines
