"""The values of columns in an archive: how each type is read from a database, written as JSON, and read back.

A kind is the same on SQLite and PostgreSQL, so that a site can move between them. Values are those that the database
stores, below any `TypeDecorator`: an encrypted text stays encrypted, and a type of the application's own is not needed
to read an archive. A type without a kind of its own is kept as PostgreSQL writes it, and can only go to a column of the
same type.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine, UserDefinedType

from multisite.sites.archive import cells

__all__ = ["Kind", "converter", "holds_pickles", "kind_of", "stored_type"]


class StoredValue(UserDefinedType[Any]):
    """The type of values as the driver takes and returns them.

    Not `NullType`: in an INSERT, SQLAlchemy replaces that by the type of the column, which would convert values again.
    """

    cache_ok = True


@dataclass(frozen=True, slots=True)
class Kind:
    """How the values of a column are stored in an archive.

    `type` is what SQLAlchemy reads and binds them with; with `as_text` the database writes them as text. `encode` turns
    a value into JSON, and `decode` turns it back; it raises `ValueError` or `TypeError` for anything else. Neither is
    called for NULL, which is null.
    """

    name: str
    type: TypeEngine[Any]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    as_text: bool = False

    def column(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Return the expression that reads `column`."""
        return (
            sa.type_coerce(sa.cast(column, sa.Text), StoredValue())
            if self.as_text
            else sa.type_coerce(column, self.type)
        )


def kind_of(declared: TypeEngine[Any], dialect: Dialect) -> Kind:
    """Return the kind of a column with the type `declared` in a database of `dialect`."""
    found, on_sqlite = stored_type(declared, dialect), dialect.name == "sqlite"
    for types, make in _KINDS:
        if isinstance(found, types):
            return make(found, on_sqlite)
    if isinstance(found, sa.ARRAY):
        return _array(found, dialect)
    name = "untyped" if isinstance(found, NullType) else found.compile(dialect=dialect)
    return Kind(f"{dialect.name} {name}", StoredValue(), _tagged, _untagged, as_text=not on_sqlite)


