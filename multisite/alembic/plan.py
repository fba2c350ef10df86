"""The changes to a table, and to the tables that refer to it, that add or remove its scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from multisite.alembic.schema import Key, Reference, Table, TableName
from multisite.scoping.column import SITE_COLUMN

__all__ = ["Change", "Item", "Plan", "ScopeOptions", "label", "plain"]

Item = TypeVar("Item", Key, Reference)


@dataclass(frozen=True)
class ScopeOptions:
    """The arguments of an operation about single keys and references, which are named as `label` names them.

    `keep` lists those that stay unchanged; `on_delete` maps references to their new ON DELETE action.
    """

    keep: frozenset[str] = frozenset()
    on_delete: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change(Generic[Item]):
    """A key or reference before and after; `new` is None if it is dropped."""

    old: Item
    new: Item | None


@dataclass(frozen=True)
class Plan:
    """The changes to a table: to its keys and references, to `incoming` references, and constraints to be `added`."""

    table: Table
    keys: tuple[Change[Key], ...]
    references: tuple[Change[Reference], ...]
    incoming: tuple[Change[Reference], ...]
    added: tuple[Key | Reference, ...] = ()


def label(item: Key | Reference, table: TableName) -> str:
    """Return the name that `keep` and `ondelete` use for a key of `table`, or for a reference from or to it.

    A key goes by its name, or by `UNIQUE (slug)` if it has none; a reference by its column, qualified if it belongs to
    another table. `site_id` is left out, so that upgrade and downgrade use the same names.
    """
    columns = ", ".join(plain(item.columns))
    if isinstance(item, Key):
        return item.name or f"UNIQUE ({columns})"
    return columns if item.table == table else f"{item.table}.{columns}"


def plain(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return `columns` without `site_id`."""
    return tuple(column for column in columns if column != SITE_COLUMN)
