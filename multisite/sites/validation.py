"""Validate the display name, the locale and the time zone of a site before they are written."""

from __future__ import annotations

from functools import lru_cache

from multisite.errors import MultisiteError, escape_for_message

__all__ = ["MAX_NAME_CHARACTERS", "check_locale", "check_name", "check_timezone"]

MAX_NAME_CHARACTERS = 200
"""The maximum length of a display name."""

MAX_LOCALE_CHARACTERS = 35
"""The maximum length of a locale: the size of the column."""


def check_name(name: str) -> str:
    """Return the display name `name`, stripped. Raises `MultisiteError` if it is not valid."""
    stripped = name.strip()
    if not stripped or len(stripped) > MAX_NAME_CHARACTERS or not stripped.isprintable():
        raise MultisiteError(
            f"'{escape_for_message(name)}' is not a valid site name: expected 1 to "
            f"{MAX_NAME_CHARACTERS} printable characters"
        )
    return stripped


@lru_cache(maxsize=1000)
def check_locale(tag: str) -> str:
    """Return the locale `tag` in canonical form, `de-AT` for `DE-at`. Raises `MultisiteError` if it is unknown."""
    # Imported here, because loading Babel takes longer than everything else.
    from babel import Locale, UnknownLocaleError

    try:
        canonical = str(Locale.parse(tag, sep="-")).replace("_", "-")
        Locale.parse(canonical, sep="-")
    except (ValueError, TypeError, UnknownLocaleError):
        canonical = ""
    if not canonical or len(canonical) > MAX_LOCALE_CHARACTERS:
        raise MultisiteError(f"'{escape_for_message(tag)}' is not a locale: expected a tag such as en, de or pt-BR")
    return canonical


@lru_cache(maxsize=1000)
def check_timezone(name: str) -> str:
    """Return `name` if it is a time zone in the IANA database. Raises `MultisiteError` if not."""
    from zoneinfo import available_timezones

    # ZoneInfo(name) would accept any file in the folder of zones, where some systems have one named localtime.
    if name not in available_timezones() or name == "localtime":
        raise MultisiteError(
            f"'{escape_for_message(name)}' is not a time zone: expected a name of the IANA database such as "
            "UTC or Europe/Berlin"
        )
    return name
