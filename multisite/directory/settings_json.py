"""The settings stored for a site, as one JSON text: the subquery that selects it, and its canonical form.

One text instead of rows lets one statement read a site, and a cached site takes no more memory than its own settings.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from multisite.directory.tables import settings_table

__all__ = ["canonical_json", "settings_json_subquery"]

_rows = settings_table


class _JsonObject(FunctionElement[str]):
    """The aggregate function that builds a JSON object from names and values."""

    type = sa.Text()
    inherit_cache = True


@compiles(_JsonObject)
def _standard(element: _JsonObject, compiler: Any, **options: Any) -> str:
    return f"JSON_OBJECTAGG({compiler.process(element.clauses, **options)})"


@compiles(_JsonObject, "sqlite")
def _sqlite(element: _JsonObject, compiler: Any, **options: Any) -> str:
    return f"json_group_object({compiler.process(element.clauses, **options)})"


@compiles(_JsonObject, "postgresql")
def _postgresql(element: _JsonObject, compiler: Any, **options: Any) -> str:
    # Cast to text, since the driver would return a dictionary otherwise.
    return f"CAST(json_object_agg({compiler.process(element.clauses, **options)}) AS TEXT)"


def settings_json_subquery(site_id: sa.ColumnElement[int]) -> sa.ScalarSelect[str]:
    """Return a subquery for a site's settings: JSON with keys in any order; NULL or an empty object if it has none."""
    # Without the cast, a single value stored as bytes would make SQLite reject the whole statement.
    value = sa.cast(_rows.c.value, sa.Text)
    return sa.select(_JsonObject(_rows.c.name, value)).where(_rows.c.site_id == site_id).scalar_subquery()


def canonical_json(text: str | None) -> str:
    """Return the subquery's result in the form of `Site.own_settings`, in which equal settings are equal strings."""
    found = json.loads(text) if text else {}
    return json.dumps(found, sort_keys=True, separators=(",", ":")) if found else ""
