"""Details of a site that people give: name, locale and time zone, checked before anything is written."""

from __future__ import annotations

from multisite.errors import MultisiteError, escape_for_message

__all__ = ["MAX_NAME_CHARACTERS", "check_locale", "check_name", "check_timezone"]

MAX_NAME_CHARACTERS = 200
"""The longest name of a site, for people."""

MAX_LOCALE_CHARACTERS = 35


def check_name(name: str) -> str:
    """Return `name` without white space around it. Raises `MultisiteError` if it cannot be the name of a site."""
    stripped = name.strip()
    if not stripped or len(stripped) > MAX_NAME_CHARACTERS or not stripped.isprintable():
        raise MultisiteError(
            f"'{escape_for_message(name)}' cannot be the name of a site: expected 1 to "
            f"{MAX_NAME_CHARACTERS} printable characters"
        )
    return stripped


def check_locale(tag: str) -> str:
    """Return the locale `tag` in its usual spelling, `de-AT` for `DE-at`. Raises `MultisiteError` if there is none."""
    # Only the command line comes here, and Babel's data cost more to load than the rest of it.
    from babel import Locale, UnknownLocaleError

    try:
        usual = str(Locale.parse(tag, sep="-")).replace("_", "-")
        Locale.parse(usual, sep="-")
    except (ValueError, TypeError, UnknownLocaleError):
        usual = ""
    if not usual or len(usual) > MAX_LOCALE_CHARACTERS:
        raise MultisiteError(f"'{escape_for_message(tag)}' is not a locale: expected a tag such as en, de or pt-BR")
    return usual


def check_timezone(name: str) -> str:
    """Return `name` if it is a time zone of the IANA database. Raises `MultisiteError` if it is not."""
    from zoneinfo import available_timezones

    # ZoneInfo(name) would take any file below the folder of zones. Some systems have one named localtime there.
    if name not in available_timezones() or name == "localtime":
        raise MultisiteError(
            f"'{escape_for_message(name)}' is not a time zone: expected a name of the IANA database such as "
            "UTC or Europe/Berlin"
        )
    return name
