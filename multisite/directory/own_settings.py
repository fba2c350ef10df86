"""The settings that a site has for itself, as one text: what a statement says to get it, and its form.

One text instead of rows: a site is read with one statement, and a site that is only known costs no more memory than
what was set for it.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from multisite.models import SettingRow

__all__ = ["canonical_json", "settings_json_subquery"]

_rows = SettingRow.__table__


class _JsonObject(FunctionElement[str]):
    """The aggregate that makes one JSON object of names and values."""

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
    # As text, which the driver would turn into a dictionary otherwise.
    return f"CAST(json_object_agg({compiler.process(element.clauses, **options)}) AS TEXT)"


def settings_json_subquery(site_id: sa.ColumnElement[int]) -> sa.ScalarSelect[str]:
    """Return the subquery for a site's settings: JSON in any order, NULL or an empty object for none."""
    # Without the cast SQLite refuses the whole statement for one value that somebody has put in as bytes.
    value = sa.cast(_rows.c.value, sa.Text)
    return sa.select(_JsonObject(_rows.c.name, value)).where(_rows.c.site_id == site_id).scalar_subquery()


def canonical_json(text: str | None) -> str:
    """Return what the subquery gave in the one form that `Site.own_settings` has: equal settings are equal texts."""
    found = json.loads(text) if text else {}
    return json.dumps(found, sort_keys=True, separators=(",", ":")) if found else ""
