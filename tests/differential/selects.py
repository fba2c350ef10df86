"""Builds selects from a tape: of columns and of objects, with joins of every kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased, joinedload, lazyload, selectinload, subqueryload, with_polymorphic
from sqlalchemy.orm.strategy_options import defaultload, immediateload

from differential.models import CHILDREN, MODELS, RELATIONS, SCOPED, Relation
from differential.parts import Parts

LOADERS = (lazyload, joinedload, selectinload, subqueryload, immediateload, defaultload)


class Selects(Parts):
    """Builds selects from the models of one side."""

    def select(self) -> Any:
        """Return a select from one to four joined sources, or a select of a form without joins."""
        return self.pick((self._joins, self._joins, self._joins, self._joins, self._recursive, self._compound))()

    def _joins(self) -> Any:
        first = self.source()
        available, joined = [first], first
        for _ in range(self.number(4)):
            nested, right = self.chance(), self.joinable()
            available.append(right)
            if nested:
                inner = self.joinable()
                available.append(inner)
                right = sa.orm.join(right, inner, self.criterion([right, inner], 0), isouter=self.chance())
            kind = self.pick(("inner", "left", "full", "cross"))
            if kind == "full":
                # PostgreSQL supports FULL JOIN only on conditions that it can hash or merge.
                onclause = getattr(first, "c", first).id == getattr(available[-1], "c", available[-1]).id
            else:
                onclause = sa.true() if kind == "cross" else self.criterion(available, 1)
            joined = sa.orm.join(joined, right, onclause, isouter=kind == "left", full=kind == "full")
        statement = self._shaped(available).select_from(joined)
        return statement.where(self.criterion(available, 1)) if self.chance() else statement

    def _shaped(self, available: list[Any]) -> Any:
        columns = [self.column(each).label(f"c{number}") for number, each in enumerate(available)]
        notes = [getattr(each, "c", each).note.label(f"t{number}") for number, each in enumerate(available)]
        kind = self.pick(("rows", "rows", "distinct", "count", "group", "window", "scalars"))
        shapes: dict[str, Callable[[], Any]] = {
            "rows": lambda: sa.select(*columns, *notes),
            "distinct": lambda: sa.select(*columns).distinct(),
            "count": lambda: sa.select(sa.func.count(), sa.func.sum(columns[0]), sa.func.max(notes[-1])),
            "group": lambda: sa.select(columns[0], sa.func.count()).group_by(columns[0]).having(sa.func.count() > 1),
            "window": lambda: sa.select(*columns, sa.func.count().over(partition_by=columns[0])),
            "scalars": lambda: sa.select(*columns, *self._scalars(available)),
        }
        return shapes[kind]()

    def _scalars(self, available: list[Any]) -> list[Any]:
        """Return columns that are subqueries: a maximum, and whether a matching row exists."""
        inner = self.inner(1)
        greatest = sa.select(sa.func.max(inner.note)).where(inner.n >= self.number(3)).scalar_subquery()
        return [greatest.label("greatest"), self.exists(self.pick(available), 1).label("known")]

    def _recursive(self) -> Any:
        """Return a recursive select from a self-referential table."""
        model = self.model(("Tag", "Doc"))
        start = sa.select(model.id, model.n, model.note).where(self.criterion([model], 0))
        below = start.cte(recursive=True)
        child = aliased(model) if self.chance() else model.__table__.alias()
        columns = getattr(child, "c", child)
        # With UNION ALL, the recursion would not end if the references form a cycle.
        step = sa.select(columns.id, columns.n, columns.note).join(below, columns.ref == below.c.id)
        return sa.select(below.union(step))

    def _compound(self) -> Any:
        union = self.union(1)
        return sa.select(union.cte()) if self.chance() else union

    def entities(self) -> Any:
        """Return a select of objects, with loader options, ordered by id."""
        model = self.model((*MODELS[:-1], *CHILDREN))
        statement = sa.select(model).order_by(model.id)
        if self.chance():
            statement = statement.where(self.criterion([model], 2))
        relations = list(RELATIONS[model.__name__])
        for _ in range(min(self.number(3), len(relations))):
            relation = self.pick(relations)
            relations.remove(relation)
            statement = statement.options(self._option(model, relation))
        return statement.limit(3) if self.chance(4) else statement

    def _option(self, model: Any, relation: Relation) -> Any:
        attribute = getattr(model, relation.name)
        if self.chance(4):
            target = getattr(self.models, relation.target)
            attribute = attribute.and_(target.n >= self.number(3))
        loader = self.pick(LOADERS)
        option = loader(attribute, innerjoin=True) if loader is joinedload and self.chance(3) else loader(attribute)
        if self.chance():
            second = self.pick(RELATIONS[relation.target])
            path = getattr(getattr(self.models, relation.target), second.name)
            option = getattr(option, self.pick(LOADERS).__name__)(path)
        return option

    def polymorphic(self) -> Any:
        """Return a polymorphic select of documents."""
        m = self.models
        kind = self.pick(("with", "base", "child", "flat", "selectin", "of_type", "columns", "join"))
        every = with_polymorphic(m.Doc, "*", flat=kind == "flat", aliased=self.chance())
        statements: dict[str, Callable[[], Any]] = {
            "with": lambda: sa.select(every).order_by(every.id),
            "base": lambda: sa.select(m.Doc).order_by(m.Doc.id),
            "child": lambda: sa.select(m.Article).where(m.Article.pages >= self.number(3)).order_by(m.Article.id),
            "flat": lambda: sa.select(every).where(every.Article.pages >= 1).order_by(every.id),
            "selectin": lambda: (
                sa.select(m.Doc).options(sa.orm.selectin_polymorphic(m.Doc, [m.Article, m.Film])).order_by(m.Doc.id)
            ),
            "of_type": lambda: sa.select(m.Doc).where(
                m.Doc.children.of_type(m.Article).any(m.Article.pages >= self.number(3))
            ),
            "columns": lambda: sa.select(m.Article.body, m.Article.note, m.Article.id),
            "join": lambda: (
                sa.select(m.Doc.note, m.Article.__table__.c.body)
                .select_from(m.Doc)
                .join(m.Article.__table__, m.Doc.id == m.Article.__table__.c.id, isouter=self.chance())
            ),
        }
        return statements[kind]()

    def one_table(self) -> Any:
        """Return a select from one table; four databases together return the same rows as all sites of one database."""
        model = self.model(SCOPED)
        table = model.__table__
        forms: list[Callable[[], Any]] = [
            lambda: sa.select(model.id, model.note, model.n),
            lambda: sa.select(table.c.id, table.c.note, table.c.n),
            lambda: sa.select(sa.func.lower(model.note)),
        ]
        statement = self.pick(forms)()
        return statement.where(model.n >= self.number(4)) if self.chance() else statement
