"""Settings of a theme, which its file `theme.toml` declares, and the values of its sites.

    label = "Almanac"

    [settings.accent]
    type = "colour"                                 # colour, choice, image or text
    default = "#8a3b12"
    label = {en = "Colour of links", de = "Farbe der Links"}

    [settings.corners]
    type = "choice"
    choices = ["round", "square"]
    default = "round"
    label = "Corners"

The setting `accent` is `request.site.settings["theme.accent"]` for each site with the theme, and `multisite set`
changes it under this name. A value that the site had with another theme stays if the new theme declares a setting of
that name and accepts it; otherwise the site has the default.
"""

from __future__ import annotations

import logging
import re
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multisite.errors import MultisiteError
from multisite.sites.settings.setting import THEME_PREFIX, Setting, make_setting
from multisite.sites.settings.types import SettingType, setting_type_for

__all__ = ["IMAGE", "THEME_FILE", "ThemeFile", "ThemeFiles", "css_value", "read_theme_file"]

log = logging.getLogger(__name__)

THEME_FILE = "theme.toml"

MAX_FILE_BYTES = 100_000
MAX_TEXT_CHARACTERS = 500
CHECK_SECONDS = 1
"""A file that was read is compared with the disk this much later."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_CHOICE = re.compile(r"[a-z][a-z0-9-]{0,31}")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_IMAGE = re.compile(r"(/(?!/)[A-Za-z0-9._~%/-]{1,500})?")
_KEYS = {"type", "default", "label", "choices"}


def _matching(pattern: re.Pattern[str]) -> Any:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError
        return text

    return parse


def _parse_text(text: str) -> str:
    if not text.isprintable() or len(text) > MAX_TEXT_CHARACTERS:
        raise ValueError
    return text


COLOUR = SettingType("colour", "a colour such as #8a3b12", _matching(_COLOUR))
IMAGE = SettingType("image", "the path of a picture on this site, such as /media/…, or nothing", _matching(_IMAGE))
TEXT = SettingType("text", f"at most {MAX_TEXT_CHARACTERS} characters on one line", _parse_text)
_TYPES = {"colour": COLOUR, "image": IMAGE, "text": TEXT}


@dataclass(frozen=True, eq=False, slots=True)
class ThemeFile:
    """What a `theme.toml` declares.

    `settings` are the settings by their name with the prefix `theme.`, in the order of the file. `labels` are the
    labels of each by language; the label of the language "" is for all others. `label` is the name of the theme.
    """

    label: str
    settings: Mapping[str, Setting]
    labels: Mapping[str, Mapping[str, str]]

    def label_of(self, name: str, language: str) -> str:
        """Return the label of the setting `name` in a language such as `de-AT`, `de`, or else that of all others."""
        labels = self.labels[name]
        return labels.get(language) or labels.get(language.partition("-")[0]) or labels[""]


def read_theme_file(path: Path) -> ThemeFile:
    """Return what the file `path` declares; without a file, nothing.

    Raises:
        MultisiteError: The file cannot be read, or is not valid; the message names the file and the key.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return ThemeFile(path.parent.name, {}, {})
    except OSError as error:
        raise MultisiteError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return _declared(path.parent.name, _parse(content))
    except (ValueError, TypeError, RecursionError) as error:  # UnicodeDecodeError and TOMLDecodeError are ValueErrors.
        raise MultisiteError(f"{path} is not valid: {error}") from error


def _parse(content: bytes) -> Mapping[str, Any]:
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"the file has more than {MAX_FILE_BYTES} bytes")
    return tomllib.loads(content.decode("utf-8"))


