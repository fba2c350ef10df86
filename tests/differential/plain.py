"""Converts the results of steps to plain data, so that two processes can compare them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.orm.exc import ObjectDeletedError

from differential.models import RELATIONS


def rows(result: Any) -> Any:
    """Return the sorted rows of a result, or the number of rows that were changed."""
    if not getattr(result, "returns_rows", True):
        return result.rowcount
    try:
        names = list(result.keys())
    except ResourceClosedError:
        # The ORM does not count the rows that it inserted.
        return None
    # The site's own database has no `site_id`; the canaries show to which site a row belongs.
    shown = [index for index, name in enumerate(names) if not name.startswith("site_id")]
    return sorted((tuple(value_of(row[index]) for index in shown) for row in result.all()), key=repr)


def value_of(value: Any) -> Any:
    return graph(value, 0) if hasattr(value, "__mapper__") else value


def graph(instance: Any, depth: int) -> Any:
    """Return an object with all its columns and with relationships to `depth` levels, loading them if necessary."""
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
        # The row of the derived table belongs to another site, so its columns cannot be loaded: the first access
        # raises an error, and later accesses return None.
        return None


def graphs(instances: Any, depth: int) -> list[Any]:
    """Return objects as `graph` does, sorted."""
    return sorted((graph(instance, depth) for instance in instances), key=repr)
