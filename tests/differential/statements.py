"""Builds statements from a tape: selects, and updates, deletes and inserts with subqueries and further tables.

The statements contain neither a site nor ids of a site, so that one statement object can be executed for several sites.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlalchemy.sql.elements import Grouping

from differential.models import SCOPED
from differential.program import STRIDE
from differential.selects import Selects


class Statements(Selects):
    """Builds all statements from the models of one side; the same tape gives the same statement."""

    def change(self) -> Any:
        """Return an update, delete or insert, with subqueries and further tables."""
        kinds = ("update", "update from", "update from", "delete", "delete", "insert", "insert", "child", "cte")
        kind = self.pick((*kinds, "delete using", "dml in a cte") if self.dialect == "postgresql" else kinds)
        makers: dict[str, Callable[[], Any]] = {
            "update": self._update,
            "update from": self._update_from,
            "delete": self._delete,
            "delete using": self._delete_using,
            "insert": self._insert_from_select,
            "child": self._change_child,
            "cte": self._delete_by_cte,
            "dml in a cte": self._dml_in_a_cte,
        }
        return makers[kind]()

    def _target(self, names: tuple[str, ...] = SCOPED) -> Any:
        """Return a model or its table, as the target of a change."""
        model = self.model(names)
        return model.__table__ if self.chance(3) else model

    def _update(self) -> Any:
        target = self._target()
        columns = getattr(target, "c", target)
        if self.chance():
            # Most references accept only existing ids, but a number can always be set.
            inner = self.plain(1).subquery()
            value = sa.select(sa.func.max(inner.c.n)).scalar_subquery()
            values = {"n": sa.func.coalesce(value, 0)}
        else:
            values = {"n": columns.n + 1}
        statement = sa.update(target).where(self.criterion([target], 2)).values(values)
        return self._returning(statement, columns)

    def _update_from(self) -> Any:
        # Join at most one row of the second table to each row of the first; of several, the database would choose one.
        target, second = self._target(), self.pick((aliased, lambda model: model.__table__.alias()))(self.model())
        columns, others = getattr(target, "c", target), getattr(second, "c", second)
        key = self.pick((columns.ref == others.id, columns.ref == others.id, columns.id == others.id))
        statement = sa.update(target).where(key).values(n=others.n + 1, note=columns.note + "+")
        return statement.where(self.criterion([target, second], 1)) if self.chance() else statement

    def _delete(self) -> Any:
        # Prefer comments, since no table refers to them.
        target = self._target(("Comment", "Comment", "Tag", "Post", "Author"))
        statement = sa.delete(target).where(self.criterion([target], 2))
        return self._returning(statement, getattr(target, "c", target))

    def _delete_using(self) -> Any:
        target, second = self._target(("Comment", "Comment", "Post")), aliased(self.model())
        return sa.delete(target).where(getattr(target, "c", target).ref == second.id, second.n >= self.number(4))

    def _delete_by_cte(self) -> Any:
        target, found = self._target(("Comment", "Comment", "Post")), self.plain(1).cte()
        return sa.delete(target).where(getattr(target, "c", target).ref.in_(sa.select(found.c.id)))

    def _dml_in_a_cte(self) -> Any:
        """Return a select from the rows that a CTE changes (PostgreSQL)."""
        target = self._target(("Comment",))
        columns = getattr(target, "c", target)
        where = self.criterion([target], 1)
        if isinstance(where, sa.Exists):
            # If an EXISTS is the only criterion of a change in a CTE, SQLAlchemy before 2.0.42 repeats the changed
            # table in it, so that it holds for any row. A second criterion, such as the limit to a site, avoids this;
            # so do brackets.
            where = Grouping(where)
        dml = sa.update(target).values(n=columns.n + 1) if self.chance() else sa.delete(target)
        changed = dml.where(where).returning(columns.id, columns.note).cte()
        return sa.select(changed.c.id, changed.c.note)

    def _insert_from_select(self) -> Any:
        source = self.model(("Comment", "Post", "Tag"))
        inner = sa.select(source.id, source.note, source.n).where(self.criterion([source], 1)).subquery()
        # The new ids stay within the stride of their site.
        new_id = inner.c.id + 1000 * (100 + self.number(200))
        values = sa.select(new_id, inner.c.note, inner.c.n, sa.literal("copied"))
        return sa.insert(self.models.Comment).from_select(["id", "note", "n", "slug"], values)

    def _change_child(self) -> Any:
        """Return a change of the table of a derived class."""
        table = self.pick((self.models.Article.__table__, self.models.Film.__table__))
        if table is self.models.Film.__table__ or self.chance():
            return sa.delete(table).where(table.c.id % STRIDE >= self.number(6))
        return sa.update(table).where(table.c.pages >= self.number(4)).values(pages=table.c.pages + 1)

    def _returning(self, statement: Any, columns: Any) -> Any:
        return statement.returning(columns.id, columns.note) if self.chance() else statement
