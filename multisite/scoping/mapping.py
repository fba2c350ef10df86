"""Find the attribute of a mapped class that holds the site's id.

The tables of the class decide, not the mixin: an association object, an imperative mapping or a class from automap may
hold rows of a site without `SiteScoped`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import visitors
from sqlalchemy.sql.expression import TableClause

from multisite.scoping.tables import limit_column, tables

__all__ = ["site_attribute"]

_SITE_ATTRIBUTE = "_multisite_site_attribute"
"""The attribute of a mapper that caches the result, with the number of scoped tables at that time."""


def site_attribute(mapper: Mapper[Any]) -> str | None:
    """Return the name of the attribute that holds the site's id in objects of `mapper`.

    None if the rows belong to no site; "" if they do, but no attribute holds the id.
    """
    known: tuple[int, str | None] | None = mapper.__dict__.get(_SITE_ATTRIBUTE)
    # If a table becomes scoped later, classes that were used before must be checked again.
    if known is None or known[0] != len(tables.scoped):
        known = mapper.__dict__[_SITE_ATTRIBUTE] = (len(tables.scoped), _find(mapper))
    return known[1]


def _find(mapper: Mapper[Any]) -> str | None:
    scoped = {
        element
        for element in visitors.iterate(mapper.persist_selectable)
        if isinstance(element, TableClause) and tables.is_scoped(element)
    }
    if not scoped:
        return None
    for attribute, column in mapper.columns.items():
        for base in column.base_columns:
            table = getattr(base, "table", None)
            if isinstance(base, sa.ColumnClause) and table in scoped and base.name == limit_column(table):
                return str(attribute)
    return ""
