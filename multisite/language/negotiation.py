"""Choose the best of a site's languages for an Accept-Language header (RFC 9110 section 12.5.4).

The matching is the lookup of RFC 4647 section 3.4, extended by the prefix match of section 3.3.1. WebOb's
`AcceptLanguage` has each of the two, but not both: its `lookup` does not find `de-AT` for `de`, and its
`basic_filtering` does not find `de` for `de-CH`. With both, a language that the visitor excludes may be the default.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

__all__ = ["MAX_HEADER_CHARACTERS", "best_language", "locale_name"]

MAX_HEADER_CHARACTERS = 500
"""A longer Accept-Language is ignored. Browsers send fewer than 100 characters."""


def best_language(languages: Sequence[str], wanted: Iterable[tuple[str, float]]) -> str:
    """Return the best match among `languages`; the first one if none matches.

    A range matches an equal tag, else a longer tag (`de` matches `de-AT`), else what a shorter range matches (`de-CH`
    matches `de` and `de-AT`). A range with the weight 0 excludes languages, unless no other language is left.

    Args:
        languages: BCP 47 tags, at least one, with the site's own first.
        wanted: The ranges of an Accept-Language header with their weights.
    """
    ranges = [(each.lower(), weight) for each, weight in wanted]
    excluded = [each for each, weight in ranges if weight == 0]
    offered = [
        language
        for language in languages
        if not any(_matches(language.lower(), each) for each in excluded)
        or any(language.lower() == each for each, weight in ranges if weight > 0)
    ]
    for each, _weight in sorted((item for item in ranges if item[1] > 0), key=lambda item: -item[1]):
        if each == "*":
            break
        found = _look_up(offered, each)
        if found is not None:
            return found
    return (offered or languages)[0]


def _look_up(offered: Sequence[str], language_range: str) -> str | None:
    """Return the language that the range matches, shortening the range subtag by subtag; None if none does."""
    while language_range:
        for language in offered:
            if language.lower() == language_range:
                return language
        for language in offered:
            if _matches(language.lower(), language_range):
                return language
        language_range = language_range.rpartition("-")[0]
        # A singleton is removed together with the subtag that it introduces.
        if len(language_range.rpartition("-")[2]) == 1:
            language_range = language_range.rpartition("-")[0]
    return None


def _matches(language: str, language_range: str) -> bool:
    return language == language_range or language.startswith(f"{language_range}-")


@lru_cache(maxsize=1024)
def locale_name(tag: str) -> str:
    """Return the locale name of a BCP 47 tag, as used by Pyramid and gettext: `de_AT` for `de-at`."""
    first, *rest = tag.replace("_", "-").split("-")
    subtags = (part.title() if len(part) == 4 else part.upper() if len(part) in (2, 3) else part for part in rest)
    return "_".join([first.lower(), *subtags])
