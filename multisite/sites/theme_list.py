"""The themes as they are offered for a site: with label and picture, and the site's files that would hide theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.sites.settings.theme_file import THEME_FILE, read_theme_file
from multisite.sites.themes import hidden_files, list_themes

__all__ = ["ListedTheme", "find_picture", "offered_themes"]

PICTURES = {"screenshot.png": "image/png", "screenshot.jpg": "image/jpeg", "screenshot.webp": "image/webp"}
"""The names of the picture in the folder of a theme, and their media types: none that can contain a script."""

MAX_PICTURE_BYTES = 2_000_000


class ListedTheme(NamedTuple):
    """A theme: its name, its label, whether it has a picture, and which files of the site hide files of it."""

    name: str
    label: str
    has_picture: bool
    hidden: Sequence[str]


def offered_themes(settings: Settings, site: Site) -> Iterator[ListedTheme]:
    """Yield all themes, sorted by name. One whose `theme.toml` is not valid has its name as label."""
    own = settings.sites_dir / site.folder
    for name in list_themes(settings):
        try:
            label = read_theme_file(settings.themes_dir / name / THEME_FILE).label
        except MultisiteError:  # `multisite check` reports it.
            label = name
        hidden = [str(path.relative_to(own)) for path in hidden_files(settings, replace(site, theme=name))]
        yield ListedTheme(name, label, _picture_path(settings, name) is not None, hidden)


def find_picture(settings: Settings, name: str) -> tuple[bytes, str] | None:
    """Return the picture of a theme and its media type.

    None if there is no theme of this name, or if it has no picture, or one of more than `MAX_PICTURE_BYTES`.
    """
    path = _picture_path(settings, name) if name in list_themes(settings) else None
    return None if path is None else (path.read_bytes(), PICTURES[path.name])


def _picture_path(settings: Settings, name: str) -> Path | None:
    for file in PICTURES:
        path = settings.themes_dir / name / file
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= MAX_PICTURE_BYTES:
            return path
    return None
