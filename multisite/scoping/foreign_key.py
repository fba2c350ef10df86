"""Foreign keys between scoped tables, with which the database rejects references to rows of other sites.

Such a key contains `site_id`: `(site_id, author_id)` refers to `(site_id, id)`. Relationships nevertheless join on the
id alone, so that models need no more than with a plain `ForeignKey`. With `site_id` in the join, a many-to-one in the
identity map would cost a SELECT, and clearing one of two references would clear the row's site. Both sides of a join
are limited anyway.
"""

from __future__ import annotations

from typing import Any, overload

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.sql.expression import FromClause

from multisite.scoping.column import SITE_COLUMN, is_site_id

__all__ = ["ScopedForeignKey", "install", "scoped_reference"]

_get_referent = sa.ForeignKey.get_referent


class ScopedForeignKey(sa.ForeignKey):
    """A foreign key of one column that adds `site_id` once its column has a table."""

    def __init__(self, target: Any, **options: Any) -> None:
        super().__init__(target, **options)
        self._target, self._options = target, options

    def _copy(self, **kw: Any) -> ScopedForeignKey:
        # SQLAlchemy copies the columns of a mixin for each model, before they have a table.
        return self._schema_item_copy(ScopedForeignKey(self._target, **self._options))

    def _set_parent(self, parent: Any, **kw: Any) -> None:
        if not isinstance(parent, sa.Column):
            raise ValueError(f"outside of a column, name it: scoped_reference('column', {self._target!r})")
        super()._set_parent(parent, **kw)

    def _set_table(self, column: sa.Column[Any], table: Any) -> None:
        if self.constraint is None:
            target = self._table_column
            if SITE_COLUMN not in table.columns or (target is not None and target.table is None):
                # The table is incomplete; `_complete` calls this method again.
                return
            self._add_site_column(table.columns[SITE_COLUMN], column, table)
        super()._set_table(column, table)

    def _add_site_column(self, site: sa.Column[Any], column: sa.Column[Any], table: sa.Table) -> None:
        """Create the constraint of both columns, as SQLAlchemy creates that of a single column."""
        options = {key: value for key, value in self._options.items() if key != "info"}
        constraint = sa.ForeignKeyConstraint([], [], **options)
        target = self._target if self._table_column is None else self._table_column
        constraint._append_element(site, sa.ForeignKey(_site_of(target), _constraint=constraint, **options))
        constraint._append_element(column, self)
        self.constraint = constraint
        constraint._set_parent_with_dispatch(table)


@overload
def scoped_reference(target: Any, /, **options: Any) -> ScopedForeignKey: ...


@overload
def scoped_reference(column: str, target: Any, /, **options: Any) -> sa.ForeignKeyConstraint: ...


def scoped_reference(
    column_or_target: Any, target: Any = None, /, **options: Any
) -> ScopedForeignKey | sa.ForeignKeyConstraint:
    """Return a foreign key from one scoped table to another that includes `site_id`.

    The database then rejects references to rows of other sites. In a column, use it in place of `ForeignKey`:
    `mapped_column(scoped_reference("authors.id"))`. Among the arguments of a table, name the column first:
    `scoped_reference("author_id", "authors.id")`. Relationships join on the id alone and need no `primaryjoin`.

    Args:
        column_or_target: the target, or the name of the column if `target` is given.
        target: "table.column", "schema.table.column" or a Column.
        options: arguments for `ForeignKey` or `ForeignKeyConstraint`.

    Raises:
        ValueError: `ondelete` or `onupdate` would clear `site_id`, or the target is not valid.
    """
    _check_actions(options)
    if target is None:
        _site_of(column_or_target)
        return ScopedForeignKey(column_or_target, **options)
    return sa.ForeignKeyConstraint([SITE_COLUMN, column_or_target], [_site_of(target), target], **options)


def _check_actions(options: dict[str, Any]) -> None:
    for action in ("ondelete", "onupdate"):
        if str(options.get(action) or "").strip().upper().startswith(("SET NULL", "SET DEFAULT")):
            raise ValueError(
                f"{action} {options[action]} would clear site_id too: let the code clear the link (entry.author = "
                "None; deleting an author clears the links that its relationship knows), or use CASCADE or RESTRICT"
            )


def _site_of(target: Any) -> Any:
    """Return the `site_id` of the table of `target`, in the form of `target`; None for a column without a table."""
    if isinstance(target, str):
        name, dot, column = target.rpartition(".")
        if not (name and dot and column):
            raise ValueError(f"scoped_reference needs a target such as 'authors.id', not '{target}'")
        return f"{name}.{SITE_COLUMN}"
    if isinstance(target, tuple):
        return (*target[:-1], SITE_COLUMN)
    table = getattr(target, "table", None)
    if table is None:
        return None
    if SITE_COLUMN not in table.columns:
        raise ValueError(f"'{table.name}' has no site_id, so '{target}' is referred to by a plain ForeignKey")
    return table.columns[SITE_COLUMN]


@event.listens_for(sa.Table, "after_parent_attach")
def _complete(table: sa.Table, parent: Any) -> None:
    """Complete foreign keys whose column was added before `site_id` or before their target."""
    pending = [
        (column, key)
        for column in table.columns
        for key in column.foreign_keys
        if isinstance(key, ScopedForeignKey) and key.constraint is None
    ]
    if pending and SITE_COLUMN not in table.columns:
        raise ValueError(
            f"'{table.name}' has a scoped_reference but no site_id: make the model SiteScoped, or add site_id_column()"
        )
    for column, key in pending:
        key._set_table(column, table)


def get_referent(self: sa.ForeignKey, table: FromClause) -> Any:
    """Return the column of `table` that the key refers to; None for a `site_id` that no join needs.

    Relationships, and `join()` without a condition, build their ON from these columns. `site_id` is kept in two cases:
    if it is in the primary key of the target, where an id alone may match several rows; and if the foreign key covers
    the whole primary key, as in joined inheritance, where the mapper needs to see that `site_id` is the same in both
    tables.
    """
    referent = _get_referent(self, table)
    constraint = self.constraint
    if referent is None or self.parent.name != SITE_COLUMN or constraint is None or len(constraint.elements) == 1:
        return referent
    if referent.primary_key or not (is_site_id(self.parent.type) and is_site_id(referent.type)):
        return referent
    keys = {column.name for column in self.parent.table.primary_key}
    whole = bool(keys) and keys <= {element.parent.name for element in constraint.elements}
    return referent if whole else None


def install() -> None:
    """Replace `ForeignKey.get_referent`. Safe to repeat."""
    sa.ForeignKey.get_referent = get_referent  # type: ignore[method-assign]
