"""The slugs that Pelican makes from titles and names: https://docs.getpelican.com/en/stable/settings.html#url-settings.

Expressions of a configuration are not run, since one may take forever: what the default ones do is done here, and a
literal text is replaced.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["pelican_slug"]

_DEFAULTS = frozenset({r"[^\w\s-]", r"(?u)\A\s*", r"(?u)\s*\Z", r"[-\s]+", r"[^\w\s_-]"})
"""Expressions of Pelican's own: they drop punctuation and put a hyphen for each white space."""

_SPECIAL = re.compile(r"(?<!\\)[.^$*+?{}\[\]|()]|\\[A-Za-z0-9]")
_MAX_RULES = 100
_MAX_LENGTH = 1000
"""Characters that a title may have between two replacements."""


def pelican_slug(text: str, config: Mapping[str, Any], kind: str) -> str | None:
    """Return the slug of a title or name; None if it cannot be known.

    Args:
        text: The title of an article, or the name of a category, tag or author.
        config: Pelican's settings, with names in lower case.
        kind: `article`, `page`, `category`, `tag` or `author`.
    """
    for pattern, replacement in _rules(config, kind):
        if pattern in _DEFAULTS:
            continue
        if _SPECIAL.search(pattern) or len(text) > _MAX_LENGTH:
            return None
        literal = re.escape(re.sub(r"\\(.)", r"\1", pattern))
        text = re.sub(literal, replacement.replace("\\", r"\\"), text, flags=re.IGNORECASE)
    if not config.get("slugify_use_unicode"):
        if not all(map(_has_plain_form, text)):
            return None  # Pelican transliterates it, `日` to `ri`.
        text = _plain(text)
    slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip())
    return (slug if config.get("slugify_preserve_case") else slug.lower()) or None


_LATIN = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "đ": "d", "ł": "l", "Ł": "L", "œ": "oe", "Œ": "OE"}
)
"""Letters that Unicode does not take apart, as Pelican writes them."""


def _has_plain_form(character: str) -> bool:
    """Return whether `_plain` writes a character as Pelican does, which leaves out punctuation, space and accents."""
    return character.isascii() or unicodedata.category(character)[0] in "PZM" or bool(_plain(character))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKD", text.translate(_LATIN)).encode("ascii", "ignore").decode("ascii")


def _rules(config: Mapping[str, Any], kind: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of SLUG_REGEX_SUBSTITUTIONS, or those for one kind of names."""
    name = "slug" if kind in ("article", "page") else kind
    rules = config.get(f"{name}_regex_substitutions", config.get("slug_regex_substitutions"))
    for rule in rules[:_MAX_RULES] if isinstance(rules, (list, tuple)) else ():
        if isinstance(rule, (list, tuple)) and len(rule) == 2 and all(isinstance(part, str) for part in rule):
            yield rule[0], rule[1]