def _declared(name: str, found: Mapping[str, Any]) -> ThemeFile:
    if unknown := sorted(found.keys() - {"label", "settings"}):
        raise ValueError(f"'{unknown[0]}' is not a key of a theme: expected label and settings")
    label, declared = found.get("label", name), found.get("settings", {})
    if not isinstance(label, str) or not isinstance(declared, dict):
        raise TypeError("label is a text, and settings are tables such as [settings.accent]")
    settings: dict[str, Setting] = {}
    labels: dict[str, Mapping[str, str]] = {}
    for key, value in declared.items():
        try:
            labels[THEME_PREFIX + key], settings[THEME_PREFIX + key] = _setting(key, value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"settings.{key}: {error}") from error
    return ThemeFile(label, settings, labels)


def _setting(key: str, found: Any) -> tuple[Mapping[str, str], Setting]:
    if not _NAME.fullmatch(key):
        raise ValueError("a name has at most 32 lowercase letters a-z, digits and underscores")
    if not isinstance(found, dict):
        raise TypeError("expected a table with type, default and label")
    if unknown := sorted(found.keys() - _KEYS):
        raise ValueError(f"'{unknown[0]}' is not a key of a setting: expected {', '.join(sorted(_KEYS))}")
    labels = _labels(found.get("label", key))
    default = found.get("default")
    if not isinstance(default, str):
        raise TypeError("default is a text")
    return labels, make_setting(THEME_PREFIX + key, _kind(found), default=default, doc=labels[""], owner=True)


def _kind(found: Mapping[str, Any]) -> Any:
    kind, choices = found.get("type"), found.get("choices")
    if kind == "choice":
        if not isinstance(choices, list) or not all(
            isinstance(each, str) and _CHOICE.fullmatch(each) for each in choices
        ):
            raise TypeError("choices are a list of words of lowercase letters a-z, digits and hyphens")
        return setting_type_for(tuple(choices))
    if choices is not None:
        raise ValueError('only a setting with type = "choice" has choices')
    if kind not in _TYPES:
        raise ValueError(f"its type is one of choice, {', '.join(sorted(_TYPES))}, not {kind!r}")
    return _TYPES[kind]


def _labels(found: Any) -> dict[str, str]:
    labels = {"": found} if isinstance(found, str) else found
    if (
        not isinstance(labels, dict)
        or not labels
        or not all(isinstance(each, str) and each for each in labels.values())
    ):
        raise TypeError('label is a text, or a text for each language: {en = "…", de = "…"}')
    return {"": labels.get("en") or next(iter(labels.values())), **labels}


def css_value(setting: Setting, value: str) -> str:
    """Return `value` of a theme's setting as CSS: a colour or choice as it is, an image as url(), a text as a string.

    No value ends the declaration that it is in: the types allow no such characters, and those of a string are escaped
    (CSS Syntax Module Level 3, section 4.3.7).
    """
    if setting.kind is IMAGE:
        return f'url("{value}")' if value else "none"
    if setting.kind is TEXT:
        return '"' + re.sub(r'["\\<>\x7f]', lambda found: f"\\{ord(found[0]):x} ", value) + '"'
    return value


class ThemeFiles:
    """The files `theme.toml` of all themes in `folder`, each read again when it has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[float, tuple[int, ...], ThemeFile]] = {}

    def of(self, theme: str) -> ThemeFile:
        """Return what the theme declares; nothing without a file.

        While the file is not valid, which is logged, what it declared before is returned.
        """
        now = time.monotonic()
        known = self._known.get(theme)
        if known is not None and now - known[0] < CHECK_SECONDS:
            return known[2]
        path = self._folder / theme / THEME_FILE
        signature = _signature(path)
        if known is None or known[1] != signature:
            known = (now, signature, self._read(path, known and known[2]))
        self._known[theme] = (now, *known[1:])
        return known[2]

    def _read(self, path: Path, before: ThemeFile | None) -> ThemeFile:
        try:
            return read_theme_file(path)
        except MultisiteError as error:
            log.error(
                "%s; its sites have %s", error, "what it declared before" if before else "no settings of the theme"
            )
            return before or ThemeFile(path.parent.name, {}, {})


def _signature(path: Path) -> tuple[int, ...]:
    """Return what changes with the content of the file; empty if it is missing."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
