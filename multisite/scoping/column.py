"""The column `site_id`, and the bind parameter that carries the site into a statement.

Both read `executing`, the scope that is set only while the parameters of one statement are built. It is a context
variable that is saved and restored, because a default or a bind may execute SQL of another session in between.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.expression import TableClause
from sqlalchemy.sql.operators import eq, in_op, ne, not_in_op
from sqlalchemy.types import TypeDecorator

from multisite.core.current_site import Scope
from multisite.directory.tables import sites_table
from multisite.scoping.errors import CrossSiteError, NoCurrentSite

__all__ = ["SITE_COLUMN", "SITE_PARAMETER", "SiteId", "executing", "has_site_id", "is_site_id", "site_id_column"]

SITE_COLUMN = "site_id"
"""The name of the column, in every scoped table."""

executing: ContextVar[Scope | None] = ContextVar("multisite_executing", default=None)
"""The scope of the statement whose parameters are being built; None at any other time."""


def _executing_site_id(what: str) -> int:
    scope = executing.get()
    if scope is None:
        raise NoCurrentSite(what)
    if scope.site is None:
        raise NoCurrentSite("an INSERT under all_sites, without an explicit site_id,")
    return scope.site.id


class SiteId(TypeDecorator[int]):
    """The type of a `site_id` column: a 64-bit integer that may only be compared with, or set to, the site in scope.

    Binding the id of another site raises `CrossSiteError`; binding any value without a site raises `NoCurrentSite`.
    Under `all_sites` every value is allowed.
    """

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        """Return the id of the site in scope, or any `value` under `all_sites`.

        Raises:
            NoCurrentSite: no statement is being executed, or none with a known site.
            CrossSiteError: `value` is the id of another site.
        """
        scope = executing.get()
        if scope is None:
            raise NoCurrentSite("a statement that names a site_id")
        if scope.site is not None and value is not None and value != scope.site.id:
            raise CrossSiteError(f"site_id {value} is not the site in scope, {scope.site.host} ({scope.site.id})")
        # Send the site's own id, not `value`, whose class may define its own __eq__.
        return value if scope.site is None or value is None else scope.site.id

    def process_literal_param(self, value: int | None, dialect: Dialect) -> Any:
        """Check a literal value as `process_bind_param` does, unless the statement is only being printed."""
        return value if executing.get() is None else self.process_bind_param(value, dialect)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        """Return this type for values that a `site_id` is compared with, and a plain integer for arithmetic."""
        return self if op in (eq, ne, in_op, not_in_op) else sa.BigInteger()


def is_site_id(type_: Any) -> bool:
    """Return whether a type is exactly `SiteId`, which rejects the ids of other sites.

    A subclass or a variant does not count, because it could leave values unchecked.
    """
    return type(type_) is SiteId and not type_._variant_mapping


class _SiteInScope(TypeDecorator[int]):
    """The type of `SITE_PARAMETER`: sends the id of the site in scope and ignores any value given."""

    impl = sa.BigInteger
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], int]:
        def site_in_scope(value: Any) -> int:
            # The common case is inlined, because this runs for every statement on scoped tables.
            scope = executing.get()
            if scope is not None and scope.site is not None:
                return scope.site.id
            return _executing_site_id("a statement on scoped tables")

        return site_in_scope


SITE_PARAMETER: sa.BindParameter[int] = sa.BindParameter(
    "multisite_site", None, type_=_SiteInScope(), unique=False, required=False
)
"""The bind parameter that limits a statement. It is not part of any cache key, and a value given for it is ignored, so
one compiled statement serves all sites."""


def has_site_id(table: TableClause) -> bool:
    """Return whether `table` is declared as scoped: it has a `site_id` column of the type `SiteId`."""
    column = table.columns.get(SITE_COLUMN)
    return column is not None and is_site_id(column.type)


def default_site_id(context: Any) -> int:
    """Return the id of the site in scope: the default of every `site_id` column.

    The unused argument `context` is required: SQLAlchemy wraps a default without it in an object that cannot be
    pickled, and then no statement on a scoped table could be pickled.
    """
    return _executing_site_id("an INSERT into a scoped table")


def reference_to_sites() -> sa.ForeignKey:
    """Return a new foreign key to `sites`.

    It refers to the Column object: a string would be looked up in the application's MetaData, which has no `sites`.
    """
    return sa.ForeignKey(sites_table.c.id)


def site_id_column() -> sa.Column[int]:
    """Return a new `site_id` column for a plain `Table`, such as an association table; models use `SiteScoped`.

    The column is a 64-bit integer, not null, with a foreign key to `sites`. Its default is the session's site.
    """
    return sa.Column(SITE_COLUMN, SiteId(), reference_to_sites(), nullable=False, default=default_site_id)
