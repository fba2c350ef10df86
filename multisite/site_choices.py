"""The lists from which people choose the language and the time zone of a site, in forms."""

from __future__ import annotations

import re
from functools import lru_cache

from markupsafe import Markup, escape

__all__ = ["CHOSEN_COLUMNS", "choice_options"]

CHOSEN_COLUMNS = ("locale", "timezone")
"""The columns of a site that have such a list."""

_CONTINENTS = frozenset(
    {"Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"}
)
"""What the names of time zones begin with, unless they are kept for old programs only."""


_RARE = re.compile(r"[a-z]{3}_")
"""Countries of languages without a code of two letters are left out, because most of these have only one."""


def choice_options(column: str, language: str, chosen: str) -> Markup:
    """Return the options of a list, in HTML.

    Args:
        column: One of `CHOSEN_COLUMNS`.
        language: The language of the names, such as `de-AT`.
        chosen: The value that is chosen. It comes first if the list does not have it: otherwise a browser would choose
            the first of the list in its place.
    """
    options = _languages(language) if column == "locale" else _timezones()
    value = f'value="{escape(chosen)}"'
    if value not in options:
        options = f"<option {value}>{escape(chosen)}</option>{options}"
    return Markup(options.replace(value, f"{value} selected", 1))  # noqa: S704  Everything in it is escaped.


@lru_cache(maxsize=8)
def _languages(language: str) -> str:
    # Imported here, because loading Babel takes longer than everything else.
    from babel import Locale, UnknownLocaleError
    from babel.localedata import locale_identifiers

    try:
        shown_in = Locale.parse(language, sep="-")
    except (ValueError, UnknownLocaleError):
        shown_in = Locale("en")
    names = {
        each.replace("_", "-"): Locale.parse(each).get_display_name(shown_in) or each
        for each in locale_identifiers()
        if each != "root" and not _RARE.match(each)
    }
    ordered = sorted(names, key=lambda tag: (names[tag].casefold(), tag))
    return _options([(tag, f"{names[tag]} \u00b7 {tag}") for tag in ordered])


@lru_cache(maxsize=1)
def _timezones() -> str:
    from zoneinfo import available_timezones

    names = sorted(name for name in available_timezones() if name.partition("/")[0] in _CONTINENTS)
    return _options([(name, name) for name in ["UTC", *names]])


def _options(choices: list[tuple[str, str]]) -> str:
    return "".join(f'<option value="{escape(value)}">{escape(text)}</option>\n' for value, text in choices)
