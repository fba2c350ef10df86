"""The types of settings: how each is named, parsed and serialized.

These are general types for the settings that an application declares. `multisite.core.setting_parsers` parses
multisite's own settings, with limits and messages of their own; only the rule for booleans is the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, get_args, get_origin

from multisite.core.lazy import lazy_pattern

__all__ = ["MAX_VALUE_CHARACTERS", "SettingType", "setting_type_for"]

MAX_VALUE_CHARACTERS = 10_000
"""The maximum length of a value's text, which is kept in memory with its site."""

_INTEGER = lazy_pattern(r"[+-]?\d{1,18}", re.ASCII)
_DIGITS = r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})"
_DECIMAL = lazy_pattern(_DIGITS, re.ASCII)
_FLOAT = lazy_pattern(rf"{_DIGITS}([eE][+-]?\d{{1,3}})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SettingType:
    """The type of a setting.

    `name` is for display, `expected` for error messages. `parse` turns a text into a value, and raises any exception if
    the text is not valid; `serialize` turns a value into its text. If `is_open`, the type is a callable of the
    application, whose values need not have a text. `choices` are the values of a choice.
    """

    name: str
    expected: str
    parse: Callable[[str], Any]
    serialize: Callable[[Any], str] = str
    is_open: bool = False
    choices: tuple[str, ...] = ()


def setting_type_for(declared: Any) -> SettingType:
    """Return the setting type for `declared`: a type, a tuple of strings, a callable, or a setting type.

    Raises:
        TypeError: `declared` is anything else.
    """
    if isinstance(declared, SettingType):
        return declared
    if isinstance(declared, tuple):
        return _choice(declared)
    if declared is list or (get_origin(declared) is list and get_args(declared) == (str,)):
        return _LIST
    found = _TYPES.get(declared) if isinstance(declared, type) else None
    if found is not None:
        return found
    if not callable(declared) or get_origin(declared) is not None:
        raise TypeError(
            f"expected str, int, float, bool, Decimal, list[str], a tuple of strings or a callable, not {declared!r}"
        )
    name = getattr(declared, "__name__", type(declared).__name__)
    return SettingType(name, f"a text that {name} accepts", declared, is_open=True)


def _parse_text(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError
    return text


def _parse_integer(text: str) -> int:
    # Matched by a pattern, because int() accepts underscores and digits of all scripts.
    return int(_matching(_INTEGER, text))


def _parse_float(text: str) -> float:
    number = float(_matching(_FLOAT, text))
    if not isfinite(number):
        raise ValueError
    return number


def _parse_decimal(text: str) -> Decimal:
    try:
        return Decimal(_matching(_DECIMAL, text))
    except InvalidOperation:
        raise ValueError from None


def _parse_boolean(text: str) -> bool:
    # Pyramid's asbool reads every unknown word as false.
    if text.strip().lower() not in {"true", "false"}:
        raise ValueError
    return text.strip().lower() == "true"


def _parse_list(text: str) -> tuple[str, ...]:
    # A tuple, because all threads share the value.
    return tuple(item for part in re.split("[,\n]", _parse_text(text)) if (item := part.strip()))


def _matching(pattern: re.Pattern[str], text: str) -> str:
    stripped = text.strip()
    if not pattern.fullmatch(stripped):
        raise ValueError
    return stripped


def _serialize_boolean(value: Any) -> str:
    # Not bool(), so that a default that is not a boolean is rejected.
    return str(value).lower()


def _serialize_list(value: Any) -> str:
    if isinstance(value, str):
        raise TypeError("a list, not a string")
    return ", ".join(value)


def _choice(choices: tuple[Any, ...]) -> SettingType:
    if not choices or not all(isinstance(choice, str) for choice in choices):
        raise TypeError(f"a tuple of choices contains strings, not {choices!r}")

    def choose(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    name = "one of " + ", ".join(choices)
    return SettingType(name, name, choose, choices=choices)


_LIST = SettingType("list", "texts separated by commas", _parse_list, _serialize_list)

_TYPES: dict[type, SettingType] = {
    str: SettingType("text", "a text", _parse_text),
    int: SettingType("whole number", "a whole number", _parse_integer),
    float: SettingType("number", "a number such as 2.5", _parse_float, repr),
    bool: SettingType("true or false", "true or false", _parse_boolean, _serialize_boolean),
    # Not str(), which may use an exponent.
    Decimal: SettingType("decimal number", "a decimal number such as 9.90", _parse_decimal, "{:f}".format),
}
