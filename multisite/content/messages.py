"""Phrases of the pages: in English here, in other languages in the gettext catalogs in `locale/`.

A site changes a phrase, or adds a language, with a catalog of the domain `content` in its own folder, such as
`sites/garden.localhost/locale/fr/LC_MESSAGES/content.mo`. Phrases missing from all catalogs are in English.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

from pyramid.config import Configurator
from pyramid.i18n import Localizer

__all__ = ["DOMAIN", "PHRASES", "PLURALS", "includeme", "phrase"]

DOMAIN = "content"
"""Domain of the catalogs."""

PHRASES: Mapping[str, str] = {
    "all_years": "All years",
    "archive": "Archive",
    "back_home": "Back to the home page",
    "error_400_text": "The server could not understand this request.",
    "error_400_title": "Bad request",
    "error_403_text": "You do not have access to this page.",
    "error_403_title": "Access denied",
    "error_404_text": "There is nothing at this address. It may have moved, or it never existed.",
    "error_404_title": "Page not found",
    "error_410_text": "What was at this address has been removed.",
    "error_410_title": "Page removed",
    "error_500_text": "Something went wrong on our side. The error has been logged.",
    "error_500_title": "Something went wrong",
    "error_503_text": "This site is temporarily unavailable. Please try again soon.",
    "error_503_title": "Back in a moment",
    "feed": "Feed",
    "home": "Home",
    "main_menu": "Main menu",
    "newer": "Newer",
    "nothing_found": "No entry has all of these words.",
    "nothing_yet": "Nothing has been published here yet.",
    "older": "Older",
    "page_number": "Page {number}",
    "page_parents": "Pages above this one",
    "pager": "More pages",
    "search": "Search",
    "search_for": "Search for “{query}”",
    "search_words": "Words to search for",
    "skip_to_content": "Skip to content",
    "tagged": "Entries tagged “{name}”",
    "until": "Entries until {date}",
    "year_archive": "Entries of {year}",
}
"""Phrases by name."""

PLURALS: Mapping[str, tuple[str, str]] = {"entry_count": ("{count} entry", "{count} entries")}
"""Singular and plural phrases by name; `count` is the number."""

_translated: WeakKeyDictionary[Localizer, dict[str, str]] = WeakKeyDictionary()
"""Translated phrases by localizer: looking them up in its catalogs costs more than the rest of a page's texts."""


def phrase(localizer: Localizer, name: str, /, **values: object) -> str:
    """Return the phrase `name` in the language of `localizer`, formatted with `values`.

    For a phrase with a plural, `n` is the number that selects the form. Raises `KeyError` for an unknown name.
    """
    if name in PLURALS:
        found: str = localizer.pluralize(*PLURALS[name], values.get("n", 2), domain=DOMAIN)
        return found.format(**values)
    known = _translated.get(localizer)
    if known is None:
        known = {each: localizer.translate(text, domain=DOMAIN) for each, text in PHRASES.items()}
        _translated[localizer] = known
    return known[name].format(**values)


def includeme(config: Configurator) -> None:
    """Add the catalogs of this application; those of the sites take precedence."""
    config.add_translation_dirs("multisite.content:locale/")
