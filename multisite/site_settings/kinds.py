"""The kinds of values that a setting of a site can have: what they are called, and how they are read from text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, get_args, get_origin

__all__ = ["MAX_VALUE_CHARACTERS", "SettingType", "setting_type_for"]

MAX_VALUE_CHARACTERS = 10_000
"""The longest text of a value. It is kept in memory with its site."""

_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})", re.ASCII)
_FLOAT = re.compile(rf"{_DECIMAL.pattern}([eE][+-]?\d{{1,3}})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SettingType:
    """A kind of values.

    `name` is what people call it, `expected` what an error says was expected. `parse` turns a text into a value, and
    raises any exception for one that is none; `serialize` turns a value into the text that means it. One that
    `is_open` is a callable of the application, whose values need not have a text.
    """

    name: str
    expected: str
    parse: Callable[[str], Any]
    serialize: Callable[[Any], str] = str
    is_open: bool = False


def setting_type_for(declared: Any) -> SettingType:
    """Return the kind that `config.add_site_setting` was given: a type, a tuple of words to choose from, a callable.

    Raises `TypeError` for anything else.
    """
    if isinstance(declared, tuple):
        return _choice(declared)
    if declared is list or (get_origin(declared) is list and get_args(declared) == (str,)):
        return _LIST
    found = _KINDS.get(declared) if isinstance(declared, type) else None
    if found is not None:
        return found
    if not callable(declared) or get_origin(declared) is not None:
        raise TypeError(
            f"expected str, int, float, bool, Decimal, list[str], a tuple of words or a callable, not {declared!r}"
        )
    name = getattr(declared, "__name__", type(declared).__name__)
    return SettingType(name, f"a text that {name} takes", declared, is_open=True)


def _text(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError
    return text


def _whole(text: str) -> int:
    # By pattern: int() takes underscores, and digits of all scripts.
    return int(_matching(_WHOLE, text))


def _float(text: str) -> float:
    number = float(_matching(_FLOAT, text))
    if not isfinite(number):
        raise ValueError
    return number


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(_matching(_DECIMAL, text))
    except InvalidOperation:
        raise ValueError from None


def _boolean(text: str) -> bool:
    # Pyramid's asbool takes every word that it does not know for a no.
    if text.strip().lower() not in {"true", "false"}:
        raise ValueError
    return text.strip().lower() == "true"


def _list(text: str) -> tuple[str, ...]:
    # A tuple, since one value is given to all requests of all threads.
    return tuple(item for part in re.split("[,\n]", _text(text)) if (item := part.strip()))


def _matching(pattern: re.Pattern[str], text: str) -> str:
    stripped = text.strip()
    if not pattern.fullmatch(stripped):
        raise ValueError
    return stripped


def _serialize_boolean(value: Any) -> str:
    # Not bool(): a default that is none of the two words is refused.
    return str(value).lower()


def _serialize_list(value: Any) -> str:
    if isinstance(value, str):
        raise TypeError("a list, not one text")
    return ", ".join(value)


def _choice(words: tuple[Any, ...]) -> SettingType:
    if not words or not all(isinstance(word, str) for word in words):
        raise TypeError(f"a tuple of words to choose from holds texts, not {words!r}")

    def choose(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return SettingType("one of " + ", ".join(words), "one of " + ", ".join(words), choose)


_LIST = SettingType("list", "texts separated by commas", _list, _serialize_list)

_KINDS: dict[type, SettingType] = {
    str: SettingType("text", "a text", _text),
    int: SettingType("whole number", "a whole number", _whole),
    float: SettingType("number", "a number such as 2.5", _float, repr),
    bool: SettingType("true or false", "true or false", _boolean, _serialize_boolean),
    # Not str(), which may write an exponent.
    Decimal: SettingType("decimal number", "a decimal number such as 9.90", _decimal, "{:f}".format),
}
