"""Which mapped classes hold rows of sites, and in which attribute they hold the site's id.

It rests on the tables and not on the mixin: an association, an imperative mapping or a class made by automap holds rows
of a site without `SiteScoped`.
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
"""The attribute of a mapper that remembers the answer, with the number of scoped tables known at that time."""


def site_attribute(mapper: Mapper[Any]) -> str | None:
    """Return the name of the attribute that holds the site's id in objects of `mapper`.

    None if their rows belong to no site; the empty string if they do, but no attribute holds the id.
    """
    known: tuple[int, str | None] | None = mapper.__dict__.get(_SITE_ATTRIBUTE)
    # A name that becomes that of a scoped table later counts for classes that have been used before.
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