def converter(source: str, target: str, declared: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    """Return a function that converts JSON of the kind `source` to the kind `target`; None if there is no such one.

    Kinds differ if a type has another form on each database, such as an array that is JSON on SQLite.
    """
    if source == target:
        return _same
    if source == "uuid" and target == "text":
        # By convention a CHAR(32) holds the digits alone.
        return (lambda cell: UUID(cell).hex) if getattr(declared, "length", None) == 32 else _same
    if source.startswith("array") and target == "json":
        return json.dumps
    if source == "json" and target.startswith("array"):
        return json.loads
    return _same if (source, target) in _COMPATIBLE else None


_COMPATIBLE = {("text", "uuid"), ("numeric", "text"), ("text", "numeric"), ("integer", "numeric"), ("integer", "float")}


def holds_pickles(declared: TypeEngine[Any]) -> bool:
    """Return whether reading a value of this type executes code in it."""
    while isinstance(declared, TypeDecorator) and not isinstance(declared, sa.PickleType):
        declared = declared.impl_instance
    return isinstance(declared, sa.PickleType)


def stored_type(declared: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """Return the type that the database stores, for a type of SQLAlchemy or of the application."""
    found = declared.dialect_impl(dialect)
    while isinstance(found, TypeDecorator) and not isinstance(found, sa.Interval):
        found = found.impl_instance.dialect_impl(dialect)
    return found


def _same(value: Any) -> Any:
    return value


def _with_time(found: sa.DateTime | sa.Time, on_sqlite: bool) -> Kind:
    """Return the kind of a time; with a zone it is in UTC, also on SQLite, which has no zones."""
    used = found if on_sqlite else StoredValue()
    if isinstance(found, sa.DateTime):
        if found.timezone:
            return Kind(
                "datetime in UTC", used, cells.utc_cell, cells.parse_utc_as_naive if on_sqlite else cells.parse_utc
            )
        return Kind("datetime", used, datetime.isoformat, cells.parse_naive)
    if found.timezone:
        return Kind(
            "time in a zone",
            used,
            cells.zoned_time_cell,
            cells.parse_zoned_time_as_naive if on_sqlite else cells.parse_zoned_time,
        )
    return Kind("time", used, time.isoformat, lambda cell: time.fromisoformat(cells.parse_text(cell)))


def _array(found: sa.ARRAY[Any], dialect: Dialect) -> Kind:
    item = stored_type(found.item_type, dialect)
    kind = kind_of(found.item_type, dialect)
    if isinstance(item, sa.Enum):
        item = postgresql.ENUM(*item.enums, name=item.name, schema=item.schema, create_type=False)
    elif kind.as_text:
        # PostgreSQL's own notation of the whole array.
        return Kind(f"postgresql {found.compile(dialect=dialect)}", StoredValue(), _tagged, _untagged, as_text=True)
    used: TypeEngine[Any] = postgresql.ARRAY(item, dimensions=found.dimensions)
    return Kind(f"array of {kind.name}", used, _each(kind.encode), _list_of(kind.decode))


def _each(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def of(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [of(item) for item in value]
        return None if value is None else convert(value)

    return of


def _list_of(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    of = _each(convert)

    def checked(cell: Any) -> Any:
        if type(cell) is not list:
            raise ValueError("a list")
        return of(cell)

    return checked


def _tagged(value: Any) -> Any:
    """Return the JSON of a value of any type that SQLite or PostgreSQL's text notation has."""
    return {"base64": cells.bytes_cell(value)} if isinstance(value, (bytes, memoryview)) else value


def _untagged(cell: Any) -> Any:
    if type(cell) is dict and list(cell) == ["base64"]:
        return cells.parse_bytes(cell["base64"])
    if type(cell) not in (str, int, float):
        raise ValueError("a string or a number")
    return cell


def _interval(_found: Any, on_sqlite: bool) -> Kind:
    if on_sqlite:
        return Kind("interval", sa.Interval(), cells.duration_cell, cells.parse_timedelta)
    return Kind("interval", StoredValue(), _same, cells.parse_duration_text, as_text=True)


def _uuid(found: Any, on_sqlite: bool) -> Kind:
    if on_sqlite:
        return Kind("uuid", sa.Uuid(native_uuid=found.native_uuid), str, UUID)
    return Kind("uuid", StoredValue(), str, lambda cell: str(UUID(cell)))


def _simple(name: str, encode: Callable[[Any], Any], decode: Callable[[Any], Any]) -> Callable[[Any, bool], Kind]:
    return lambda _found, _on_sqlite: Kind(name, StoredValue(), encode, decode)


_KINDS: tuple[tuple[Any, Callable[[Any, bool], Kind]], ...] = (
    ((sa.Interval, postgresql.INTERVAL), _interval),
    (
        sa.JSON,
        lambda _, on_sqlite: Kind("json", StoredValue(), cells.json_cell, cells.parse_json, as_text=not on_sqlite),
    ),
    (sa.Uuid, _uuid),
    ((sa.DateTime, sa.Time), _with_time),
    (
        sa.Date,
        lambda found, on_sqlite: Kind(
            "date", found if on_sqlite else StoredValue(), date.isoformat, cells.parser_of(date)
        ),
    ),
    (sa.Boolean, lambda _, __: Kind("boolean", sa.Boolean(create_constraint=False), bool, cells.parse_boolean)),
    ((sa.LargeBinary, sa.BINARY, sa.VARBINARY), _simple("binary", cells.bytes_cell, cells.parse_bytes)),
    (sa.Integer, _simple("integer", int, cells.parse_integer)),
    (sa.Float, _simple("float", cells.float_cell, cells.parse_float)),
    (
        sa.Numeric,
        lambda _, on_sqlite: Kind(
            "numeric",
            StoredValue(),
            cells.decimal_cell,
            cells.parse_sqlite_number if on_sqlite else cells.parse_decimal,
        ),
    ),
    # Also an enumeration: the archive has the stored labels, and the database checks them.
    (sa.String, _simple("text", str, cells.parse_text)),
)
"""The kinds, by the types that a database stores. The first that fits is used: a Float is also a Numeric."""
