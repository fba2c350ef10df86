"""Builds the parts of statements from a tape: sources, columns and criteria."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from differential.models import MODELS, RELATIONS
from differential.program import STRIDE, Tape

NUMBERS = ("n", "ref", "id")


class Parts:
    """Builds sources and criteria from the models of one side; the same tape gives the same parts."""

    def __init__(self, models: SimpleNamespace, dialect: str, tape: Tape) -> None:
        self.models = models
        self.dialect = dialect
        self.tape = tape
        self.number, self.pick, self.chance = tape.number, tape.pick, tape.chance

    def model(self, names: tuple[str, ...] = MODELS) -> Any:
        return getattr(self.models, self.pick(names))

    def column(self, source: Any) -> Any:
        """Return a numeric column of `source`, sometimes wrapped in a function."""
        column = getattr(getattr(source, "c", source), self.pick(NUMBERS))
        wraps: list[Callable[[Any], Any]] = [
            lambda c: c,
            lambda c: c,
            lambda c: sa.func.coalesce(c, 0),
            lambda c: sa.case((c > 2, c), else_=-c),
            lambda c: c % STRIDE,
        ]
        return self.pick(wraps)(column)

    def source(self, depth: int = 2) -> Any:
        """Return a FROM element with the columns id, n, ref and note."""
        deep = ("subquery", "cte", "union", "entity of a subquery", "lateral") if depth > 0 else ()
        kind = self.pick(("model", "alias", "table", "core alias", "light", *deep))
        model = self.model()
        makers: dict[str, Callable[[], Any]] = {
            "model": lambda: model,
            "alias": lambda: aliased(aliased(model)) if self.chance() else aliased(model),
            "table": model.__table__.alias,
            "core alias": lambda: model.__table__.alias().alias(),
            "light": lambda: self.light(model).alias(),
            "subquery": lambda: self.plain(depth - 1).subquery(),
            "lateral": lambda: self.plain(depth - 1).lateral() if self.dialect == "postgresql" else model,
            "cte": lambda: self.plain(depth - 1).cte(),
            "entity of a subquery": lambda: self._entity_of_a_subquery(model, depth),
            "union": lambda: self.union(depth).subquery(),
        }
        return makers[kind]()

    def light(self, model: Any) -> Any:
        """Return a `sa.table()` that has only the name and columns of the table of `model`."""
        columns = [sa.column(name, sa.BigInteger) for name in NUMBERS]
        return sa.table(model.__table__.name, *columns, sa.column("note", sa.String))

    def _entity_of_a_subquery(self, model: Any, depth: int) -> Any:
        return aliased(model, sa.select(model).where(self.criterion([model], depth - 1)).subquery())

    def union(self, depth: int) -> Any:
        combine = self.pick((sa.union_all, sa.union, sa.except_, sa.intersect))
        return combine(self.plain(depth - 1), self.plain(depth - 1))

    def joinable(self) -> Any:
        """Return a source with a name of its own, so that it can be joined to any other source."""
        source = self.source(1)
        return aliased(source) if sa.inspect(source, raiseerr=False) is getattr(source, "__mapper__", 0) else source

    def plain(self, depth: int) -> Any:
        """Return a select of id, n, ref and note from one source, with or without a criterion."""
        source = self.source(depth)
        columns = getattr(source, "c", source)
        statement = sa.select(columns.id, columns.n, columns.ref, columns.note)
        return statement.where(self.criterion([source], depth)) if self.chance() else statement

    def criterion(self, available: list[Any], depth: int) -> Any:
        """Return a condition on the sources in `available`."""
        source = self.pick(available)
        deep = ("in", "exists", "scalar", "not", "related", "related") if depth > 0 else ()
        kind = self.pick(("number", "column", "null", "or", "text", *deep))
        makers: dict[str, Callable[[], Any]] = {
            "number": lambda: self.column(source) >= self.pick((0, 1, 2, 3, STRIDE, 2 * STRIDE + 2)),
            "column": lambda: self.column(source) == self.column(self.pick(available)),
            "null": lambda: self.column(source).is_(None),
            "or": lambda: sa.or_(self.criterion(available, depth - 1), self.criterion(available, depth - 1)),
            "text": lambda: sa.text(self.pick(("1 = 1 OR 1 = 1", "1 = 0 OR (1 = 1)", "1 = 0"))),
            "in": lambda: self.column(source).in_(sa.select(self.inner(depth).n)),
            "scalar": lambda: self.column(source) <= sa.select(sa.func.max(self.inner(depth).n)).scalar_subquery(),
            "exists": lambda: self.exists(source, depth),
            "not": lambda: self.negated(available, depth),
            "related": lambda: self.related(source),
        }
        return makers[kind]()

    def inner(self, depth: int) -> Any:
        """Return the columns of a source for a subquery."""
        source = self.source(depth - 1)
        # Without an alias, SQLAlchemy would correlate the table to the enclosing statement.
        source = aliased(source) if isinstance(source, type) else source
        return getattr(source, "c", source)

    def exists(self, source: Any, depth: int) -> Any:
        inner = self.inner(depth)
        return sa.exists(sa.select(inner.id).where(inner.n == self.column(source)))

    def negated(self, available: list[Any], depth: int) -> Any:
        positive = self.criterion(available, depth - 1)
        return positive if isinstance(positive, sa.TextClause) else sa.not_(positive)

    def related(self, source: Any) -> Any:
        """Return any() or has() on a relationship of `source`, if `source` is an entity that has one."""
        insp = sa.inspect(source, raiseerr=False)
        relations = RELATIONS[insp.mapper.class_.__name__] if hasattr(insp, "mapper") else ()
        if not relations:
            return self.column(source) >= 1
        relation = self.pick(relations)
        target = getattr(self.models, relation.target)
        attribute = getattr(source, relation.name)
        condition = target.n >= self.number(4) if self.chance() else None
        return attribute.any(condition) if relation.many else attribute.has(condition)
