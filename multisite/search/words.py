"""Find the words of a text, as they are indexed, searched for, and marked in a passage.

A word is reduced to a term: in lower case, without its ending (by the Snowball stemmer of the language), and without
accents. Chinese and Japanese have no spaces: each two adjacent characters are a term.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Collection, Iterator
from functools import lru_cache
from html import unescape
from typing import Any

import snowballstemmer  # type: ignore[import-untyped]

__all__ = ["MAX_QUERY", "MAX_TERMS", "Segment", "marked", "passage", "plain_text", "query_terms", "terms_of"]

MAX_QUERY = 200
"""Characters of a query that are used."""

MAX_TERMS = 10_000
"""Different terms of a row that are stored."""

_MAX_QUERY_TERMS = 8
_TERM_LENGTH = 64
_PASSAGE = 240
_BEFORE = 80
_LOOKED_THROUGH = 100_000

Segment = tuple[str, bool]
"""A piece of a text, and whether it is a word that was searched for."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Marks that belong to a word without being letters: those of Latin and of the scripts of India and Thailand.
_MARKS = "\u0300-\u036f\u0900-\u0963\u0966-\u0dff\u0e30-\u0e4f\u200c\u200d"
_WORD = re.compile(rf"[{_CJK}]+|(?:(?![{_CJK}])[^\W_]|[{_MARKS}])+")
_ACCENTS = re.compile("[\u0300-\u036f]")
_TAG = re.compile(r"""<(?:"[^"]*"|'[^']*'|[^'"<>])*>""")
"""Matches a tag. A `<` that begins none, as in HTML that an archive has brought, is not followed to the end."""

_STEMMERS = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian",
    "id": "indonesian", "it": "italian", "lt": "lithuanian", "nb": "norwegian", "ne": "nepali", "nl": "dutch",
    "nn": "norwegian", "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian",
    "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
"""The Snowball algorithms by language. Words of other languages keep their endings."""

_local = threading.local()


def plain_text(html: str) -> str:
    """Return the text of sanitized HTML, with a space for each tag."""
    return unescape(_TAG.sub(" ", html))


def terms_of(text: str, language: str) -> set[str]:
    """Return the terms of `text` in `language`, a locale such as `de-AT`; at most `MAX_TERMS`."""
    found: set[str] = set()
    for _start, _end, terms in _words(unicodedata.normalize("NFC", text), language):
        found.update(terms)
        if len(found) >= MAX_TERMS:
            break
    return found


def query_terms(text: str, language: str) -> list[str]:
    """Return the terms of a query; any text is one, even without words."""
    text = unicodedata.normalize("NFC", text[:MAX_QUERY])
    found = dict.fromkeys(term for _start, _end, terms in _words(text, language) for term in terms)
    return list(found)[:_MAX_QUERY_TERMS]


def marked(text: str, terms: Collection[str], language: str) -> list[Segment]:
    """Return `text` in segments, of which those with a word of `terms` are marked."""
    text = unicodedata.normalize("NFC", text)
    found: list[Segment] = []
    position = 0
    for start, end, of_word in _words(text, language):
        if not set(of_word).isdisjoint(terms):
            found += [(text[position:start], False), (text[start:end], True)]
            position = end
    found.append((text[position:], False))
    return [segment for segment in found if segment[0]]


def passage(text: str, terms: Collection[str], language: str) -> list[Segment]:
    """Return the first passage of `text` with a word of `terms`, or its beginning, in segments."""
    text = unicodedata.normalize("NFC", " ".join(text[:_LOOKED_THROUGH].split()))
    first = next((start for start, _end, found in _words(text, language) if not set(found).isdisjoint(terms)), 0)
    begin = max(0, first - _BEFORE)
    begin = text.find(" ", begin, first) + 1 or begin if begin else 0
    end = begin + _PASSAGE
    end = len(text) if end >= len(text) else max(text.rfind(" ", begin, end), begin + _BEFORE)
    segments = marked(text[begin:end], terms, language)
    before: list[Segment] = [("… ", False)] if begin else []
    after: list[Segment] = [(" …", False)] if end < len(text) else []
    return [*before, *segments, *after]


def _words(text: str, language: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yield start, end and terms of each word; of Chinese and Japanese, of each run of characters."""
    algorithm = _STEMMERS.get(language.partition("-")[0].partition("_")[0].lower())
    for match in _WORD.finditer(text):
        word = match[0]
        if not "\u3040" <= word[0] <= "\ufaff" or len(word) == 1 or not re.match(f"[{_CJK}]", word):
            yield match.start(), match.end(), [_term(word, algorithm)]
            continue
        for offset in range(len(word) - 1):
            yield match.start() + offset, match.start() + offset + 2, [word[offset : offset + 2]]


@lru_cache(maxsize=50_000)
def _term(word: str, algorithm: str | None) -> str:
    folded = word[:_TERM_LENGTH].casefold()
    if algorithm is not None:
        folded = _stemmer(algorithm).stemWord(folded)
    return _ACCENTS.sub("", unicodedata.normalize("NFKD", folded))[:_TERM_LENGTH] or word[:_TERM_LENGTH]


def _stemmer(algorithm: str) -> Any:
    """Return a stemmer of this thread: it keeps the word that it is working on."""
    known = _local.__dict__.setdefault("stemmers", {})
    if algorithm not in known:
        try:
            known[algorithm] = snowballstemmer.stemmer(algorithm)
        except KeyError:  # A release without this algorithm.
            known[algorithm] = _Whole()
    return known[algorithm]


class _Whole:
    def stemWord(self, word: str) -> str:  # noqa: N802 - As the stemmers call it.
        return word
