"""Translations in file names: `about.md`, `about.fr.md`, `index.en.md`, as in Hugo.

A site has one language and an entry one text, so one of several translations is imported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from os.path import splitext
from pathlib import Path
from types import MappingProxyType

from babel import localedata

__all__ = ["choose_translations", "same_language"]

_PAGES = frozenset({"_index", "index", "readme"})


def choose_translations(
    files: Sequence[Path],
    locale: str,
    on_skipped: Callable[[Path, str], None],
    folders: Mapping[Path, str] = MappingProxyType({}),
    content: Path = Path(),
) -> list[tuple[Path, Path]]:
    """Return the files to import, each with its path without the language.

    Of the translations of one text, the one in `locale` is chosen, else the one without a language, else the first;
    `on_skipped(path, reason)` is called for the others.

    Args:
        files: The files.
        locale: The locale of the site.
        on_skipped: Called with a path and a reason.
        folders: Absolute folders with the files of one language, each with the language.
        content: The folder that the files of `folders` are below without the language.
    """
    groups: dict[Path, list[tuple[Path, str | None]]] = {}
    stems = map(_without_suffix, files)
    versions = Counter(name for stem in stems for name in {stem, _without_suffix(stem)})
    for path in files:
        base, language = _split_folder(path, folders, content) or _split_language(path, versions)
        groups.setdefault(base, []).append((path, language))
    chosen = []
    for base, group in groups.items():
        path, _ = min(group, key=lambda member: _rank(member[1], locale))
        chosen.append((path, base))
        for other, language in group:
            if other is not path:
                on_skipped(other, f"a translation{f' ({language})' if language else ''} of {path.name}")
    return chosen


def same_language(code: str, locale: str) -> bool:
    """Return whether `code` (`de`, `de-AT`) has the language of `locale` (`de`, `de_CH`)."""
    return _language(code) == _language(locale)


def _language(code: str) -> str:
    return code.replace("-", "_").partition("_")[0].lower()


def _rank(language: str | None, locale: str) -> int:
    if language is None:
        return 1
    return 0 if same_language(language, locale) else 2


def _split_folder(path: Path, folders: Mapping[Path, str], content: Path) -> tuple[Path, str] | None:
    """Return the path in `content` and the language of a file in one of the folders; None if it is in none."""
    whole = path.absolute() if folders else path
    for folder, language in folders.items():
        if whole.is_relative_to(folder):
            return content / whole.relative_to(folder), language
    return None


def _without_suffix(path: str | Path) -> str:
    return splitext(path)[0]  # noqa: PTH122 (a `Path` takes longer, for each of many files)


def _split_language(path: Path, versions: Mapping[str, int]) -> tuple[Path, str | None]:
    """Return the path without its language, and the language; None if that part of the name is not a language."""
    base, dot, language = path.stem.rpartition(".")
    if not dot or not base or not language.replace("-", "").replace("_", "").isalpha():
        return path, None
    if localedata.normalize_locale(language.replace("-", "_")) is None:
        return path, None
    without = path.with_name(f"{base}{path.suffix}")
    has_others = versions[_without_suffix(without)] > 1
    return (without, language) if base.lower() in _PAGES or has_others else (path, None)
