"""New keys for the rows of an archive.

Columns that foreign keys connect hold the same keys, so they form a group with one mapping from old to new values. A
group needs new keys if the database generates them, or if a key is already taken there by another row.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN
from multisite.sites.archive.plan import ArchivePlan, SiteTable

__all__ = ["IntegerKeys", "KeyGroups", "key_groups"]

CHECKED_KEYS = 500
"""How many keys one statement looks up."""

Place = tuple[str, str]
"""The name of a table and of a column."""


@dataclass
class IntegerKeys:
    """The mapping of one group: sorted old keys, and the new key of each at the same position."""

    owner: Place
    old: array[int] = field(default_factory=lambda: array("q"))
    new: array[int] = field(default_factory=lambda: array("q"))

    def note(self, key: int) -> None:
        """Add an old key."""
        self.old.append(key)

    def __contains__(self, key: int) -> bool:
        position = bisect_left(self.old, key)
        return position < len(self.old) and self.old[position] == key

    def __getitem__(self, key: int) -> int:
        position = bisect_left(self.old, key)
        if position == len(self.old) or self.old[position] != key:
            raise KeyError(key)
        return self.new[position]

    def sort(self) -> None:
        """Sort the old keys, and drop repeated ones."""
        self.old = array("q", sorted(set(self.old)))


@dataclass
class KeyGroups:
    """The mappings of a plan, by table and column; a column without one keeps its values."""

    by_place: dict[Place, IntegerKeys]

    def owned_by(self, table: str, column: str) -> IntegerKeys | None:
        """Return the mapping whose keys are those of this column; None if there is none."""
        group = self.by_place.get((table, column))
        return group if group is not None and group.owner == (table, column) else None

    def sort(self) -> None:
        """Sort the old keys of all mappings, once all are noted."""
        for place, group in self.by_place.items():
            if place == group.owner:
                group.sort()

    def allocate(self, connection: Connection, tables: Iterable[SiteTable], *, keep: bool = False) -> None:
        """Reserve a new key for each old one; with `keep` the old ones, unless one of them is taken."""
        for table in tables:
            for column in table.columns:
                group = self.owned_by(table.name, column.name)
                if group is None:
                    continue
                if keep and not _is_any_taken(connection, column.column, group.old):
                    group.new = group.old
                    _advance_sequence(connection, column.column, max(group.old, default=0))
                else:
                    group.new = array("q", new_keys(connection, column.column, len(group.old)))

    def keep_all(self) -> None:
        """Let every key stay as it is, for a dry run."""
        for group in self.by_place.values():
            group.new = group.old

    def of(self, table: str, column: str) -> IntegerKeys | None:
        """Return the mapping of a column; None if it keeps its values."""
        return self.by_place.get((table, column))


def key_groups(plan: ArchivePlan) -> KeyGroups:
    """Return the mappings that rows of `plan` need, still empty.

    Raises:
        MultisiteError: A column refers to two tables with keys of their own.
    """
    links = [
        ((table.name, column), (reference.target, target))
        for table in plan.tables.values()
        for reference in table.references
        for column, target in reference.pairs
    ]
    leaders: dict[Place, Place] = {}

    def leader(place: Place) -> Place:
        while (above := leaders.setdefault(place, place)) != place:
            place = above
        return place

    for column, target in links:
        leaders[leader(column)] = leader(target)
    referring = {column for column, target in links if column != target}
    found: dict[Place, IntegerKeys] = {}
    for table in plan.tables.values():
        for name in _generated(table):
            if (table.name, name) in referring:
                continue
            group = leader((table.name, name))
            if group in found:
                raise MultisiteError(
                    f"{table.name}.{name} and {'.'.join(found[group].owner)} have keys of their own, and one column "
                    "refers to both: such rows cannot be given new keys"
                )
            found[group] = IntegerKeys((table.name, name))
    return KeyGroups({place: found[leader(place)] for place in [*leaders, *found] if leader(place) in found})


def _generated(table: SiteTable) -> Iterable[str]:
    """Return the columns of integer keys that are unique across sites, or that the database generates."""
    key = table.table.primary_key.columns
    holds_site = SITE_COLUMN in {column.name for column in key}
    for column in table.columns:
        if column.kind.name != "integer" or column.name not in table.key:
            continue
        if not holds_site or column.column.identity is not None or table.table.autoincrement_column is column.column:
            yield column.name


def new_keys(connection: Connection, column: sa.Column[Any], count: int) -> list[int]:
    """Return `count` ascending keys for `column` that no row has: from its sequence, or else after the largest one."""
    if not count:
        return []
    if connection.dialect.name == "postgresql":
        sequence = _sequence(connection, column)
        if sequence is not None:
            numbers = sa.func.generate_series(1, count).table_valued("number").alias("multisite_numbers")
            name = sa.cast(sequence, postgresql.REGCLASS)
            found = sa.select(sa.func.nextval(name)).select_from(numbers)
            return sorted(connection.scalars(found))
    largest = connection.scalar(sa.select(sa.func.max(column))) or 0
    if connection.dialect.name == "sqlite":
        largest = max(largest, _sqlite_sequence(connection, column))
    return list(range(max(largest, 0) + 1, max(largest, 0) + 1 + count))


def _is_any_taken(connection: Connection, column: sa.Column[Any], keys: array[int]) -> bool:
    for start in range(0, len(keys), CHECKED_KEYS):
        some = keys[start : start + CHECKED_KEYS].tolist()
        if connection.scalar(sa.select(sa.exists().where(column.in_(some)))):
            return True
    return False


def _advance_sequence(connection: Connection, column: sa.Column[Any], key: int) -> None:
    """Let the sequence of `column` continue after `key`; SQLite looks at the largest key itself."""
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
