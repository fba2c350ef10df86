"""What a step gave, as plain data that two processes can compare."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.orm.exc import ObjectDeletedError

from differential.models import RELATIONS


def rows(result: Any) -> Any:
    """Return the rows of a result without regard to their order, or how many were changed."""
    if not getattr(result, "returns_rows", True):
        return result.rowcount
    try:
        names = list(result.keys())
    except ResourceClosedError:
        # The ORM has no count of what it inserted.
        return None
    # The site's own database has no such column; whose rows these are their canaries tell.
    shown = [index for index, name in enumerate(names) if not name.startswith("site_id")]
    return sorted((tuple(value_of(row[index]) for index in shown) for row in result.all()), key=repr)


def value_of(value: Any) -> Any:
    return graph(value, 0) if hasattr(value, "__mapper__") else value


def graph(instance: Any, depth: int) -> Any:
    """Return an object with all its columns, and `depth` steps of relationships; what is not loaded is loaded now."""
    if instance is None:
        return None
    name = type(instance).__name__
    columns = [attribute.key for attribute in sa.inspect(type(instance)).column_attrs if attribute.key != "site_id"]
    found = {column: _column(instance, column) for column in sorted(columns)}
    if depth > 0:
        for relation in RELATIONS[name]:
            related = getattr(instance, relation.name)
            found[relation.name] = graphs(related, depth - 1) if relation.many else graph(related, depth - 1)
    return name, tuple(found.items())


def _column(instance: Any, name: str) -> Any:
    try:
        return getattr(instance, name)
    except (KeyError, ObjectDeletedError):
        # The second half of a document that belongs to another site cannot be loaded: the first time it is asked for
        # that is an error, then it is None.
        return None


def graphs(instances: Any, depth: int) -> list[Any]:
    """Return objects as `graph` does, without regard to their order."""
    return sorted((graph(instance, depth) for instance in instances), key=repr)
