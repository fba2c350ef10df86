"""The words of the pages, in English and German.

A table is enough for twenty phrases of two languages; a site that needs a third brings it as an override of its
templates, or adds a column here. A language that is not in the table is answered in English.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

__all__ = ["PHRASES", "phrase", "phrases_for", "primary_language"]

PHRASES: Mapping[str, Mapping[str, str]] = {
    "en": {
        "all_years": "All years",
        "archive": "Archive",
        "back_home": "Back to the home page",
        "entry_count": "{count} entries",
        "entry_count_one": "1 entry",
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
    },
    "de": {
        "all_years": "Alle Jahre",
        "archive": "Archiv",
        "back_home": "Zur Startseite",
        "entry_count": "{count} Beiträge",
        "entry_count_one": "1 Beitrag",
        "error_400_text": "Die Adresse, oder was mit ihr gesandt wurde, ist nicht zu verstehen.",
        "error_400_title": "Nicht verstanden",
        "error_403_text": "Diese Seite ist nicht für alle bestimmt.",
        "error_403_title": "Kein Zutritt",
        "error_404_text": "Unter dieser Adresse gibt es nichts. Die Seite ist umgezogen, oder sie war nie hier.",
        "error_404_title": "Seite nicht gefunden",
        "error_500_text": "Hier ist etwas schiefgegangen. Es liegt nicht an Ihnen, und es ist vermerkt.",
        "error_500_title": "Das hat nicht geklappt",
        "error_503_text": "Diese Website ruht einen Augenblick. Bitte versuchen Sie es gleich noch einmal.",
        "error_503_title": "Gleich wieder da",
        "feed": "Feed",
        "home": "Startseite",
        "main_menu": "Hauptmenü",
        "newer": "Neuere",
        "nothing_yet": "Hier ist noch nichts erschienen.",
        "older": "Ältere",
        "page_number": "Seite {number}",
        "pager": "Weitere Seiten",
        "skip_to_content": "Zum Inhalt springen",
        "tagged": "Beiträge zum Thema „{name}“",
        "year_archive": "Beiträge aus dem Jahr {year}",
    },
}
"""Phrases by language and name; `…_one` is taken instead of its neighbour where `count` is 1."""


def primary_language(tag: str) -> str:
    """Return the language of a BCP 47 tag: `de` for `de-AT`."""
    return tag.replace("_", "-").partition("-")[0].lower()


@lru_cache(maxsize=64)
def phrases_for(tag: str) -> Mapping[str, str]:
    """Return the phrases for the locale `tag`, English where its language is not in the table."""
    return PHRASES.get(primary_language(tag), PHRASES["en"])


def phrase(tag: str, name: str, /, **values: object) -> str:
    """Return the phrase `name` for the locale `tag` with `values` filled in; raises `KeyError` for an unknown name."""
    phrases = phrases_for(tag)
    if str(values.get("count")) == "1" and f"{name}_one" in phrases:
        name = f"{name}_one"
    return phrases[name].format(**values)
