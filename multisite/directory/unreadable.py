"""Unreadable rows: what the driver of SQLite cannot read, since SQLite takes any bytes in any column.

One such row fails the whole statement, and the driver says the column alone. Whoever reads for people looks for the row
then, so that it can be corrected.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from multisite import program
from multisite.errors import MultisiteError
from multisite.models import DomainRow, SettingRow, SiteRow

__all__ = ["name_unreadable_rows"]

UNREADABLE = (DBAPIError, ValueError, TypeError)
"""What is raised for bytes that are no UTF-8, and by SQLAlchemy for a time that is none."""


@contextmanager
def name_unreadable_rows(connection: Connection) -> Iterator[None]:
    """Raise `MultisiteError` that names the row, where reading the directory inside the block fails for one."""
    try:
        yield
    except UNREADABLE as error:
        row = _first_unreadable(connection) if connection.dialect.name == "sqlite" else None
        if row is None:
            raise
        reason = str(getattr(error, "orig", error)).partition("\n")[0]
        raise MultisiteError(
            f"{row} cannot be read ({reason}): correct it in the table, then run: {program.command('refresh')}"
        ) from error


def _first_unreadable(connection: Connection) -> str | None:
    """Return which row it is, such as "row 7 of sites"; None if each can be read, or none at all.

    One after the other: that takes a minute for a million, where nothing would work anyway.
    """
    for model in (SiteRow, DomainRow, SettingRow):
        table = model.__table__
        keys = list(table.primary_key)
        # As text, which bytes pass for that were put into a column of texts.
        columns = [sa.cast(each, sa.Text) if isinstance(each.type, sa.String) else each for each in table.columns]
        try:
            for key in connection.execute(sa.select(*keys).order_by(*keys)):
                conditions = [column == value for column, value in zip(keys, key, strict=True)]
                try:
                    connection.execute(sa.select(*columns).where(*conditions)).all()
                except UNREADABLE:
                    return f"row {', '.join(map(str, key))} of {model.__tablename__}"
        except DBAPIError:
            return None
    return None
