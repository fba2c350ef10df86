"""Split alembic's operations into those to run before ours, those after, and those ours replace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from alembic.operations import MigrateOperation, ops
from sqlalchemy import Dialect

from multisite.alembic.declared import is_same
from multisite.alembic.projection import Projection
from multisite.alembic.schema import Key, Reference, Table, TableName
from multisite.scoping.column import SITE_COLUMN

__all__ = ["dropped_items", "split_around"]


def split_around(
    projection: Projection, operations: Iterable[MigrateOperation]
) -> tuple[list[MigrateOperation], list[MigrateOperation]]:
    """Return alembic's operations to run before ours and those to run after, without those that ours replace."""
    before: list[MigrateOperation] = []
    after: list[MigrateOperation] = []
    operations = list(operations)
    dialect = projection.connection.dialect
    gone = {(each.schema, each.table_name) for each in operations if isinstance(each, ops.DropTableOp)}
    for operation in operations:
        if not isinstance(operation, ops.ModifyTableOps):
            # A dropped table may refer to one that was scoped: the downgrade recreates it after that is scoped again.
            (before if isinstance(operation, ops.DropTableOp) else after).append(operation)
            continue
        if (operation.schema, operation.table_name) in gone:
            before.append(operation)
            continue
        name = TableName(operation.schema, operation.table_name)
        first: list[MigrateOperation] = []
        then: list[MigrateOperation] = []
        for each in operation.ops:
            if name in projection.after and _is_covered(each, projection.before[name], projection.after[name], dialect):
                continue
            drops = name in projection.after and isinstance(each, (ops.DropConstraintOp, ops.DropIndexOp))
            (first if drops else then).append(each)
        for part, where in ((first, before), (then, after)):
            if part:
                where.append(ops.ModifyTableOps(operation.table_name, part, schema=operation.schema))
    return before, after


def _is_covered(operation: MigrateOperation, before: Table, after: Table, dialect: Dialect) -> bool:
    """Return whether our operations, which turn the table `before` into `after`, already do `operation`."""
    if isinstance(operation, ops.AddColumnOp):
        return operation.column.name == SITE_COLUMN and SITE_COLUMN in after.columns
    if isinstance(operation, ops.DropColumnOp):
        return operation.column_name == SITE_COLUMN and SITE_COLUMN not in after.columns
    existing: set[Key | Reference] = {*before.keys, *before.references}
    planned: set[Key | Reference] = {*after.keys, *after.references}
    if isinstance(operation, (ops.DropConstraintOp, ops.DropIndexOp)):
        return any(is_same(item, _subject(operation), dialect) for item in existing - planned)
    if isinstance(operation, (ops.AddConstraintOp, ops.CreateIndexOp)):
        return any(is_same(item, _subject(operation), dialect) for item in planned)
    return False


def dropped_items(upgrade_ops: ops.UpgradeOps) -> Iterator[tuple[TableName, object]]:
    """Yield each constraint or index that alembic drops, with its table."""
    for operation in upgrade_ops.ops:
        if isinstance(operation, ops.ModifyTableOps):
            for each in operation.ops:
                if isinstance(each, (ops.DropConstraintOp, ops.DropIndexOp)):
                    yield TableName(operation.schema, operation.table_name), _subject(each)


def _subject(
    operation: ops.DropConstraintOp | ops.DropIndexOp | ops.AddConstraintOp | ops.CreateIndexOp,
) -> object:
    """Return the constraint or index that an operation of alembic adds or drops."""
    if isinstance(operation, (ops.DropIndexOp, ops.CreateIndexOp)):
        return operation.to_index()
    return operation.to_constraint()
