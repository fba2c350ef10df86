"""References from one scoped table to another, which the database refuses across sites.

Such a reference holds `site_id` as well: `(site_id, author_id)` refers to `(site_id, id)`. A relationship joins on the
id alone all the same, so that models need not say more than with a plain `ForeignKey`: with `site_id` in the join, a
many-to-one in the identity map would cost a SELECT, and clearing one of two links would clear the site of the row.
The wall limits both sides of each join anyway.
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
    """A foreign key of one column that takes `site_id` along when its column has got a table."""

    def __init__(self, target: Any, **options: Any) -> None:
        super().__init__(target, **options)
        self._target, self._options = target, options

    def _copy(self, **kw: Any) -> ScopedForeignKey:
        # The columns of a mixin are copied for each model, before they have a table.
        return self._schema_item_copy(ScopedForeignKey(self._target, **self._options))

    def _set_parent(self, parent: Any, **kw: Any) -> None:
        if not isinstance(parent, sa.Column):
            raise ValueError(f"outside of a column, name it: scoped_reference('column', {self._target!r})")
        super()._set_parent(parent, **kw)

    def _set_table(self, column: sa.Column[Any], table: Any) -> None:
        if self.constraint is None:
            target = self._table_column
            if SITE_COLUMN not in table.columns or (target is not None and target.table is None):
                # The table is still being made; `_complete` comes back to this when it is.
                return
            self._add_site_column(table.columns[SITE_COLUMN], column, table)
        super()._set_table(column, table)

    def _add_site_column(self, site: sa.Column[Any], column: sa.Column[Any], table: sa.Table) -> None:
        """Make the constraint of both columns, in the way in which SQLAlchemy makes the one of a single column."""
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
    """Return a foreign key from one scoped table to another that holds `site_id` as well.

    In a column it stands where `ForeignKey` would: `mapped_column(scoped_reference("authors.id"))`. Among the
    arguments of a table it names its column first: `scoped_reference("author_id", "authors.id")`. The target is
    "table.column", "schema.table.column" or a Column. With it the database refuses a reference to another site's row.
    Relationships need not say how to join; they do it on the id alone.

    `options` go to `ForeignKey` or `ForeignKeyConstraint`. Raises `ValueError` for an action that would clear
    `site_id`, and for a target that is none.
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
    """Return the `site_id` beside `target`, in the form in which that is given; None for a column without a table."""
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
    """Complete references whose column came before `site_id`, or before the column that they refer to."""
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
    """Return the column of `table` that the key refers to, and None for a `site_id` by which nobody needs to join.

    Joins are made of these, by relationships and by `join()` without a condition. Two of them keep `site_id`: one to
    a table whose primary key holds it, so that an id alone finds several rows; and one of a whole primary key, as
    joined inheritance has it, since the mapper has to see there that both tables' `site_id` are the same.
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
    """Put `get_referent` in front of SQLAlchemy's. Safe to repeat."""
    sa.ForeignKey.get_referent = get_referent  # type: ignore[method-assign]
