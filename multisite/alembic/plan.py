"""What changes in a table, and in those that refer to it, when it is given to sites or taken from them.

A plan is made before anything is changed, so that whatever cannot be done is refused while all is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from multisite.alembic.definition import SITE_COLUMN, mentions_site, with_on_delete, with_site, without_site
from multisite.alembic.naming import Naming
from multisite.alembic.schema import Key, Reference, Schema, Table, TableName
from multisite.errors import MultisiteError

__all__ = ["Change", "Options", "Plan", "label", "plan_drop", "plan_scope"]

Item = TypeVar("Item", Key, Reference)

_CLEARS = ("SET NULL", "SET DEFAULT")
_ACTIONS = ("CASCADE", "RESTRICT", "NO ACTION", *_CLEARS)


@dataclass(frozen=True)
class Options:
    """What the author of a revision says about single keys and references.

    `keep` names those that stay as they are; `on_delete` maps a reference to what it does instead; see `label`.
    """

    keep: frozenset[str] = frozenset()
    on_delete: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change(Generic[Item]):
    """A key or reference, and what is there afterwards: `definition` is None if nothing is."""

    old: Item
    name: str | None
    definition: str | None


@dataclass(frozen=True)
class Plan:
    """What changes: in the table itself (`added` are new constraints, name and definition), and in other tables."""

    table: Table
    keys: tuple[Change[Key], ...]
    references: tuple[Change[Reference], ...]
    incoming: tuple[Change[Reference], ...]
    added: tuple[tuple[str | None, str], ...] = ()


def label(item: Key | Reference, table: TableName) -> str:
    """Return how `keep` and `ondelete` name a key or reference of or to `table`.

    A key by its name, or as `UNIQUE (slug)` where it has none; a reference by its column, with the table before it
    if that is another one. `site_id` is left out, so that up and down say the same.
    """
    columns = ", ".join(column for column in item.columns if column != SITE_COLUMN)
    if isinstance(item, Key):
        return item.name or f"UNIQUE ({columns})"
    return columns if item.table == table else f"{item.table}.{columns}"


def plan_scope(schema: Schema, table: Table, naming: Naming, options: Options) -> Plan:
    """Return what makes `table` scoped. Raises `MultisiteError` for what cannot become part of a site."""
    _check_site_column(table)
    incoming = schema.incoming(table.name)
    _check_labels(table, incoming, options)
    keys = [_with_site(key, table, naming) for key in table.keys if _is_to_hold_site(key, table, options)]
    composite = _composite(table, keys)
    references = []
    for reference in table.references:
        targets = {SITE_COLUMN, *reference.target_columns}
        to_itself = reference.target == table.name and set(reference.target_columns) in composite
        target = table if reference.target == table.name else schema.table(reference.target)
        if (to_itself or (target.is_scoped and target.is_unique(targets))) and _is_free(reference, table, options):
            references.append(_with_site_too(reference, table, naming, options))
    changed = []
    for reference in incoming:
        takes_part = set(reference.target_columns) in composite and schema.table(reference.table).is_scoped
        if takes_part and _is_free(reference, table, options):
            changed.append(_with_site_too(reference, table, naming, options))
        else:
            _check_key_remains(reference, table, [change.old for change in keys])
    return Plan(
        table, _distinct(keys, table), tuple(references), tuple(changed), tuple(_added(schema, table, keys, naming))
    )


def plan_drop(schema: Schema, table: Table, naming: Naming, options: Options) -> Plan:
    """Return what makes the scoped `table` an ordinary one. Raises `MultisiteError` where `site_id` is needed."""
    if table.site_reference is None:
        raise MultisiteError(f"'{table.name}' belongs to no sites: it has no site_id that refers to sites")
    if SITE_COLUMN in table.primary_key:
        raise MultisiteError(f"site_id is part of the primary key of '{table.name}': change that first")
    incoming = schema.incoming(table.name)
    _check_labels(table, incoming, options)
    keys = []
    for key in table.keys:
        if not mentions_site(key.definition):
            continue
        rest = without_site(key.definition)
        columns = tuple(column for column in key.columns if column != SITE_COLUMN)
        if rest is not None and set(columns) == set(table.primary_key) and not key.is_index:
            rest = None
        if rest is not None and mentions_site(rest):
            raise MultisiteError(f"{key} of '{table.name}' is about site_id ({key.definition}): drop it first")
        keys.append(Change(key, naming.renamed(key, table.name, columns, ()), rest))
    references = [_without_site(each, naming, table, options) for each in table.references if _holds_site(each)]
    changed = [_without_site(each, naming, table, options) for each in incoming if _holds_site(each)]
    return Plan(table, _distinct(keys, table), tuple(references), tuple(changed))


def _holds_site(reference: Reference) -> bool:
    return SITE_COLUMN in reference.columns


def _check_site_column(table: Table) -> None:
    for reference in table.references:
        if SITE_COLUMN in reference.columns and reference.target.name != "sites":
            raise MultisiteError(
                f"'{table.name}' has a column site_id already, which refers to {reference.target}: rename it first"
            )


def _check_labels(table: Table, incoming: list[Reference], options: Options) -> None:
    keys = {label(key, table.name) for key in table.keys}
    references = {label(reference, table.name) for reference in (*table.references, *incoming)}
    names = {reference.name for reference in (*table.references, *incoming) if reference.name}
    for said, known in ((options.keep, keys | references | names), (options.on_delete, references)):
        for each in said:
            if each not in known:
                raise MultisiteError(
                    f"'{table.name}' has nothing called '{each}': it has {', '.join(sorted(known)) or 'nothing'}"
                )


def _is_to_hold_site(key: Key, table: Table, options: Options) -> bool:
    return key.unique and not mentions_site(key.definition) and _is_free(key, table, options)


def _is_free(item: Key | Reference, table: Table, options: Options) -> bool:
    """Return whether `item` may be changed: it holds no `site_id` yet, and the author does not want to keep it."""
    holds_site = isinstance(item, Reference) and _holds_site(item)
    return not holds_site and not {item.name, label(item, table.name)} & options.keep


def _with_site(key: Key, table: Table, naming: Naming) -> Change[Key]:
    return Change(key, naming.renamed(key, table.name, (SITE_COLUMN, *key.columns), ()), with_site(key.definition))


def _with_site_too(reference: Reference, table: Table, naming: Naming, options: Options) -> Change[Reference]:
    """Return the change of a reference between scoped tables, which cannot clear its columns any more."""
    action = _action(reference, table, options)
    said = label(reference, table.name)
    for event, does in (("DELETE", action), ("UPDATE", reference.on_update)):
        if does in _CLEARS:
            raise MultisiteError(
                f"{reference} has ON {event} {does}, which would clear site_id too. Say what is to be instead, as in "
                f"ondelete={{'{said}': 'NO ACTION'}}, or 'RESTRICT' or 'CASCADE', and clear the column in code before "
                f"a row of {reference.target} is deleted"
            )
    columns = (SITE_COLUMN, *reference.columns)
    name = naming.renamed(reference, reference.table, columns, (SITE_COLUMN, *reference.target_columns))
    return Change(reference, name, with_on_delete(with_site(reference.definition), action))


def _without_site(reference: Reference, naming: Naming, table: Table, options: Options) -> Change[Reference]:
    rest = without_site(reference.definition)
    columns = tuple(column for column in reference.columns if column != SITE_COLUMN)
    targets = tuple(column for column in reference.target_columns if column != SITE_COLUMN)
    if rest is None or not columns:
        return Change(reference, None, None)
    name = naming.renamed(reference, reference.table, columns, targets)
    return Change(reference, name, with_on_delete(rest, _action(reference, table, options)))


def _action(reference: Reference, table: Table, options: Options) -> str | None:
    """Return what `reference` is to do ON DELETE, None for NO ACTION."""
    action = options.on_delete.get(label(reference, table.name), reference.on_delete)
    if action is not None and action.upper() not in _ACTIONS:
        raise MultisiteError(f"ON DELETE {action} of {reference}: expected one of {', '.join(_ACTIONS)}")
    return None if action is None or action.upper() == "NO ACTION" else action.upper()


def _check_key_remains(reference: Reference, table: Table, changed: list[Key]) -> None:
    for key in changed:
        if set(key.columns) == set(reference.target_columns) != set(table.primary_key):
            raise MultisiteError(
                f"{reference} refers to {table.name} ({', '.join(reference.target_columns)}), which would be unique "
                f"within a site only: make {reference.table} scoped first, or keep the key with keep=['{key}']"
            )


def _distinct(changes: list[Change[Key]], table: Table) -> tuple[Change[Key], ...]:
    """Return `changes` with the old name where the new one would be another's, as short conventions make them."""
    changed = {change.old for change in changes}
    names = [change.name for change in changes if change.definition is not None]
    names += [key.name for key in table.keys if key not in changed]
    return tuple(
        replace(change, name=change.old.name) if names.count(change.name) > 1 else change for change in changes
    )


def _composite(table: Table, keys: list[Change[Key]]) -> list[set[str]]:
    """Return the columns that will be unique together with `site_id`, for references to turn to."""
    changed = {change.old for change in keys}
    holding = [key for key in table.keys if key.is_whole and (key in changed or SITE_COLUMN in key.columns)]
    return [set(table.primary_key), *(set(key.columns) - {SITE_COLUMN} for key in holding)]


def _added(schema: Schema, table: Table, keys: list[Change[Key]], naming: Naming) -> Iterator[tuple[str | None, str]]:
    """Yield the constraints that a scoped table has and this one has not: its key within a site, and its site."""
    columns = (SITE_COLUMN, *table.primary_key)
    become = [{SITE_COLUMN, *change.old.columns} for change in keys]
    if table.primary_key and not table.is_unique(set(columns)) and set(columns) not in become:
        # The name that a scoped model gives it.
        yield "_".join(["uq", table.name.name, *columns]), f"UNIQUE ({schema.quote(*columns)})"
    if table.site_reference is None:
        name = naming.of_reference(table.name, (SITE_COLUMN,), TableName(None, "sites"), ("id",))
        yield name, "FOREIGN KEY (site_id) REFERENCES sites (id)"
