"""What changes in a table, and in those that refer to it, when it is given to sites or taken from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from multisite.alembic.definition import SITE_COLUMN
from multisite.alembic.schema import Key, Reference, Table, TableName

__all__ = ["Change", "Item", "Plan", "ScopeOptions", "label", "plain"]

Item = TypeVar("Item", Key, Reference)


@dataclass(frozen=True)
class ScopeOptions:
    """What the author of a revision says about single keys and references.

    `keep` names those that stay as they are; `on_delete` maps a reference to what it does instead; see `label`.
    """

    keep: frozenset[str] = frozenset()
    on_delete: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change(Generic[Item]):
    """A key or reference, and what is there afterwards: `new` is None if nothing is."""

    old: Item
    new: Item | None


@dataclass(frozen=True)
class Plan:
    """What changes: in the table itself, which also gets what is `added`, and in tables that refer to it."""

    table: Table
    keys: tuple[Change[Key], ...]
    references: tuple[Change[Reference], ...]
    incoming: tuple[Change[Reference], ...]
    added: tuple[Key | Reference, ...] = ()


def label(item: Key | Reference, table: TableName) -> str:
    """Return how `keep` and `ondelete` name a key or reference of or to `table`.

    A key by its name, or as `UNIQUE (slug)` where it has none; a reference by its column, with the table before it
    if that is another one. `site_id` is left out, so that up and down say the same.
    """
    columns = ", ".join(plain(item.columns))
    if isinstance(item, Key):
        return item.name or f"UNIQUE ({columns})"
    return columns if item.table == table else f"{item.table}.{columns}"


def plain(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return `columns` without `site_id`."""
    return tuple(column for column in columns if column != SITE_COLUMN)
