"""New keys for the rows of an archive.

Columns that foreign keys connect hold the same keys, so they form a group with one mapping from old to new values. A
group needs new keys if the database generates them, or if a key is already taken there by another row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.errors import MultisiteError
from multisite.scoping.column import SITE_COLUMN
from multisite.sites.archive.key_mappings import IntegerKeys, KeyMapping, Place, UuidKeys
from multisite.sites.archive.plan import ArchivePlan, Column, SiteTable

__all__ = ["KeyGroups", "key_groups"]


@dataclass
class KeyGroups:
    """The mappings of a plan, by table and column; a column without one keeps its values."""

    by_place: dict[Place, KeyMapping]

    def owned_by(self, table: str, column: str) -> KeyMapping | None:
        """Return the mapping whose keys are those of this column; None if there is none."""
        group = self.by_place.get((table, column))
        return group if group is not None and group.owner == (table, column) else None

    def allocate(self, connection: Connection, tables: Iterable[SiteTable], *, keep: bool = False) -> None:
        """Choose a new key for each old one; with `keep` the old ones, unless one of them is taken."""
        for table in tables:
            for column in table.columns:
                group = self.owned_by(table.name, column.name)
                if group is not None:
                    group.allocate(connection, column, keep=keep)

    def keep_all(self) -> None:
        """Keep every key, for a dry run."""
        for group in self.by_place.values():
            group.keep()

    def of(self, table: str, column: str) -> KeyMapping | None:
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
    leader = _leaders(links)
    referring = {column for column, target in links if column != target}
    found: dict[Place, KeyMapping] = {}
    for table in plan.tables.values():
        own = {name for name in table.key if (table.name, name) not in referring}
        for column in _unique_across_sites(table, own):
            place = (table.name, column.name)
            group = leader(place)
            if group in found:
                raise MultisiteError(
                    f"{'.'.join(place)} and {'.'.join(found[group].owner)} have keys of their own, and one column "
                    "refers to both: such rows cannot be given new keys"
                )
            found[group] = IntegerKeys(place) if column.kind.name == "integer" else UuidKeys(place)
    places = {place for link in links for place in link} | set(found)
    return KeyGroups({place: found[leader(place)] for place in places if leader(place) in found})


def _leaders(links: Iterable[tuple[Place, Place]]) -> Callable[[Place], Place]:
    """Return a function that returns the same place for all places that `links` connect."""
    above: dict[Place, Place] = {}

    def leader(place: Place) -> Place:
        while (found := above.get(place, place)) != place:
            place = found
        return place

    for column, target in links:
        one, other = leader(column), leader(target)
        if one != other:
            above[one] = other
    return leader


def _unique_across_sites(table: SiteTable, own: set[str]) -> Iterator[Column]:
    """Yield the columns whose values no other site may have: one of the key, and those that the database generates.

    `own` are the columns of the key that refer to no other table.
    """
    holds_more = SITE_COLUMN in {column.name for column in table.table.primary_key} or own != set(table.key)
    for column in table.columns:
        if column.name in own:
            generated = column.column.identity is not None or table.table.autoincrement_column is column.column
            if generated or (not holds_more and column.kind.name in {"integer", "uuid", "text"}):
                holds_more = True
                yield column
        elif column.kind.name in {"uuid", "text"} and _is_unique(table, column.column):
            yield column


def _is_unique(table: SiteTable, column: sa.Column[Any]) -> bool:
    """Return whether a constraint or an index makes the values of a column unique that refers to no other table."""
    if column.foreign_keys:
        return False
    uniques = [each.columns for each in table.table.constraints if isinstance(each, sa.UniqueConstraint)]
    uniques += [each.columns for each in table.table.indexes if each.unique]
    return any([each.name for each in columns] == [column.name] for columns in uniques)
