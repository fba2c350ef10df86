"""Which of a site's languages a visitor gets: RFC 9110 section 12.5.4, by the look-up of RFC 4647 section 3.4."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

__all__ = ["MAX_HEADER_CHARACTERS", "best_language", "locale_name"]

MAX_HEADER_CHARACTERS = 500
"""A longer Accept-Language is not looked at: browsers send less than a hundred characters, others may send anything."""


def best_language(languages: Sequence[str], wanted: Iterable[tuple[str, float]]) -> str:
    """Return which of `languages` (BCP 47 tags, at least one, the site's own first) fits best.

    `wanted` are ranges of an Accept-Language with their weights. A range fits the same tag, else a longer one (`de`
    fits `de-AT`), else what a shorter range would fit (`de-CH` fits `de`, and `de-AT`). What has the weight 0 is not
    wanted, unless nothing else is left. The first language is for who wants none of them.
    """
    weighed = [(text.lower(), weight) for text, weight in wanted]
    unwanted = [text for text, weight in weighed if weight == 0]
    offered = [
        language
        for language in languages
        if not any(_matches(language.lower(), text) for text in unwanted)
        or any(language.lower() == text for text, weight in weighed if weight > 0)
    ]
    for text, _weight in sorted((item for item in weighed if item[1] > 0), key=lambda item: -item[1]):
        if text == "*":
            break
        found = _look_up(offered, text)
        if found is not None:
            return found
    return (offered or languages)[0]


def _look_up(offered: Sequence[str], text: str) -> str | None:
    while text:
        for language in offered:
            if language.lower() == text:
                return language
        for language in offered:
            if _matches(language.lower(), text):
                return language
        text = text.rpartition("-")[0]
        if len(text.rpartition("-")[2]) == 1:  # What a single letter announces went with what it announced.
            text = text.rpartition("-")[0]
    return None


def _matches(language: str, text: str) -> bool:
    return language == text or language.startswith(f"{text}-")


@lru_cache(maxsize=1024)
def locale_name(tag: str) -> str:
    """Return the name that Pyramid and gettext have for the BCP 47 `tag`: `de_AT` for `de-at`."""
    first, *rest = tag.replace("_", "-").split("-")
    spelt = (part.title() if len(part) == 4 else part.upper() if len(part) in (2, 3) else part for part in rest)
    return "_".join([first.lower(), *spelt])
