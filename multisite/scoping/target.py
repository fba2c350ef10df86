"""What a statement changes: its table, and the columns or elements of columns that it sets. No I/O."""

from __future__ import annotations

from typing import Any

from sqlalchemy.sql.elements import BinaryExpression, BindParameter, Null, Slice
from sqlalchemy.sql.operators import getitem, json_getitem_op, json_path_getitem_op

from multisite.scoping.predicate import table_of

__all__ = ["is_element", "target_of"]

_SUBSCRIPTS = frozenset({getitem, json_getitem_op, json_path_getitem_op})
"""The operators of `column[index]`."""


def target_of(statement: Any) -> Any:
    """Return the table that is changed.

    For bulk changes of a model with several tables this is not `statement.table`: SQLAlchemy compiles the same
    statement once for each table, and names the table in the annotations. Nor is it for a model that loads its
    subclasses (`with_polymorphic`), whose `table` is a join: SQLAlchemy changes the model's own table.
    """
    annotations = statement._annotations
    for key in ("_emit_update_table", "_emit_insert_table"):
        if key in annotations:
            return annotations[key]
    target = statement.table
    if table_of(target) is None and (model := target._annotations.get("parentmapper")) is not None:
        return model.local_table
    return target


def is_element(key: Any) -> bool:
    """Return whether `key`, which an UPDATE sets, is an element of an array or a document, such as `numbers[2]`.

    Its index must be a value: SQL in its place could end the brackets and set another column.
    """
    if not isinstance(key, BinaryExpression) or key.operator not in _SUBSCRIPTS:
        return False
    index = key.right
    parts = (index.start, index.stop, index.step) if isinstance(index, Slice) else (index,)
    return all(isinstance(part, (BindParameter, Null)) for part in parts)
