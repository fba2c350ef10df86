"""Read the sites to add from a CSV or TOML file."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from multisite.errors import MultisiteError, nearest
from multisite.sites.batches import NewSite
from multisite.sites.creation import SiteDetails

__all__ = ["read_site_file"]

TEXTS = ("name", "theme", "locale", "timezone")
"""The keys of a site, besides `host`, whose value is a text."""

KEYS = ("host", *TEXTS, "aliases", "settings")
"""The keys of a site in a TOML file. A CSV file has a column `settings.NAME` for each setting instead of the last."""

SETTING_PREFIX = "settings."


def read_site_file(path: Path, *, allow_mixed: bool = False) -> list[NewSite]:
    """Return the sites that a CSV or TOML file describes. The values are not checked, see `add_sites`.

    Args:
        path: The file; its name ends in `.csv` or `.toml`.
        allow_mixed: Accept hosts that mix scripts.

    Raises:
        MultisiteError: The file cannot be read, or has another structure.
    """
    readers = {".csv": _read_csv, ".toml": _read_toml}
    if path.suffix.lower() not in readers:
        raise MultisiteError(f"{path} is neither a CSV nor a TOML file: its name must end in .csv or .toml")
    try:
        # Excel begins a CSV file in UTF-8 with a byte order mark.
        text = path.read_text("utf-8-sig")
        found = [_new_site(values, place, allow_mixed) for place, values in readers[path.suffix.lower()](text)]
    except OSError as error:
        raise MultisiteError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise MultisiteError(f"{path} is not in UTF-8 (byte {error.start}): save it in UTF-8") from error
    except (ValueError, csv.Error) as error:
        raise MultisiteError(f"{path}: {error}") from error
    if not found:
        raise MultisiteError(f"{path} describes no site")
    return found


def _new_site(values: Mapping[str, Any], place: str, allow_mixed: bool) -> NewSite:
    """Return the site of checked `values`, without those that are empty."""
    details: SiteDetails = {name: values[name] for name in TEXTS if values.get(name)}  # type: ignore[assignment]
    if values.get("aliases"):
        details["aliases"] = values["aliases"]
    if allow_mixed:
        details["allow_mixed"] = True
    return NewSite(values["host"], details, values["settings"], place)


def _read_csv(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    rows = csv.reader(text.splitlines(keepends=True), strict=True)
    header = [name.strip() for name in next(rows, [])]
    _check_columns(header)
    for cells in rows:
        if not any(map(str.strip, cells)):
            continue
        place = f"line {rows.line_num}"
        if len(cells) != len(header):
            raise ValueError(f"{place} has {len(cells)} values instead of {len(header)}")
        values: dict[str, Any] = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        if not values["host"]:
            raise ValueError(f"{place} has no host")
        values["aliases"] = values.get("aliases", "").split()
        # Not stripped: a setting may begin or end with a space.
        settings = {name: cell for name, cell in zip(header, cells, strict=True) if name.startswith(SETTING_PREFIX)}
        yield place, {**values, "settings": {name.removeprefix(SETTING_PREFIX): c for name, c in settings.items() if c}}


def _check_columns(header: list[str]) -> None:
    if "host" not in header:
        hint = ": separate the columns by commas" if any(";" in name or "\t" in name for name in header) else ""
        raise ValueError(f"the first line has no column 'host'{hint}")
    for name in header:
        if header.count(name) > 1:
            raise ValueError(f"there are two columns '{name}'")
        if name not in KEYS[:-1] and not name.startswith(SETTING_PREFIX):
            raise ValueError(_unknown("column", name, (*KEYS[:-1], f"{SETTING_PREFIX}NAME")))


def _unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    near = nearest(name, known)
    return f"there is no {what} '{name}'; " + (f"did you mean {near}?" if near else f"existing: {', '.join(known)}")


def _read_toml(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    found = tomllib.loads(text)
    tables = found.pop("sites", [])
    if found or not isinstance(tables, list):
        raise ValueError("expected tables [[sites]], and nothing else")
    for number, values in enumerate(tables, 1):
        place = f"site {number}"
        if not isinstance(values, dict):
            raise ValueError("expected tables [[sites]], and nothing else")
        for name, value in values.items():
            if name not in KEYS:
                raise ValueError(f"{place}: {_unknown('key', name, KEYS)}")
            if name in ("host", *TEXTS) and not isinstance(value, str):
                raise ValueError(f"{place}: {name} is not a text")
        aliases = values.get("aliases", [])
        if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
            raise ValueError(f"{place}: aliases is not a list of texts")
        if not values.get("host"):
            raise ValueError(f"{place} has no host")
        settings = values.get("settings", {})
        if not isinstance(settings, dict):
            raise ValueError(f"{place}: settings is not a table")
        yield place, {**values, "settings": dict(_setting_texts(settings, place))}


def _setting_texts(values: Mapping[str, Any], place: str, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and texts, as `multisite set` takes them. An unquoted name with dots is a table of tables in TOML."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _setting_texts(value, place, f"{prefix}{name}.")
        elif isinstance(value, bool):
            yield f"{prefix}{name}", str(value).lower()
        elif isinstance(value, (str, int, float)):
            yield f"{prefix}{name}", str(value)
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            yield f"{prefix}{name}", ", ".join(value)
        else:
            raise ValueError(f"{place}: the setting {prefix}{name} is not a text, number, boolean or list of texts")
