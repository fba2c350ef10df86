"""Map the old keys of a group of columns to the new ones."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID, uuid4, uuid5

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

from multisite.sites.archive.plan import Column

__all__ = ["IntegerKeys", "KeyMapping", "Place", "UuidKeys", "as_uuid"]

CHECKED_KEYS = 500
"""How many keys one statement looks up."""

Place = tuple[str, str]
"""The name of a table and of a column."""


class KeyMapping(Protocol):
    """A mapping of old keys to new ones. `owner` is the column that has them as its own."""

    owner: Place

    def note(self, key: Any, /) -> None:
        """Add an old key."""

    def allocate(self, connection: Connection, column: Column, *, keep: bool) -> None:
        """Choose the new keys, once all old ones are noted; with `keep` the old ones where they are free."""

    def keep(self) -> None:
        """Keep every key."""

    def __contains__(self, key: Any, /) -> bool: ...

    def __getitem__(self, key: Any, /) -> Any: ...


class IntegerKeys:
    """Integers that the database generates: sorted old keys, and the new one of each at the same position."""

    def __init__(self, owner: Place) -> None:
        self.owner = owner
        self._old = array("q")
        self._new = array("q")

    def note(self, key: int) -> None:
        """Add an old key."""
        self._old.append(key)

    def allocate(self, connection: Connection, column: Column, *, keep: bool) -> None:
        """Reserve a new key for each old one."""
        self._sort()
        if keep and not _is_any_taken(connection, column, self._old):
            self._new = self._old
            _advance_sequence(connection, column.column, max(self._old, default=0))
        else:
            self._new = array("q", _new_keys(connection, column.column, len(self._old)))

    def keep(self) -> None:
        """Keep every key."""
        self._sort()
        self._new = self._old

    def _sort(self) -> None:
        self._old = array("q", sorted(set(self._old)))

    def __contains__(self, key: int) -> bool:
        position = bisect_left(self._old, key)
        return position < len(self._old) and self._old[position] == key

    def __getitem__(self, key: int) -> int:
        position = bisect_left(self._old, key)
        if position == len(self._old) or self._old[position] != key:
            raise KeyError(key)
        return self._new[position]


class UuidKeys:
    """UUIDs, also in columns with text. They are kept, unless one of them is taken by another row.

    New ones are computed from the old ones and a secret, so that only the old keys are in memory while they are looked
    up. Other texts always stay.
    """

    def __init__(self, owner: Place) -> None:
        self.owner = owner
        self._old = bytearray()
        self._namespace: UUID | None = None

    def note(self, key: UUID | str) -> None:
        """Add an old key."""
        if (found := as_uuid(key)) is not None:
            self._old += found.bytes

    def allocate(self, connection: Connection, column: Column, *, keep: bool) -> None:
        """Choose new keys if one of the old ones is taken."""
        keys = (UUID(bytes=bytes(self._old[start : start + 16])) for start in range(0, len(self._old), 16))
        if column.kind.name == "text":
            forms: list[Any] = [form for key in keys for form in (str(key), key.hex)]
        else:
            forms = [column.kind.decode(str(key)) for key in keys]
        if _is_any_taken(connection, column, forms):
            self._namespace = uuid4()
        self._old.clear()

    def keep(self) -> None:
        """Keep every key."""
        self._old.clear()

    def __contains__(self, key: UUID | str) -> bool:
        return True

    def __getitem__(self, key: UUID | str) -> UUID | str:
        if self._namespace is None or (old := as_uuid(key)) is None:
            return key
        new = uuid5(self._namespace, old.hex)
        if isinstance(key, UUID):
            return new
        return str(new) if "-" in key else new.hex


def as_uuid(key: UUID | str) -> UUID | None:
    """Return a key as a UUID; None for any other text."""
    if isinstance(key, UUID):
        return key
    try:
        found = UUID(key)
    except ValueError:
        return None
    return found if key in {str(found), found.hex} else None


def _new_keys(connection: Connection, column: sa.Column[Any], count: int) -> list[int]:
    """Return `count` ascending keys for `column` that no row has: from its sequence, or else after the largest one."""
    if not count:
        return []
    if connection.dialect.name == "postgresql":
        sequence = _sequence(connection, column)
        if sequence is not None:
            return _from_sequence(connection, column, sequence, count)
    largest = connection.scalar(sa.select(sa.func.max(column))) or 0
    if connection.dialect.name == "sqlite":
        largest = max(largest, _sqlite_sequence(connection, column))
    return list(range(max(largest, 0) + 1, max(largest, 0) + 1 + count))


def _from_sequence(connection: Connection, column: sa.Column[Any], sequence: str, count: int) -> list[int]:
    numbers = sa.func.generate_series(1, count).table_valued("number").alias("multisite_numbers")
    next_key = sa.func.nextval(sa.cast(sequence, postgresql.REGCLASS))
    statement = sa.select(next_key).select_from(numbers)
    found = sorted(connection.scalars(statement))
    if connection.scalar(sa.select(sa.exists().where(column.between(found[0], found[-1])))):
        # The sequence is behind, as after rows were inserted with keys of their own.
        _advance_sequence(connection, column, connection.execute(sa.select(sa.func.max(column))).scalar_one())
        found = sorted(connection.scalars(statement))
    return found


def _is_any_taken(connection: Connection, column: Column, keys: Sequence[Any]) -> bool:
    for start in range(0, len(keys), CHECKED_KEYS):
        binds = [sa.bindparam(None, key, type_=column.kind.type) for key in keys[start : start + CHECKED_KEYS]]
        if connection.scalar(sa.select(sa.exists().where(column.column.in_(binds)))):
            return True
    return False


def _advance_sequence(connection: Connection, column: sa.Column[Any], key: int) -> None:
    """Advance the sequence of `column` past `key`; SQLite looks at the largest key itself."""
    sequence = _sequence(connection, column) if connection.dialect.name == "postgresql" else None
    if sequence is None:
        return
    name = sa.cast(sequence, postgresql.REGCLASS)
    current = connection.execute(sa.select(sa.func.nextval(name))).scalar_one()
    if key > current:
        connection.execute(sa.select(sa.func.setval(name, key)))


def _sequence(connection: Connection, column: sa.Column[Any]) -> str | None:
    """Return the name of the sequence of `column`, quoted, with its schema; None without one."""
    quote = connection.dialect.identifier_preparer
    if isinstance(column.default, sa.Sequence):
        return quote.format_sequence(column.default)
    table = quote.format_table(column.table)
    found: str | None = connection.scalar(sa.select(sa.func.pg_get_serial_sequence(table, column.name)))
    return found


def _sqlite_sequence(connection: Connection, column: sa.Column[Any]) -> int:
    """Return the largest key that AUTOINCREMENT has given; 0 without it."""
    master, sequence = (
        sa.table("sqlite_master", sa.column("name")),
        sa.table("sqlite_sequence", *map(sa.column, ("name", "seq"))),
    )
    if connection.scalar(sa.select(sa.func.count()).where(master.c.name == "sqlite_sequence")):
        return (
            connection.scalar(sa.select(sa.func.max(sequence.c.seq)).where(sequence.c.name == column.table.name)) or 0
        )
    return 0
