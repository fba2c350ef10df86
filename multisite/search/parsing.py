"""Queries: words, `"phrases in quotation marks"` and the beginnings of words, `begin*`. Any text is a query."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from multisite.search.tables import BUCKET_PREFIX
from multisite.search.words import plain_word, terms_in_order

__all__ = ["MAX_QUERY", "Prefix", "Query", "parse_query"]

MAX_QUERY = 200
"""Characters of a query that are used."""

_MAX_WANTED = 8
_ENDING = 6
"""Characters that a stemmer removes at most."""

_QUOTATION_MARKS = str.maketrans(dict.fromkeys("„“”«»", '"'))
_PHRASE = re.compile(r'"([^"]*)"')
_BEGINNING = re.compile(r"([^\W_]+)\*")


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of a word. `shorter` are terms that a word with this beginning may have, without its ending."""

    text: str
    shorter: tuple[str, ...]

    def begins(self, word: str, term: str) -> bool:
        """Return whether a word with this term begins with the prefix."""
        return term.startswith(self.text) or (term in self.shorter and plain_word(word).startswith(self.text))


@dataclass(frozen=True, slots=True)
class Query:
    """What a row has to contain.

    `terms` and `prefixes` can be looked up in the index. Each of `phrases` is a run of terms, of which the index knows
    only that a row has all of them.
    """

    terms: tuple[str, ...]
    prefixes: tuple[Prefix, ...]
    phrases: tuple[tuple[str, ...], ...]

    @property
    def wanted(self) -> list[str | Prefix]:
        """The terms and the prefixes."""
        return [*self.terms, *self.prefixes]

    @property
    def needs_texts(self) -> bool:
        """Whether only its text says if a row is a hit."""
        return bool(self.phrases or self.prefixes)

    def is_met_by(self, texts: Sequence[str], language: str) -> bool:
        """Return whether a row with these texts, which has all terms, has the phrases and prefixes too.

        A phrase is in one of the texts.
        """
        words = [list(terms_in_order(text, language)) for text in texts]
        return all(
            any(_has_phrase([term for _, term in each], phrase) for each in words) for phrase in self.phrases
        ) and all(any(prefix.begins(*each) for part in words for each in part) for prefix in self.prefixes)

    def terms_to_mark(self, texts: Iterable[str], language: str) -> set[str]:
        """Return the terms of the words that are marked in `texts`."""
        found = set(self.terms)
        if self.prefixes:
            every = (each for text in texts for each in terms_in_order(text, language))
            found.update(term for word, term in every if any(prefix.begins(word, term) for prefix in self.prefixes))
        return found


def parse_query(text: str, language: str) -> Query:
    """Return the query that `text` is, in the language of the site."""
    text = unicodedata.normalize("NFC", text[:MAX_QUERY]).translate(_QUOTATION_MARKS)
    phrases = [tuple(term for _, term in terms_in_order(found, language)) for found in _PHRASE.findall(text)]
    prefixes: dict[Prefix, None] = {}

    def take(found: re.Match[str]) -> str:
        prefix = _prefix(found[1], language)
        if prefix is None:
            return found[0]
        prefixes[prefix] = None
        return " "

    rest = _BEGINNING.sub(take, _PHRASE.sub(" ", text))
    terms = dict.fromkeys(term for phrase in phrases for term in phrase)
    terms |= dict.fromkeys(term for _, term in terms_in_order(rest, language))
    kept = list(terms)[:_MAX_WANTED]
    return Query(
        tuple(kept),
        tuple(prefixes)[: _MAX_WANTED - len(kept)],
        tuple(phrase for phrase in phrases if len(phrase) > 1),
    )


def _prefix(word: str, language: str) -> Prefix | None:
    """Return the prefix, None if it is too short to be looked up, or of a language without spaces."""
    text, terms = plain_word(word), [term for _, term in terms_in_order(word, language)]
    if len(text) < BUCKET_PREFIX or len(terms) != 1:
        return None
    shorter = {text[:length] for length in range(max(BUCKET_PREFIX, len(text) - _ENDING), len(text))} | set(terms)
    return Prefix(text, tuple(sorted(each for each in shorter if each[:BUCKET_PREFIX] == text[:BUCKET_PREFIX])))


def _has_phrase(terms: Sequence[str], phrase: Sequence[str]) -> bool:
    first, length = phrase[0], len(phrase)
    start = -1
    while True:
        try:
            start = terms.index(first, start + 1)
        except ValueError:
            return False
        if tuple(terms[start : start + length]) == phrase:
            return True
