"""multisite's own table of words by which operators find sites: those of their names and of all their domains.

A statement with `LIKE '%text%'` reads every domain of every site. This table has the words with everything that follows
them, so that an index finds `example` in `www.example.com`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import sqlalchemy as sa

from multisite.directory.tables import metadata, sites_table

__all__ = ["begins_a_word", "is_common", "words_of", "words_table"]

MAX_CHARACTERS = 200
"""The length to which words, and texts that are searched for, are cut."""

COMMON_WORDS = 1_000
"""A beginning that more words have is common: the sites with it are not collected and sorted, but those of the list are
asked in their order, until a page is full."""

LAST_CHARACTER = "\U0010ffff"

_WORD_START = re.compile(r"(?<![^\W_])[^\W_]")

words_table = sa.Table(
    "multisite_site_words",
    metadata,
    sa.Column(
        "site_id",
        sa.BigInteger,
        sa.ForeignKey(sites_table.c.id, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    # In the order of code points, so that the words with the same beginning follow each other.
    sa.Column(
        "word",
        sa.String(MAX_CHARACTERS).with_variant(sa.String(MAX_CHARACTERS, collation="C"), "postgresql"),
        primary_key=True,
    ),
    sa.Index("ix_multisite_site_words_word_site_id", "word", "site_id"),
)
"""The words of sites as `words_of` returns them. `multisite.sites.site_words` writes them."""


def words_of(name: str, domains: Iterable[str]) -> set[str]:
    """Return the words of a site, each with everything that follows it, in lower case.

    A word begins at each letter or digit that follows none. Domains count in Unicode too.

    Args:
        name: The display name of the site.
        domains: Its domains, such as `xn--bcher-kva.example:8080/shop`.
    """
    texts = {name}
    for domain in domains:
        texts |= {domain, _in_unicode(domain)}
    normal = map(_normalize, texts)
    return {text[each.start() :][:MAX_CHARACTERS] for text in normal for each in _WORD_START.finditer(text)}


def begins_a_word(text: str, site_id: sa.ColumnElement[int], *, is_common: bool) -> sa.ColumnElement[bool]:
    """Return the condition that a word of the site with this id begins with `text`, in upper or lower case."""
    begins = _begins(text)
    if is_common:
        return sa.exists().where(words_table.c.site_id == site_id, begins)
    return site_id.in_(sa.select(words_table.c.site_id).where(begins))


def is_common(connection: sa.Connection, text: str) -> bool:
    """Return whether so many words begin with `text` that sites should be asked for it one by one."""
    some = sa.select(sa.literal(1)).select_from(words_table).where(_begins(text)).limit(COMMON_WORDS + 1)
    return connection.execute(sa.select(sa.func.count()).select_from(some.subquery())).scalar_one() > COMMON_WORDS


def _begins(text: str) -> sa.ColumnElement[bool]:
    normal = _normalize(text)
    first = _WORD_START.search(normal)
    if first is None:
        return sa.false()
    wanted, word = normal[first.start() :][:MAX_CHARACTERS], words_table.c.word
    return sa.and_(word >= wanted, word < wanted + LAST_CHARACTER)


def _normalize(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _in_unicode(domain: str) -> str:
    if "xn--" not in domain:
        return domain
    return re.sub(r"(?<![^.])xn--([a-z0-9-]+)", _decode_label, domain)


def _decode_label(found: re.Match[str]) -> str:
    try:
        text = found[1].encode().decode("punycode")
        text.encode()  # Half of a surrogate pair cannot be stored.
    except UnicodeError:
        return found[0]
    return text
