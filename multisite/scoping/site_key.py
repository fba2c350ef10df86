"""Add UNIQUE (site_id, primary key) to scoped tables, which foreign keys between them need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.sql.elements import conv

from multisite.scoping.column import SITE_COLUMN, has_site_id

__all__ = ["add_site_key"]

_ADDED = "multisite"
"""The key in `info` that marks a constraint as added by this module."""


def add_site_key(table: sa.Table) -> None:
    """Add UNIQUE (site_id, primary key) to a scoped table that has none."""
    keys = [column.name for column in table.primary_key.columns]
    if not keys or SITE_COLUMN in keys or any(_same_columns(table, {SITE_COLUMN, *keys})):
        return
    # The name is given in full: the cookiecutter's naming convention uses the first column only, so this constraint
    # and the application's own UNIQUE (site_id, slug) would get the same name.
    # With `conv`, SQLAlchemy shortens it to the length that the database allows.
    name = conv("_".join(["uq", table.name, SITE_COLUMN, *keys]))
    by_key = (column.key for column in table.primary_key.columns)
    table.append_constraint(sa.UniqueConstraint(SITE_COLUMN, *by_key, name=name, info={_ADDED: True}))


def _same_columns(table: sa.Table, columns: set[str]) -> Iterator[sa.UniqueConstraint]:
    for constraint in table.constraints:
        if isinstance(constraint, sa.UniqueConstraint) and {column.name for column in constraint.columns} == columns:
            yield constraint


@event.listens_for(sa.UniqueConstraint, "after_parent_attach")
def _replace_by(constraint: sa.UniqueConstraint, parent: Any) -> None:
    """Let a constraint on the same columns that is attached later replace the one added by this module.

    `Table.to_metadata` and alembic create a table from its columns, and append copies of the constraints afterwards.
    """
    if not isinstance(parent, sa.Table) or not has_site_id(parent):
        return
    for other in list(_same_columns(parent, {column.name for column in constraint.columns})):
        if other is not constraint and _ADDED in other.info:
            parent.constraints.discard(other)
