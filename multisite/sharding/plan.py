"""Plan the statements that distribute a database, and those that undo it.

Citus distributes a table only if it has no references to tables of another kind, and only with keys that hold the
distribution column. The plan therefore saves and drops references, replaces each PRIMARY KEY (id) by (site_id, id),
distributes the tables, those that others refer to first, and puts the references back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from multisite.scoping.column import SITE_COLUMN
from multisite.sharding.catalog import Catalog, KeyInfo, Placement, ReferenceInfo, TableInfo
from multisite.sharding.placement import parents_first, wanted_placements
from multisite.sharding.saved import SCHEMA, SavedStatement, create_statements, forget_sql, save_sql

__all__ = ["Batch", "DistributionPlan", "Step", "plan_distribution", "plan_undo"]


@dataclass(frozen=True)
class Step:
    """A statement, and the line of progress that precedes it, if any."""

    sql: str
    progress: str = ""


@dataclass(frozen=True)
class Batch:
    """Steps of one transaction, or, with `autocommit`, statements that each commit by themselves.

    `counted` are the tables whose number of rows must be the same after `steps` as before; `first` precedes counting.
    """

    steps: tuple[Step, ...]
    first: tuple[Step, ...] = ()
    counted: tuple[str, ...] = ()
    autocommit: bool = False


@dataclass(frozen=True)
class DistributionPlan:
    """The batches to run in order; none if there is nothing to do."""

    batches: tuple[Batch, ...]

    def statements(self) -> Iterator[str]:
        """Yield everything that is sent to the database, as a script for psql."""
        for batch in self.batches:
            steps = [f"{step.sql};" for step in (*batch.first, *batch.steps)]
            yield from steps if batch.autocommit else ["BEGIN;", *steps, "COMMIT;"]


_SEQUENTIAL = "SET LOCAL citus.multi_shard_modify_mode TO 'sequential'"
"""Without it, changing the shards of two tables in one transaction fails: parallel connections would deadlock."""

_UNSAFE_TRIGGERS = "SET LOCAL citus.enable_unsafe_triggers TO on"
"""Citus calls triggers on distributed tables unsafe. One that stays within its site works on one node only."""


def plan_distribution(
    catalog: Catalog,
    *,
    shards: int | None = None,
    allow_triggers: bool = False,
    concurrently: bool = False,
    only: str | None = None,
) -> DistributionPlan:
    """Plan the distribution of what is not distributed yet.

    Args:
        catalog: The database, without obstacles.
        shards: The number of shards of each table; None for the default of the server, `citus.shard_count`.
        allow_triggers: Whether triggers are to run on the workers.
        concurrently: Distribute each table in a transaction of its own that does not block writes. Until the end,
            there are no references between the tables; they are saved in the database.
        only: The only table to distribute; None for all.

    Returns:
        The plan, empty if everything is distributed.
    """
    wanted = wanted_placements(catalog)
    todo = {
        name for name, table in catalog.tables.items() if wanted.get(name, "local") not in ("local", table.placement)
    }
    todo &= todo if only is None else {only}
    scoped = parents_first(catalog, [name for name in todo if wanted[name] == "distributed"])
    copied = parents_first(catalog, [name for name in todo if wanted[name] == "reference"])
    settings = tuple(_settings(shards, allow_triggers=allow_triggers))
    dropped = [each for each in catalog.references if _is_in_the_way(each, wanted, todo)]
    removed = _remove(dropped, [catalog.tables[name] for name in scoped + copied])
    first = (*settings, *_lock(catalog, copied + scoped))
    prepare = (
        *map(Step, create_statements()),
        *(step for each in removed for step in each.steps(save=concurrently)),
        *(step for name in scoped for step in _swap_keys(catalog.tables[name])),
        *_functions(catalog, allow_triggers=allow_triggers),
        *(_copy(name) for name in copied),
    )
    colocated = _first_distributed(catalog, scoped)
    distribute = [_distribute(name, colocated, concurrently=concurrently) for name in scoped]
    pending = [each for each in catalog.saved if each.kind == "later"]
    restored = [step for each in pending for step in (Step(each.sql), Step(forget_sql(each)))]
    if not todo and not pending:
        batches = []
    elif concurrently:
        restored += [step for each in removed for step in (Step(each.saved.sql), Step(forget_sql(each.saved)))]
        session = tuple(Step(each.sql.replace("SET LOCAL", "SET")) for each in settings)
        batches = [
            Batch(prepare, first, tuple(copied)),
            Batch((*session, *distribute), autocommit=True),
            Batch(tuple(restored), settings),
        ]
    else:
        back = [Step(each.saved.sql) for each in removed]
        batches = [Batch((*prepare, *distribute, *restored, *back), first, (*copied, *scoped))]
    leftover = [*(name for name, table in catalog.tables.items() if table.leftover), *copied, *scoped]
    truncate = tuple(Step(f"SELECT truncate_local_data_after_distributing_table('{_text(name)}')") for name in leftover)
    return DistributionPlan((*batches, *([Batch(truncate, autocommit=True)] if truncate else ())))


def plan_undo(catalog: Catalog) -> DistributionPlan:
    """Plan the way back to a database without distributed tables, with the keys and references of before."""
    moved = [name for name, table in catalog.tables.items() if table.placement != "local" and not table.is_partition]
    keys = [each for each in catalog.saved if each.kind == "key"]
    pending = [each for each in catalog.saved if each.kind == "later"]
    if not moved and not catalog.saved:
        return DistributionPlan(())
    dropped = [each for each in catalog.references if each.table in moved or each.target in moved]
    removed = _remove(dropped, [catalog.tables[name] for name in moved])
    ordered = parents_first(catalog, moved)[::-1]
    first = (Step(_SEQUENTIAL), Step(_UNSAFE_TRIGGERS), *_lock(catalog, moved))
    steps = [step for each in removed for step in each.steps()]
    steps += [
        Step(f"SELECT undistribute_table('{_text(name)}')", f"{name}: back on the coordinator") for name in ordered
    ]
    for key in keys:
        steps += [Step(f"ALTER TABLE {key.table} DROP CONSTRAINT {key.name}"), Step(key.sql)]
    steps += [Step(each.sql) for each in [*(each.saved for each in removed), *pending]]
    steps.append(Step(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
    return DistributionPlan((Batch(tuple(steps), first, tuple(ordered)),))


@dataclass(frozen=True)
class _Removed:
    """A reference or trigger that is in the way: how to drop it, and how to recreate it."""

    drop: str
    saved: SavedStatement

    def steps(self, *, save: bool = False) -> Iterator[Step]:
        if save:
            yield Step(save_sql(self.saved))
        yield Step(self.drop)


def _remove(references: list[ReferenceInfo], tables: list[TableInfo]) -> list[_Removed]:
    """Return the references and the triggers of tables; a trigger would fire for each row that is copied to a shard."""
    removed = [
        _Removed(
            f"ALTER TABLE {each.table} DROP CONSTRAINT {each.name}",
            SavedStatement(
                "later", each.table, each.name, f"ALTER TABLE {each.table} ADD CONSTRAINT {each.name} {each.definition}"
            ),
        )
        for each in references
    ]
    for table in tables:
        removed += [
            _Removed(
                f"DROP TRIGGER {each.name} ON {table.name}",
                SavedStatement("later", table.name, each.name, each.definition),
            )
            for each in table.triggers
        ]
    return removed


def _settings(shards: int | None, *, allow_triggers: bool) -> Iterator[Step]:
    yield Step(_SEQUENTIAL)
    if shards is not None:
        yield Step(f"SET LOCAL citus.shard_count TO {shards}")
    if allow_triggers:
        yield Step(_UNSAFE_TRIGGERS)


def _lock(catalog: Catalog, names: list[str]) -> Iterator[Step]:
    """Yield the statement that keeps others away from the tables, and from those that refer to them.

    The rows counted are then those that are moved. A lock taken later would let a reader of both tables wait for us
    while we wait for it.
    """
    if names:
        referring = {each.table for each in catalog.references if each.target in names}
        yield Step(f"LOCK TABLE {', '.join(sorted({*names, *referring}))} IN ACCESS EXCLUSIVE MODE")


def _is_in_the_way(reference: ReferenceInfo, wanted: dict[str, Placement], todo: set[str]) -> bool:
    """Return whether a reference must be dropped until its tables are distributed.

    One from a local table to a copied one need not be: Citus adds the local table to its metadata.
    """
    if reference.table in todo:
        return wanted[reference.table] == "distributed" or reference.table != reference.target
    return reference.target in todo and wanted.get(reference.table) != "local"


def _swap_keys(table: TableInfo) -> Iterator[Step]:
    for key in _keys_without_site(table.keys):
        add = f"ALTER TABLE {table.name} ADD CONSTRAINT {key.name}"
        columns = ", ".join((SITE_COLUMN, *(_quoted(column) for column in key.columns)))
        yield Step(save_sql(SavedStatement("key", table.name, key.name, f"{add} {key.definition}")))
        yield Step(f"ALTER TABLE {table.name} DROP CONSTRAINT {key.name}")
        yield Step(f"{add} PRIMARY KEY ({columns})")


def _keys_without_site(keys: Iterable[KeyInfo]) -> list[KeyInfo]:
    return [key for key in keys if key.kind == "p" and SITE_COLUMN not in key.columns]


def _functions(catalog: Catalog, *, allow_triggers: bool) -> Iterator[Step]:
    """Yield the statements that create the functions of the application on each node, for its triggers."""
    if allow_triggers and any(table.triggers for table in catalog.tables.values()):
        for function in catalog.functions:
            yield Step(f"SELECT create_distributed_function('{_text(function)}')")


def _copy(name: str) -> Step:
    return Step(f"SELECT create_reference_table('{_text(name)}')", f"{name}: copied to each node")


def _first_distributed(catalog: Catalog, scoped: list[str]) -> str:
    """Return the table with whose shards those of all others are kept together."""
    there = sorted(name for name, table in catalog.tables.items() if table.placement == "distributed")
    return [*there, *scoped, ""][0]


def _distribute(name: str, colocated: str, *, concurrently: bool) -> Step:
    function = "create_distributed_table_concurrently" if concurrently else "create_distributed_table"
    place = "none" if name == colocated else _text(colocated)
    sql = f"SELECT {function}('{_text(name)}', '{SITE_COLUMN}', colocate_with => '{place}')"
    return Step(sql, f"{name}: distributed by {SITE_COLUMN}")


def _text(name: str) -> str:
    return name.replace("'", "''")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
