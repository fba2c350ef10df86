"""Compare the rows of a site with those that were to be inserted, in one pass and without keeping them in memory.

A trigger or the type of a column can change a value without an error. So the values of each row are read back and
hashed, and the sum of the hashes of a table is compared: it does not depend on the order of the rows.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import ROUND_HALF_UP, Context, Decimal
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import TypeEngine

from multisite.errors import MultisiteError
from multisite.sites.archive import cells
from multisite.sites.archive.plan import ArchivePlan, Column, SiteTable
from multisite.sites.archive.values import stored_type

__all__ = ["RowSum", "different_columns", "stable_texts", "stored_rows"]

BATCH_ROWS = 1000
"""How many rows are in memory at a time."""

_EXACT = Context(prec=20_000, rounding=ROUND_HALF_UP)
"""PostgreSQL rounds half away from zero, and has numbers with up to 16,383 digits after the point."""


class RowSum:
    """The number of some rows of a table, and a sum of the hashes of their values."""

    def __init__(self, columns: Sequence[Column], dialect: Dialect) -> None:
        self.rows = 0
        self.total = 0
        self._forms = [(column.name, _form(column, dialect)) for column in columns]

    def add(self, row: Any) -> None:
        """Add a row, a mapping with the values as they are bound or as they are read."""
        self.add_values([row[name] for name, _ in self._forms])

    def add_values(self, values: Iterable[Any]) -> None:
        """Add a row by its values, in the order of the columns."""
        compared = list(values)
        try:
            for number, (_, form) in enumerate(self._forms):
                if compared[number] is not None:
                    compared[number] = form(compared[number])
        except (ArithmeticError, ValueError, RecursionError, struct.error):
            pass  # An archive can contain a number that is too large for any form; it is compared as it is.
        digest = blake2b(repr(compared).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self.rows += 1
        self.total += int.from_bytes(digest)


def stored_rows(connection: Connection, plan: ArchivePlan, table: SiteTable) -> Iterator[Sequence[Any]]:
    """Yield the values of the rows of `table` that the current site has, in any order.

    Raises:
        MultisiteError: A value cannot be read with the type of its column.
    """
    labelled = (column.kind.column(column.column).label(f"c{n}") for n, column in enumerate(table.columns))
    statement = sa.select(*labelled).select_from(plan.source(table))
    try:
        found = connection.execute(statement, execution_options={"yield_per": BATCH_ROWS})
        for batch in found.partitions(BATCH_ROWS):
            yield from batch
    except (sa.exc.DBAPIError, ValueError, TypeError) as error:
        raise MultisiteError(
            f"the rows of {table.name} cannot be read after the import: {getattr(error, 'orig', error)}"
        ) from error


def different_columns(
    connection: Connection, plan: ArchivePlan, table: SiteTable, expected: Iterable[dict[str, Any]]
) -> list[str]:
    """Return the columns of `table` whose values are not the expected ones."""
    pairs = [
        (column.name, RowSum([column], connection.dialect), RowSum([column], connection.dialect))
        for column in table.columns
    ]
    for row in expected:
        for _, before, _ in pairs:
            before.add(row)
    for values in stored_rows(connection, plan, table):
        for (_, _, after), value in zip(pairs, values, strict=True):
            after.add_values([value])
    return [name for name, before, after in pairs if before.total != after.total]


@contextmanager
def stable_texts(connection: Connection) -> Iterator[None]:
    """Let PostgreSQL write values as text in one form, whatever the settings of the server and of the role are."""
    if connection.dialect.name != "postgresql":
        yield
        return
    former: dict[str, str] = {
        name: connection.execute(sa.select(sa.func.current_setting(name))).scalar_one() for name in _TEXT_SETTINGS
    }
    _set_local(connection, _TEXT_SETTINGS)
    yield
    _set_local(connection, former)


_TEXT_SETTINGS = {"intervalstyle": "iso_8601", "timezone": "UTC", "datestyle": "ISO, YMD"}


def _set_local(connection: Connection, values: dict[str, str]) -> None:
    for name, value in values.items():
        connection.execute(sa.select(sa.func.set_config(name, value, True)))


def _form(column: Column, dialect: Dialect) -> Callable[[Any], Any]:
    """Return the function that brings values of a column into the form in which they are compared."""
    return _form_of(column.kind.name, column.column.type, column.kind.encode, dialect)


def _form_of(
    kind: str, declared: TypeEngine[Any], encode: Callable[[Any], Any], dialect: Dialect
) -> Callable[[Any], Any]:
    if kind.startswith("array of "):
        item: Any = stored_type(declared, dialect)
        inner = _form_of(kind.removeprefix("array of "), item.item_type, _same, dialect)
        return lambda value: _each(inner, value)
    if kind == "json":
        return _json_form
    if dialect.name == "sqlite":
        return _float_form if kind in {"float", "numeric"} else encode
    if kind == "numeric":
        scale = getattr(stored_type(declared, dialect), "scale", None)
        return _decimal_form if scale is None else lambda value: _rounded_form(value, scale)
    # Not the stored type: for text and numbers, SQLAlchemy has one for all types that the driver treats alike.
    ddl = declared.compile(dialect=dialect) if kind in {"float", "text"} else ""
    return _FORMS.get(kind) or next((form for start, form in _DDL_FORMS.items() if re.match(start, ddl)), encode)


def _same(value: Any) -> Any:
    return value


def _each(form: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, list):
        return [_each(form, item) for item in value]
    return None if value is None else form(value)


def _float_form(value: Any) -> Any:
    return float(value) + 0.0


def _single_form(value: Any) -> Any:
    return struct.unpack("f", struct.pack("f", value))[0] + 0.0


def _decimal_form(value: Any) -> Any:
    number = Decimal(value)
    return _EXACT.normalize(number) if number else 0


def _rounded_form(value: Any, scale: int) -> Any:
    """Return a number as its type reads it: SQLite stores numbers with more digits than the column declares."""
    number = Decimal(value)
    return _decimal_form(_EXACT.quantize(number, Decimal(1).scaleb(-scale)) if number.is_finite() else number)


def _padded_form(value: Any) -> Any:
    # PostgreSQL fills up a CHAR with spaces.
    return value.rstrip(" ")


def _json_form(value: Any) -> Any:
    """Return JSON without the order of members and the form of numbers, which JSONB does not keep."""
    text = value if isinstance(value, str) else repr(value)
    return json.loads(text, parse_float=_decimal_form, parse_int=_decimal_form, object_pairs_hook=_members)


def _members(pairs: list[tuple[str, Any]]) -> Any:
    return tuple(sorted(dict(pairs).items()))


_FORMS = {"interval": cells.duration_parts}
_DDL_FORMS = {
    r"CHAR\b": _padded_form,
    r"REAL\b|FLOAT\((\d|1\d|2[0-4])\)": _single_form,
    r"FLOAT\b|DOUBLE\b": _float_form,
}
"""The forms of types of PostgreSQL."""
