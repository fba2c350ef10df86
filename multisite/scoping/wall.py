"""Put up the wall, and check that it stands.

Two places of SQLAlchemy are taken, both of which every engine and dialect passes: the making of a statement's
compiler, and the making of its execution context; and a third, `Session.merge`, which can do without a statement.
There is nothing to call for an application: importing `multisite.scoping`, which `SiteScoped` needs, does it, also
for engines that already exist.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from multisite.errors import MultisiteError
from multisite.scoping import execution, reference, violation
from multisite.scoping.column import SITE_PARAMETER, SiteId
from multisite.scoping.compiler import PlainCompiler, ScopedCompiler, scoped_class
from multisite.scoping.pin import merge_checked

__all__ = ["check", "put_up"]


def _new_compiler(cls: Any, *args: Any, **kwargs: Any) -> Any:
    # An instance of a subclass: Python then calls its __init__ as if it had been asked for.
    return object.__new__(cls if issubclass(cls, (ScopedCompiler, PlainCompiler)) else scoped_class(cls))


def put_up() -> None:
    """Put the wall in front of every engine of this process and check it. Safe to repeat."""
    SQLCompiler.__new__ = staticmethod(_new_compiler)  # type: ignore[method-assign]
    execution.put_in_front()
    reference.put_in_front()
    violation.put_in_front()
    Session._merge = merge_checked  # type: ignore[method-assign, assignment]
    check()


def check() -> None:
    """Compile one statement of each kind and raise `MultisiteError` if any comes out without the site.

    Run when the wall is put up, so that a release of SQLAlchemy that works differently stops the start, not the
    separation of sites.
    """
    table = sa.table("multisite_wall_check", sa.column("id", sa.Integer), sa.column("site_id", SiteId))
    other = table.alias()
    statements: list[tuple[Any, int]] = [
        (sa.select(table.c.id), 1),
        (sa.select(other.c.id), 1),
        (sa.select(table.c.id).outerjoin(other, other.c.id == table.c.id), 2),
        (sa.select(table.c.id).join(other, other.c.id == table.c.id, full=True), 2),
        (sa.select(sa.exists(sa.select(table.c.id)), sa.select(other.c.id).scalar_subquery()), 2),
        (sa.update(table).values(id=1), 1),
        (sa.delete(table), 1),
        (sqlite.insert(table).values(id=1).on_conflict_do_update(index_elements=["id"], set_={"id": 2}), 1),
    ]
    dialect = sqlite.dialect(paramstyle="named")
    for statement, times in statements:
        text = str(statement.compile(dialect=dialect))
        if text.count(f":{SITE_PARAMETER.key}") != times:
            raise MultisiteError(
                f"SQLAlchemy {sa.__version__} does not let multisite limit statements to a site; it makes this: {text}"
            )
