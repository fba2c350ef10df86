"""The JSON of values in an archive: `..._cell` functions make it, `parse_...` functions read it.

Each `parse_` function raises `ValueError` or `TypeError` with what it expects, for any other JSON.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

__all__ = [
    "bytes_cell",
    "decimal_cell",
    "duration_cell",
    "duration_parts",
    "float_cell",
    "json_cell",
    "parse_boolean",
    "parse_bytes",
    "parse_decimal",
    "parse_duration_text",
    "parse_float",
    "parse_integer",
    "parse_json",
    "parse_naive",
    "parse_sqlite_number",
    "parse_text",
    "parse_timedelta",
    "parse_utc",
    "parse_utc_as_naive",
    "parse_zoned_time",
    "parse_zoned_time_as_naive",
    "parser_of",
    "utc_cell",
    "zoned_time_cell",
]


def parse_integer(cell: Any) -> int:
    """Return a 64-bit integer."""
    if type(cell) is not int or not -(2**63) <= cell < 2**63:
        raise ValueError("a 64-bit integer")
    return cell


def parse_boolean(cell: Any) -> bool:
    """Return a truth value."""
    if type(cell) is not bool:
        raise ValueError("true or false")
    return cell


def parse_text(cell: Any) -> str:
    """Return a string."""
    if type(cell) is not str:
        raise ValueError("a string")
    return cell


def float_cell(value: Any) -> Any:
    """Return a number, or a string for infinity and NaN."""
    number = float(value)
    return number if math.isfinite(number) else str(number)


def parse_float(cell: Any) -> float:
    """Return a floating-point number."""
    if type(cell) is str and cell in {"inf", "-inf", "nan"}:
        return float(cell)
    if type(cell) not in (int, float):
        raise ValueError("a number")
    return float(cell)


def parse_decimal(cell: Any) -> Decimal:
    """Return a decimal number."""
    try:
        return Decimal(parse_text(cell) if type(cell) is not int else cell)
    except InvalidOperation:
        raise ValueError("a decimal number as a string") from None


def decimal_cell(value: Any) -> str:
    """Return a decimal number as a string."""
    return repr(value) if isinstance(value, float) else str(value)


def parse_sqlite_number(cell: Any) -> float | int:
    """Return a decimal number as SQLAlchemy stores it on SQLite."""
    # As SQLAlchemy stores a Decimal there.
    number = parse_decimal(cell)
    return int(number) if number == number.to_integral_value() and abs(number) < 2**53 else float(number)


def bytes_cell(value: Any) -> str:
    """Return bytes in Base64."""
    return base64.b64encode(bytes(value)).decode()


def parse_bytes(cell: Any) -> bytes:
    """Return the bytes of Base64."""
    return base64.b64decode(parse_text(cell), validate=True)


def json_cell(value: Any) -> str:
    """Return the text of JSON."""
    # SQLite turns the text of a number into one: the type JSON has the affinity NUMERIC there.
    return value if isinstance(value, str) else repr(value)


def parse_json(cell: Any) -> str:
    """Return the text of JSON, which is checked."""
    text = parse_text(cell)
    json.loads(text)
    return text


def parser_of(cls: type[date]) -> Callable[[Any], Any]:
    """Return a function that parses the ISO 8601 of a date or a time."""
    return lambda cell: cls.fromisoformat(parse_text(cell))


def utc_cell(value: datetime) -> str:
    """Return a time in UTC; without a zone it is in UTC already."""
    in_utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return in_utc.isoformat()


def parse_utc(cell: Any) -> datetime:
    """Return a time in UTC."""
    value = datetime.fromisoformat(parse_text(cell))
    if value.tzinfo is None:
        raise ValueError("a time with its zone")
    return value.astimezone(UTC)


def parse_utc_as_naive(cell: Any) -> datetime:
    """Return a time in UTC without its zone."""
    return parse_utc(cell).replace(tzinfo=None)


def parse_naive(cell: Any) -> datetime:
    """Return a time without a zone."""
    value = datetime.fromisoformat(parse_text(cell))
    if value.tzinfo is not None:
        raise ValueError("a time without a zone")
    return value


def zoned_time_cell(value: time) -> str:
    """Return a time of day with its zone, by default UTC."""
    return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).isoformat()


def parse_zoned_time(cell: Any) -> time:
    """Return a time of day with its zone."""
    value = time.fromisoformat(parse_text(cell))
    if value.tzinfo is None:
        raise ValueError("a time with its zone")
    return value


def parse_zoned_time_as_naive(cell: Any) -> time:
    """Return a time of day in UTC without its zone."""
    value = parse_zoned_time(cell)
    if value.utcoffset():
        raise ValueError("a time in UTC, since SQLite has no zones")
    return value.replace(tzinfo=None)


_DURATION = re.compile(
    r"P(?:(-?\d{1,9})Y)?(?:(-?\d{1,9})M)?(?:(-?\d{1,9})D)?"
    r"(?:T(?:(-?\d{1,15})H)?(?:(-?\d{1,15})M)?(?:(-?\d{1,15}(?:\.\d{1,6})?)S)?)?"
)


def duration_cell(value: timedelta) -> str:
    """Return a duration of ISO 8601."""
    micro = f".{value.microseconds:06}" if value.microseconds else ""
    return f"P{value.days}DT{value.seconds}{micro}S"


def parse_duration_text(cell: Any) -> str:
    """Return the text of a duration, which is checked."""
    if not _DURATION.fullmatch(parse_text(cell)):
        raise ValueError("a duration of ISO 8601")
    return str(cell)


def duration_parts(text: str) -> tuple[int, int, int]:
    """Return the months, the days and the microseconds of a duration. Raises `ValueError` if it is not valid."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError("a duration of ISO 8601")
    years, months, days, hours, minutes, seconds = (Decimal(each or 0) for each in found.groups())
    return int(years * 12 + months), int(days), int((hours * 3600 + minutes * 60 + seconds) * 1_000_000)


def parse_timedelta(cell: Any) -> timedelta:
    """Return a duration, which has no months."""
    months, days, microseconds = duration_parts(parse_text(cell))
    if months:
        raise ValueError("a duration without months and years, which SQLite cannot store")
    return timedelta(days=days, microseconds=microseconds)
