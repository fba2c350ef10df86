"""Find rows that the driver of SQLite cannot read, since SQLite accepts any bytes in any column.

One such row makes the whole statement fail, and the driver names only the column. Functions whose results people read
therefore look for the row and name it in the error, so that it can be corrected.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from multisite.core import program
from multisite.directory.tables import domains_table, settings_table, sites_table
from multisite.errors import MultisiteError

__all__ = ["name_unreadable_rows"]

UNREADABLE = (DBAPIError, ValueError, TypeError)
"""Raised for bytes that are not valid UTF-8, and by SQLAlchemy for an invalid date."""


@contextmanager
def name_unreadable_rows(connection: Connection) -> Iterator[None]:
    """Name the row if the statements inside the block fail because the driver cannot read one.

    Raises:
        MultisiteError: In place of the driver's error, if there is such a row.
    """
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
    """Return the first unreadable row, such as "row 7 of sites"; None if there is none, or if nothing can be read.

    It reads row by row, which takes a minute for a million rows.
    """
    for table in (sites_table, domains_table, settings_table):
        keys = list(table.primary_key)
        # SQLite converts bytes to text here, so that bytes that are valid UTF-8 count as readable.
        columns = [sa.cast(each, sa.Text) if isinstance(each.type, sa.String) else each for each in table.columns]
        try:
            # Fails if a column or the table is missing, which is no fault of a row.
            connection.execute(sa.select(*columns).where(sa.false()))
            for key in connection.execute(sa.select(*keys).order_by(*keys)):
                conditions = [column == value for column, value in zip(keys, key, strict=True)]
                try:
                    connection.execute(sa.select(*columns).where(*conditions)).all()
                except UNREADABLE:
                    return f"row {', '.join(map(str, key))} of {table.name}"
        except DBAPIError:
            return None
    return None
