"""Redirects that were set up in Ghost: its files `redirects.yaml` and, of earlier versions, `redirects.json`.

Source of the format: https://docs.ghost.org/themes/routing#redirects
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from multisite.content.errors import InvalidArticle, InvalidExport
from multisite.content.exports.index import ExportIndex
from multisite.content.imports.files import printable, read_text
from multisite.content.imports.metadata import load_configuration
from multisite.content.page_paths import address_of
from multisite.content.redirect_rules import InvalidRedirect, Rule, parse_rule, path_key

__all__ = ["find_redirects_file", "ghost_redirects"]

_NAMES = ("redirects.yaml", "redirects.json")
_MAX_CHARACTERS = 1_000_000
"""Limit of a file in YAML, whose parser reads about 100,000 characters a second."""

_PATTERN = re.compile(r"[\\^$|?*+()\[\]{}]")
"""Characters with a meaning in the expressions of Ghost's redirects. A dot is taken for one, as its authors mean it."""

_ESCAPED = re.compile(r"\\([^\w\s])")
_REST = re.compile(r"/\((?:\.\*|\.\+)\??\)/?$")
"""The end of an expression that stands for the rest of an address."""


def find_redirects_file(export: Path, folder: Path | None) -> Path | None:
    """Return the redirects of Ghost beside `export`, or in `folder`, its folder `content`; None if there are none."""
    places = [export.parent, *([folder / "data", folder] if folder else [])]
    return next((place / name for place in places for name in _NAMES if (place / name).is_file()), None)


def ghost_redirects(path: Path, index: ExportIndex, on_invalid: Callable[[str], None]) -> Iterator[Rule]:
    """Yield the redirects in the file `path`; those to a post lead to its entry.

    Args:
        path: The file, in YAML or JSON.
        index: The index of the whole export.
        on_invalid: Called with the reason for each redirect that is left out.

    Raises:
        InvalidExport: The file is not one with redirects of Ghost.
    """
    for old, new, status in _read(path):
        try:
            rule = _rule(old, new, status, index)
        except InvalidRedirect as error:
            on_invalid(str(error))
        else:
            if rule.target is None or rule.path != path_key(unquote(rule.target)):
                yield rule


def _read(path: Path) -> list[tuple[Any, Any, int]]:
    """Return the old address, the new one and the status of each redirect in a file."""
    name = printable(path)
    try:
        text = read_text(path).removeprefix("\ufeff")
        document = (
            json.loads(text) if path.suffix.lower() == ".json" else load_configuration(text, ".yaml", _MAX_CHARACTERS)
        )
    except InvalidArticle as error:
        raise InvalidExport(f"{name}: {str(error).replace('the front matter', 'it')}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidExport(f"{name}: not valid JSON: {error}") from None
    if isinstance(document, list):
        rows = [row for row in document if isinstance(row, dict)]
        return [(row.get("from"), row.get("to"), 301 if row.get("permanent") else 302) for row in rows]
    sections = document if isinstance(document, dict) else {}
    found = [(status, sections.get(str(status))) for status in (302, 301) if str(status) in sections]
    if not found or any(section and not isinstance(section, dict) for _, section in found):
        raise InvalidExport(f"{name}: no redirects of Ghost: it has no 301 or 302 with addresses")
    return [(old, new, status) for status, section in found for old, new in (section or {}).items()]


def _rule(old: Any, new: Any, status: int, index: ExportIndex) -> Rule:
    if not isinstance(old, str) or not isinstance(new, str):
        raise InvalidRedirect(f"{str(old)[:80]!r} to {str(new)[:80]!r} is not a redirect: both must be text")
    path, target = _plain(old), new.strip()
    if path.endswith("/*"):
        target = re.sub(r"/\$1/?$", "/*", target)
    if "$1" in target:
        raise InvalidRedirect(f"the target {new[:80]!r} is an expression that redirects of a site cannot have")
    bare, mark, fragment = target.partition("#")
    slug = index.find_address(unquote(bare).rstrip("/") or "/") if bare.startswith("/") else None
    return parse_rule(path, target if slug is None else f"{address_of(slug)}{mark}{fragment}", status)


def _plain(expression: str) -> str:
    """Return an expression of Ghost as a path of a redirect, `/blog/*` for the rest of an address.

    Raises:
        InvalidRedirect: No path of a redirect means the same.
    """
    text = expression.strip()
    if text.startswith("/") and text.endswith("/i") and len(text) > 3:
        text = text[1:-2]  # Upper and lower case are the same in it.
    text = text.removeprefix("^").removesuffix("$").removesuffix("?").replace("\\/", "/")
    path, rest = _REST.subn("", text)
    if _PATTERN.search(_ESCAPED.sub("", path)):
        raise InvalidRedirect(f"{expression[:80]!r} is an expression that redirects of a site cannot have")
    path = _ESCAPED.sub(r"\1", path)
    return ("" if path.startswith("/") else "/") + path + ("/*" if rest else "")
