"""The changes of the self-test: one for each private name of SQLAlchemy that limits or refuses a change.

They are made for site 1, with models of two tables, on an in-memory database with one row for each of two sites. None
may change a row of site 2 or move one there, and each of `REFUSED` must be refused. docs/sqlalchemy-hooks.md gives the
purpose of each private name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, make_transient_to_detached, registry

from multisite.errors import CrossSiteError, UnscopedStatement
from multisite.scoping.column import site_id_column
from multisite.scoping.foreign_key import scoped_reference
from multisite.scoping.mixin import SiteScoped
from multisite.scoping.tables import tables
from multisite.scoping.text import scoped_text

__all__ = ["CREATED", "REFUSED", "changes_error", "mapped_models", "reads_error"]

CREATED = """
CREATE TABLE multisite_self_test_parent (id INTEGER PRIMARY KEY, site_id INTEGER, note TEXT);
CREATE TABLE multisite_self_test_child (id INTEGER PRIMARY KEY, site_id INTEGER, extra TEXT);
INSERT INTO multisite_self_test_parent VALUES (1, 1, 'own'), (2, 2, 'other');
INSERT INTO multisite_self_test_child VALUES (1, 1, 'own'), (2, 2, 'other');
"""
_ALL_ROWS = """
SELECT id, site_id, note FROM multisite_self_test_parent
UNION ALL SELECT id, site_id, extra FROM multisite_self_test_child ORDER BY 1, 3
"""
_AFTERWARDS = [
    (1, 1, "changed"), (1, 1, "changed part"), (2, 2, "other"), (2, 2, "other"),
    (3, 1, "part"), (3, 1, "whole"), (4, 1, "part"), (4, 1, "whole"), (13, 1, "default"),
]  # fmt: skip


class Whole(SiteScoped):
    """A model with a table of its own."""

    id: Any
    note: Any


class Part(Whole):
    """A subclass by joined inheritance, with a second table."""

    extra: Any


@contextmanager
def mapped_models() -> Iterator[None]:
    """Map both models inside the block, and remove their tables from the register afterwards."""
    models, metadata = registry(), sa.MetaData()
    try:
        # A default that is a query and is executed before the INSERT.
        rows = sa.table("multisite_self_test_parent", sa.column("site_id"))
        default = sa.select(sa.func.count() + 10).select_from(rows)
        whole = sa.Table(
            "multisite_self_test_parent", metadata,
            sa.Column("id", sa.Integer, primary_key=True, default=default.scalar_subquery()), site_id_column(),
            sa.Column("note", sa.String), implicit_returning=False,
        )  # fmt: skip
        # Copied, as the columns of a mixin are.
        key = sa.Column("id", scoped_reference(whole.c.id), primary_key=True)._copy()
        part = sa.Table("multisite_self_test_child", metadata, key, site_id_column(), sa.Column("extra", sa.String))
        models.map_imperatively(Whole, whole)
        models.map_imperatively(Part, part, inherits=Whole)
        models.configure()
        yield
    finally:
        models.dispose()
        tables.forget(metadata)


def _table(model: type = Whole) -> Any:
    return sa.inspect(model).local_table


def _another_sites() -> Whole:
    found = Whole()
    found.id, found.site_id, found.note = 2, 2, "other"
    make_transient_to_detached(found)
    return found


_MORE = sa.text("'moved', site_id = 2")
"""Text that sets a second column, unless it is in parentheses."""

REFUSED: dict[str, tuple[tuple[type[Exception], ...], Callable[[Session], Any]]] = {
    "SQL as a value of site_id": (
        (UnscopedStatement,),
        lambda session: session.execute(sa.update(_table()).values(site_id=sa.text("2"))),
    ),
    "SQL as an ordered value of site_id": (
        (UnscopedStatement,),
        lambda session: session.execute(sa.update(_table()).ordered_values((_table().c.site_id, sa.text("2")))),
    ),
    "a value that sets site_id too": (
        (UnscopedStatement, DBAPIError),
        lambda session: session.execute(sa.update(_table()).values(note=_MORE)),
    ),
    "an ordered value that sets site_id too": (
        (UnscopedStatement, DBAPIError),
        lambda session: session.execute(sa.update(_table()).ordered_values((_table().c.note, _MORE))),
    ),
    "SQL as site_id of one of several rows": (
        (UnscopedStatement,),
        lambda session: session.execute(sa.insert(_table()).values([{"id": 5, "site_id": sa.text("2")}, {"id": 6}])),
    ),
    "a SELECT that gives site_id": (
        (UnscopedStatement,),
        lambda session: session.execute(
            sa.insert(_table()).from_select(["id", "site_id"], sa.select(sa.literal(5), sa.literal(2)))
        ),
    ),
    "INSERT OR REPLACE": (
        (UnscopedStatement,),
        lambda session: session.execute(sa.insert(_table()).prefix_with("OR REPLACE").values(id=2)),
    ),
    "another site's object, merged": (
        (CrossSiteError,),
        lambda session: session.merge(_another_sites(), load=False),
    ),
}  # fmt: skip


def changes_error(session: Session) -> str | None:
    """Make every kind of allowed change; return what is wrong with the rows afterwards, or None."""
    whole, part = _table(), _table(Part)
    rows = [{"id": number, "note": "whole", "extra": "part"} for number in (3, 4)]
    session.execute(sa.insert(Part), rows)
    session.execute(sa.insert(whole).values(note="default"))
    session.execute(sa.update(Part), [{"id": 1, "note": "changed", "extra": "changed part"}])
    upsert = sqlite.insert(whole).values(id=2, note="taken")
    session.execute(upsert.on_conflict_do_update(index_elements=["id"], set_={"note": upsert.excluded.note}))
    session.execute(sa.update(whole).where(whole.c.id == 2).values(note="taken"))
    session.execute(sa.delete(part).where(part.c.id == 2))
    driver: Any = session.connection().connection.dbapi_connection
    found = driver.execute(_ALL_ROWS).fetchall()
    return None if found == _AFTERWARDS else f"its changes leave the rows {found}"


def reads_error(session: Session) -> str | None:
    """Execute reads that each depend on a private name; return what is wrong with the result, or None."""
    whole = _table()
    some = sa.select(whole.c.note).cte()
    text = scoped_text("SELECT note FROM multisite_self_test_parent WHERE site_id = :site_id")
    inherited = sa.select(Part.extra)
    for statement in (sa.select(some.c.note), text, inherited, sa.select(whole.c.note).group_by(whole.c.id)):
        found = session.scalars(statement).all()
        if found != ["own"]:
            return f"it reads {found} in place of the row of its site by {statement}"
    keys = {frozenset(constraint.column_keys) for constraint in _table(Part).foreign_key_constraints}
    return None if {"id", "site_id"} in keys else "a reference does not take site_id along"
