"""The key of a scoped table within its site: UNIQUE (site_id, primary key), which references of other rows need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.sql.elements import conv

from multisite.scoping.column import SITE_COLUMN, has_site_id

__all__ = ["add_site_key"]

_ADDED = "multisite"
"""The key in `info` that marks a constraint as added here, and not by the application."""


def add_site_key(table: sa.Table) -> None:
    """Give the scoped `table` its UNIQUE (site_id, primary key), unless it has one."""
    keys = [column.name for column in table.primary_key.columns]
    if not keys or SITE_COLUMN in keys or any(_same_columns(table, {SITE_COLUMN, *keys})):
        return
    # The name is spelt out: under the cookiecutter's naming convention, which uses the first column only, this
    # constraint and the application's own UNIQUE (site_id, slug) would get one and the same name.
    # By `conv` SQLAlchemy shortens it where the database takes no longer one.
    name = conv("_".join(["uq", table.name, SITE_COLUMN, *keys]))
    table.append_constraint(sa.UniqueConstraint(SITE_COLUMN, *keys, name=name, info={_ADDED: True}))


def _same_columns(table: sa.Table, columns: set[str]) -> Iterator[sa.UniqueConstraint]:
    for constraint in table.constraints:
        if isinstance(constraint, sa.UniqueConstraint) and {column.name for column in constraint.columns} == columns:
            yield constraint


@event.listens_for(sa.UniqueConstraint, "after_parent_attach")
def _replace_by(constraint: sa.UniqueConstraint, parent: Any) -> None:
    """Let a constraint that is attached later replace the one that was added here.

    `Table.to_metadata` and alembic make a table of the columns alone and append copies of the constraints then.
    """
    if not isinstance(parent, sa.Table) or not has_site_id(parent):
        return
    for other in list(_same_columns(parent, {column.name for column in constraint.columns})):
        if other is not constraint and _ADDED in other.info:
            parent.constraints.discard(other)
