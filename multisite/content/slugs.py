"""Slugs: the last part of a URL, made from a title, a tag or a file name."""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from multisite.content.limits import SLUG_LENGTH

__all__ = ["SlugPattern", "slugify"]

_MAX_TEXT = 5 * SLUG_LENGTH
"""Characters of a text that are used: composing a long run of combining marks takes quadratic time."""

_PLACES = re.compile(r"\{(slug|year|month|day)\}")
_HYPHENS = re.compile("-+")
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
"""What is its own slug, unless it is too long."""
_SIGNS = re.compile(r"(?<=[^\W\d_])[+#]+(?!\w)")
_SPOKEN = str.maketrans({"+": "-plus", "#": "-sharp"})


def slugify(text: str) -> str:
    """Return `text` in lower case, with hyphens for everything but letters and digits; may be empty.

    Letters of all scripts are kept and composed (NFC), so that `Über uns` becomes `über-uns` from a title and from a
    file name on macOS alike. Marks that cannot be composed count as letters, as in Hindi. `+` and `#` at the end of a
    word are spelled out, as in `c-plus-plus`, so that C, C++ and C# stay different tags.
    """
    if len(text) <= SLUG_LENGTH and _SLUG.fullmatch(text):
        return text
    composed = _SIGNS.sub(
        lambda match: match[0].translate(_SPOKEN), unicodedata.normalize("NFC", text[:_MAX_TEXT]).lower()
    )
    kept = "".join(c if c.isalnum() or unicodedata.category(c) in ("Mn", "Mc") else "-" for c in composed)
    return _HYPHENS.sub("-", kept).strip("-")[:SLUG_LENGTH].strip("-")


class SlugPattern:
    """A pattern for slugs: a text with `{slug}`, and optionally `{year}`, `{month}` and `{day}` of publication.

    Raises:
        ValueError: `{slug}` is missing, or there is another name in braces.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        if "{slug}" not in pattern or set("{}") & set(_PLACES.sub("", pattern)):
            raise ValueError(f"{pattern!r}: expected a text with {{slug}}, and optionally {{year}}, {{month}}, {{day}}")

    def apply(self, slug: str, day: date | None) -> str:
        """Return the slug of an entry published on `day`; `slug` unchanged if that is None, for a draft."""
        if day is None or self._pattern == "{slug}":
            return slug
        values = {"slug": slug, "year": f"{day:%Y}", "month": f"{day:%m}", "day": f"{day:%d}"}
        return slugify(_PLACES.sub(lambda match: values[match[1]], self._pattern))
