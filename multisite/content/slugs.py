"""Slugs: the last part of an address, made from a title, a tag or a file's name."""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from multisite.content.limits import SLUG_LENGTH

__all__ = ["SlugPattern", "slugify"]

_MAX_TEXT = 5 * SLUG_LENGTH
"""Characters of a text that are looked at: to compose a long run of marks takes time with its square."""

_PLACES = re.compile(r"\{(slug|year|month|day)\}")
_HYPHENS = re.compile("-+")
_SIGNS = re.compile(r"(?<=[^\W\d_])[+#]+(?!\w)")
_SPOKEN = str.maketrans({"+": "-plus", "#": "-sharp"})


def slugify(text: str) -> str:
    """Return `text` in lower case with a hyphen for everything that is no letter or digit; may be empty.

    Letters of all scripts stay, composed (NFC), so that `Über uns` is `über-uns` from a Mac's file name and from a
    title alike. Marks that cannot be composed count as letters, as Hindi needs them. `+` and `#` at the end of a word
    are spoken, `c-plus-plus`, so that C, C++ and C# stay three tags.
    """
    composed = _SIGNS.sub(
        lambda match: match[0].translate(_SPOKEN), unicodedata.normalize("NFC", text[:_MAX_TEXT]).lower()
    )
    kept = "".join(c if c.isalnum() or unicodedata.category(c) in ("Mn", "Mc") else "-" for c in composed)
    return _HYPHENS.sub("-", kept).strip("-")[:SLUG_LENGTH].strip("-")


class SlugPattern:
    """How slugs are made: a text with `{slug}`, and if wanted `{year}`, `{month}` and `{day}` of publication.

    Raises `ValueError` for a text without `{slug}`, or with another name in braces.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        if "{slug}" not in pattern or set("{}") & set(_PLACES.sub("", pattern)):
            raise ValueError(f"{pattern!r}: expected a text with {{slug}}, and {{year}}, {{month}}, {{day}} if wanted")

    def apply(self, slug: str, day: date | None) -> str:
        """Return the slug of an entry that is published on `day`; `slug` itself where that is None, for a draft."""
        if day is None or self._pattern == "{slug}":
            return slug
        values = {"slug": slug, "year": f"{day:%Y}", "month": f"{day:%m}", "day": f"{day:%d}"}
        return slugify(_PLACES.sub(lambda match: values[match[1]], self._pattern))
