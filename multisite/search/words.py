"""Find the words of a text, as they are indexed, searched for, and marked in a passage.

A word is reduced to a term: in lower case, without its ending (by the Snowball stemmer of the language), and without
accents. Chinese and Japanese have no spaces: each two adjacent characters are a term.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Collection, Iterator
from html import unescape
from itertools import islice
from typing import Any

import snowballstemmer  # type: ignore[import-untyped]

__all__ = [
    "MAX_TERMS",
    "TERM_LENGTH",
    "Segment",
    "marked",
    "passage",
    "plain_text",
    "plain_word",
    "terms_in_order",
    "terms_of",
]

MAX_TERMS = 10_000
"""Different terms of a row that are stored."""

TERM_LENGTH = 64
"""Characters of a term."""

_REMEMBERED = 50_000
_PASSAGE = 240
_BEFORE = 80
_LOOKED_THROUGH = 100_000

Segment = tuple[str, bool]
"""A piece of a text, and whether it is a word that was searched for."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Marks that belong to a word without being letters: those of Latin and of the scripts of India and Thailand.
_MARKS = "\u0300-\u036f\u0900-\u0963\u0966-\u0dff\u0e30-\u0e4f\u200c\u200d"
_WORD = re.compile(rf"[{_CJK}]+|(?:(?![{_CJK}])[^\W_]|[{_MARKS}])+")
_IS_CJK = re.compile(f"[{_CJK}]")
_PLAIN_WORD = re.compile(r"[^\W_]+")
"""Matches the words of a text without `_CJK_OR_MARK` as `_WORD` does, in a third of the time."""
_CJK_OR_MARK = re.compile(f"[{_CJK}{_MARKS}]")
_ACCENTS = re.compile("[\u0300-\u036f]")
_SPAN = re.compile(r"""</?span(?: class="[a-z0-9]{1,3}")?>""")
"""Matches a tag of highlighted code. It is within a line, and often within what a reader sees as one word."""

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
    """Return the text of sanitized HTML, with a space for each tag except those of highlighted code."""
    if "<span" in html:
        html = _SPAN.sub("", html)
    return unescape(_TAG.sub(" ", html))


def terms_of(text: str, language: str) -> set[str]:
    """Return the terms of `text` in `language`, a locale such as `de-AT`; at most `MAX_TERMS`."""
    text = unicodedata.normalize("NFC", text)
    if _CJK_OR_MARK.search(text) is None:
        words = dict.fromkeys(_PLAIN_WORD.findall(text))
        return set(map(_terms_by_word(_algorithm(language)).__getitem__, islice(words, MAX_TERMS)))
    words = dict.fromkeys(_WORD.findall(text))
    found = (term for _start, _end, terms in _words(" ".join(words), language) for term in terms)
    return set(islice(found, MAX_TERMS))


def plain_word(word: str) -> str:
    """Return a word in lower case and without accents, but with its ending."""
    return _plain(word[:TERM_LENGTH].casefold())


def terms_in_order(text: str, language: str) -> Iterator[tuple[str, str]]:
    """Yield each word of `text` with its term; of Chinese and Japanese, each two adjacent characters."""
    text = unicodedata.normalize("NFC", text)
    for start, end, terms in _words(text, language):
        yield text[start:end], terms[0]


def marked(text: str, terms: Collection[str], language: str) -> list[Segment]:
    """Return `text` in segments, of which those with a word of `terms` are marked."""
    text = unicodedata.normalize("NFC", text)
    found: list[Segment] = []
    position = 0
    for start, end, of_word in _words(text, language):
        if not set(of_word).isdisjoint(terms):
            begin = max(start, position)  # Two terms of Chinese or Japanese share a character.
            found += [(text[position:begin], False), (text[begin:end], True)]
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
    by_word = _terms_by_word(_algorithm(language))
    for match in _WORD.finditer(text):
        word = match[0]
        if word < "\u3040" or not _is_cjk(word):
            yield match.start(), match.end(), [by_word[word]]
            continue
        for offset in range(len(word) - 1):
            yield match.start() + offset, match.start() + offset + 2, [word[offset : offset + 2]]


def _is_cjk(word: str) -> bool:
    """Return whether the word is a run of several Chinese or Japanese characters."""
    return len(word) > 1 and word[0] <= "\ufaff" and _IS_CJK.match(word) is not None


def _algorithm(language: str) -> str | None:
    return _STEMMERS.get(language.partition("-")[0].partition("_")[0].lower())


class _Terms(dict[str, str]):
    """The terms of words of an algorithm, each made when it is first looked up. A thread has its own."""

    def __init__(self, algorithm: str | None) -> None:
        self._stem = _stemmer(algorithm).stemWord

    def __missing__(self, word: str) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        term = _plain(self._stem(word[:TERM_LENGTH].casefold())) or word[:TERM_LENGTH]
        if len(word) <= TERM_LENGTH:
            self[word] = term
        return term


def _plain(word: str) -> str:
    # A few letters decompose into several words. Terms are stored between spaces.
    plain = word if word.isascii() else _ACCENTS.sub("", unicodedata.normalize("NFKD", word)).replace(" ", "")
    return plain[:TERM_LENGTH]


def _terms_by_word(algorithm: str | None) -> _Terms:
    known: dict[str | None, _Terms] = _local.__dict__.setdefault("terms", {})
    if algorithm not in known:
        known[algorithm] = _Terms(algorithm)
    return known[algorithm]


def _stemmer(algorithm: str | None) -> Any:
    if algorithm is None:
        return _Whole()
    try:
        return snowballstemmer.stemmer(algorithm)
    except KeyError:  # A release without this algorithm.
        return _Whole()


class _Whole:
    def stemWord(self, word: str) -> str:  # noqa: N802 - As the stemmers call it.
        return word
