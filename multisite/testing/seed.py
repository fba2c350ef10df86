"""Seed every scoped table of a database with canary rows.

Every column that can hold a canary gets its own text or number. Each table gets several rows, so that at least one is
likely to be shown: with flags set and unset, with and without dates in the past.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import product
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from multisite.core.current_site import using_site
from multisite.core.site import Site
from multisite.directory.models import DomainRow, SiteRow
from multisite.directory.tables import AS_MULTISITE, raise_version
from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN
from multisite.testing.canaries import Canaries
from multisite.testing.cleanup import remove_rows, scoped_tables

__all__ = ["CANARY_HOST", "CANARY_SITE", "Seeded", "Values", "seed"]

CANARY_HOST = "leak-canary.invalid"
"""The domain of the canary site; RFC 2606 reserves the top-level domain."""

CANARY_SITE = Site(1_899_999_999, CANARY_HOST, "Canary", CANARY_HOST)
"""Its name, host and id are not canaries: an application may show which sites exist."""

_VARIANTS = tuple(product((False, True), (False, True)))
"""For each row of a table: the value of its flags, and whether nullable columns without a canary get a value."""

Values = Mapping[str, Any]


class Seeded(NamedTuple):
    """The canary site, the number of its rows by table, and why a table or column was left out."""

    site: Site
    rows: dict[str, int]
    left_out: dict[str, str]


class UnfillableColumn(Exception):
    """No value is known for a column."""


def seed(engine: Engine, canaries: Canaries, values: Values | None = None) -> Seeded:
    """Create the canary site with rows in every scoped table of the database.

    If a killed run has left the site in the database, it is replaced.

    Args:
        engine: Connects to the database.
        canaries: Generates the values.
        values: Values for columns, by `table.column`, that would reject generated ones: a value, or a function that
            takes a canary text and the number of the row. None for none.

    Returns:
        What was created, and what could not be.
    """
    seeded = Seeded(CANARY_SITE, {}, {})
    if _is_planted(engine):
        remove_rows(engine, CANARY_SITE)
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(
            sa.insert(SiteRow).values(id=CANARY_SITE.id, name=CANARY_SITE.name, folder=CANARY_SITE.folder)
        )
        connection.execute(sa.insert(DomainRow).values(site_id=CANARY_SITE.id, host=CANARY_SITE.host, kind="canonical"))
        raise_version(connection)
    for table in scoped_tables(engine):
        _fill(engine, table, canaries, values or {}, seeded)
    return seeded


def _is_planted(engine: Engine) -> bool:
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return connection.scalar(sa.select(SiteRow.id).where(SiteRow.id == CANARY_SITE.id)) is not None


def _fill(engine: Engine, table: sa.Table, canaries: Canaries, values: Values, seeded: Seeded) -> None:
    planted = 0
    for number, (flag, filled) in enumerate(_VARIANTS):
        # A CHECK may reject canaries in a column that has a default, such as a status, or a reference beside a value.
        for refers, with_defaults in product((True, False), (False, True)):
            try:
                # One transaction for each row: PostgreSQL aborts the whole transaction after a failed INSERT.
                with using_site(seeded.site), engine.begin() as connection:
                    row = _Row(connection, table, canaries, values, number, flag, filled, with_defaults, refers)
                    connection.execute(table.insert().values(row.values()))
            except (SQLAlchemyError, MultisiteError, UnfillableColumn, ValueError, TypeError) as error:
                seeded.left_out[table.fullname] = " ".join(str(getattr(error, "orig", None) or error).split())
            else:
                planted += 1
                break
    seeded.rows[table.fullname] = planted
    if planted:
        seeded.left_out.pop(table.fullname, None)
        for column in table.columns:
            length = getattr(column.type, "length", None)
            is_text = isinstance(column.type, sa.String) and not isinstance(column.type, sa.Enum)
            if is_text and length is not None and length < len(canaries.prefix):
                seeded.left_out[f"{table.fullname}.{column.name}"] = f"{length} characters are too few"


def _place(column: sa.Column[Any], number: int) -> str:
    return f"{column.table.fullname}.{column.name} (row {number + 1})"


class _Row(NamedTuple):
    """One row to insert.

    `with_defaults` leaves out the columns that have a default; without `refers`, references are NULL where they can be.
    """

    connection: Connection
    table: sa.Table
    canaries: Canaries
    given: Values
    number: int
    flag: bool
    filled: bool
    with_defaults: bool
    refers: bool

    def values(self) -> dict[str, Any]:
        """Return the values of the row, by column; the scoping layer sets `site_id`."""
        found: dict[str, Any] = {}
        for constraint in self.table.foreign_key_constraints:
            found |= self._reference(constraint)
        for column in self.table.columns:
            given = self.given.get(f"{self.table.fullname}.{column.name}", _OMITTED)
            if given is not _OMITTED:
                text = self.canaries.text(_place(column, self.number))
                found[column.key] = given(text, self.number) if callable(given) else given
            elif column.key not in found and column.name != SITE_COLUMN and not _is_generated(column):
                value = self._value(column)
                if value is not _OMITTED:
                    found[column.key] = value
        return found

    def _value(self, column: sa.Column[Any]) -> Any:
        place = _place(column, self.number)
        if self.with_defaults and (column.default is not None or column.server_default is not None):
            return _OMITTED
        if column is self.table.autoincrement_column and not isinstance(column.type, sa.SmallInteger):
            return self.canaries.number(place, is_key=True)
        for kind, make in _CANARIES:
            if isinstance(_implementation(column.type), kind):
                return make(self.canaries, place, _implementation(column.type))
        if column.nullable and not self.filled:
            return _OMITTED
        for kind, made in _OTHERS:
            if isinstance(_implementation(column.type), kind):
                return made(_implementation(column.type), self.number, self.flag)
        if column.nullable or column.default is not None or column.server_default is not None:
            return _OMITTED
        raise UnfillableColumn(f"no value is known for {column.name} ({column.type!r})")

    def _reference(self, constraint: sa.ForeignKeyConstraint) -> dict[str, Any]:
        """Return values that refer to the canary row with the same number, or to any other."""
        target = constraint.referred_table
        columns = [column for column in constraint.columns if column.name != SITE_COLUMN]
        if not columns:
            return {}
        can_be_null = all(column.nullable for column in columns)
        if target is self.table or (can_be_null and not self.refers):
            keys = None
        else:
            elements = [element.column for element in constraint.elements]
            wanted = [element for element in elements if element.name != SITE_COLUMN]
            rows = self.connection.execute(sa.select(*wanted).select_from(target).order_by(*wanted).limit(99)).all()
            keys = rows[self.number % len(rows)] if rows else None
        if keys is not None:
            return {column.key: key for column, key in zip(columns, keys, strict=True)}
        if can_be_null:
            return {column.key: None for column in columns}
        raise UnfillableColumn(f"there is no row in {target.fullname} to refer to")


_OMITTED: Any = object()


def _implementation(type_: Any) -> Any:
    """Return the plain type behind a type decorator of the application."""
    while isinstance(type_, sa.types.TypeDecorator) and not isinstance(type_, sa.Interval):
        type_ = type_.impl_instance
    return type_


def _is_generated(column: sa.Column[Any]) -> bool:
    return column.computed is not None or (column.identity is not None and bool(column.identity.always))


def _canary_text(canaries: Canaries, place: str, type_: Any) -> str:
    text = canaries.text(place)
    return text if type_.length is None else text[: type_.length]


def _numeric(canaries: Canaries, place: str, type_: Any) -> Any:
    whole = None if type_.precision is None else type_.precision - (type_.scale or 0)
    if isinstance(type_, sa.Float):
        return float(canaries.number(place))
    return Decimal(canaries.number(place) if whole is None or whole >= 10 else 1)


def _first_member(type_: sa.Enum) -> Any:
    if type_.enum_class is not None:
        members: Iterable[enum.Enum] = type_.enum_class
        return next(iter(members))
    return type_.enums[0]


def _uuid(canaries: Canaries, place: str, type_: sa.Uuid[Any]) -> Any:
    found = canaries.uuid(place)
    return found if type_.as_uuid else str(found)


_CANARIES: tuple[tuple[Any, Callable[[Canaries, str, Any], Any]], ...] = (
    (sa.Enum, lambda _canaries, _place, type_: _first_member(type_)),
    (sa.String, _canary_text),
    (sa.SmallInteger, lambda _canaries, _place, _type: 1),
    (sa.Integer, lambda canaries, place, _type: canaries.number(place)),
    (sa.Numeric, _numeric),
    (sa.LargeBinary, lambda canaries, place, _type: canaries.text(place).encode()),
    (sa.JSON, lambda canaries, place, _type: {canaries.text(place): canaries.number(place)}),
    (sa.Uuid, _uuid),
)
"""Generators of canaries by type; a subclass comes before its base class."""


def _some_time_ago(number: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=1, hours=number)


def _datetime(type_: Any, number: int, _flag: bool) -> datetime:
    ago = _some_time_ago(number)
    return ago if type_.timezone else ago.replace(tzinfo=None)


_OTHERS: tuple[tuple[Any, Callable[[Any, int, bool], Any]], ...] = (
    (sa.Boolean, lambda _type, _number, flag: flag),
    (sa.DateTime, _datetime),
    (sa.Date, lambda _type, number, _flag: date.fromordinal(_some_time_ago(number).toordinal())),
    (sa.Time, lambda _type, number, _flag: time(number, 0)),
    (sa.Interval, lambda _type, number, _flag: timedelta(days=number)),
    (sa.ARRAY, lambda _type, _number, _flag: []),
)
"""Generators of values by type, for types that cannot hold a canary."""
