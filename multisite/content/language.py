"""The words of the pages: in English here, in other languages in the catalogs of gettext in `locale/`.

A site rewords a phrase, or adds a language, by a catalog of the domain `content` in its own folder, such as
`sites/garden.localhost/locale/fr/LC_MESSAGES/content.mo`. What no catalog has is said in English.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

from pyramid.config import Configurator
from pyramid.i18n import Localizer

__all__ = ["DOMAIN", "PHRASES", "PLURALS", "includeme", "phrase"]

DOMAIN = "content"
"""The domain of the catalogs."""

PHRASES: Mapping[str, str] = {
    "all_years": "All years",
    "archive": "Archive",
    "back_home": "Back to the home page",
    "error_400_text": "The address, or what was sent with it, cannot be understood.",
    "error_400_title": "Not understood",
    "error_403_text": "This page is not for everyone.",
    "error_403_title": "No admission",
    "error_404_text": "There is nothing at this address. It may have moved, or it was never here.",
    "error_404_title": "Page not found",
    "error_500_text": "Something went wrong here. It is not your fault, and it has been noted.",
    "error_500_title": "That did not work",
    "error_503_text": "This site has to rest for a moment. Please try again soon.",
    "error_503_title": "Back in a moment",
    "feed": "Feed",
    "home": "Home",
    "main_menu": "Main menu",
    "newer": "Newer",
    "nothing_yet": "Nothing has been published here yet.",
    "older": "Older",
    "page_number": "Page {number}",
    "pager": "More pages",
    "skip_to_content": "Skip to content",
    "tagged": "Entries tagged “{name}”",
    "year_archive": "Entries of {year}",
}
"""Phrases by name."""

PLURALS: Mapping[str, tuple[str, str]] = {"entry_count": ("{count} entry", "{count} entries")}
"""Phrases for one and for several, by name; `count` is the number."""

_translated: WeakKeyDictionary[Localizer, dict[str, str]] = WeakKeyDictionary()
"""Each phrase in the language of a localizer: to ask its catalogs costs more than all else that a page says."""


def phrase(localizer: Localizer, name: str, /, **values: object) -> str:
    """Return the phrase `name` in the language of `localizer` with `values` filled in.

    In one that has a plural, `n` is the number by which it is chosen. Raises `KeyError` for an unknown name.
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
    """Add the catalogs of this application, which those of the sites go over."""
    config.add_translation_dirs("multisite.content:locale/")
