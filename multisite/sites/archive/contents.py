"""An application's declarations about the data of its sites, for export and import.

`config.add_site_reference`, `config.add_site_text` and `config.add_site_export` fill a `SiteContents`; scripts without
Pyramid create one themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from multisite.core.site import Site
from multisite.scoping.tables import tables

__all__ = ["REFLECTED", "SiteContents", "SitePart", "SiteReference"]

Key = tuple[str, Any]
"""The name of a table, with its schema if it has one, and a key in it."""


class SiteReference(NamedTuple):
    """How the keys inside the values of a column are found and replaced.

    `find(value)` yields a `(table, key)` for each. `replace(value, new)` returns the value with `new[table, key]` in
    their place; `new` has what `find` yielded.
    """

    find: Callable[[Any], Iterable[Key]]
    replace: Callable[[Any, Mapping[Key, Any]], Any]


class SitePart(NamedTuple):
    """What another part of the application adds to an archive: both are called with `(site, connection, folder)`."""

    export: Callable[[Site, Connection, Path], object]
    import_: Callable[[Site, Connection, Path], object]


@dataclass
class SiteContents:
    """The data of the sites of an application besides their folders and their rows in the directory.

    Attributes:
        metadata: The tables of the application; None for those of every MetaData of the process.
        references: By table and column, how keys inside its values are found and replaced.
        texts: By table and column, a function `rewrite(value, url)` that returns the value with each address `a` as
            `url(a)`.
        parts: By name, what other parts of the application export and import.
    """

    metadata: Iterable[sa.MetaData] | None = None
    references: dict[tuple[str, str], SiteReference] = field(default_factory=dict)
    texts: dict[tuple[str, str], Callable[[Any, Callable[[str], str]], Any]] = field(default_factory=dict)
    parts: dict[str, SitePart] = field(default_factory=dict)

    def without_later_tables(self) -> SiteContents:
        """Return the same without any MetaData that is created from now on, such as those of migrations."""
        metadata = tuple(tables.metadata if self.metadata is None else self.metadata)
        return replace(self, metadata=metadata)

    def tables(self) -> Iterator[sa.Table]:
        """Yield the tables of the application, without those of multisite and alembic."""
        from multisite.directory.schema import metadata as own  # Servers, which import this module, need few of them.

        for metadata in tuple(tables.metadata if self.metadata is None else self.metadata):
            if metadata is not own and not metadata.info.get(REFLECTED):
                for table in metadata.tables.values():
                    is_foreign = table.fullname in own.tables or table.schema in _CATALOGS
                    if not is_foreign and not table.name.startswith(_ALEMBIC_TABLES):
                        yield table


REFLECTED = "multisite_reflected"
"""The key in `MetaData.info` that is True if its tables are not the application's, but were read from a database."""

_ALEMBIC_TABLES = ("alembic_version", "multisite_alembic_version", "_alembic_tmp_")

_CATALOGS = ("pg_catalog", "information_schema")
"""The schemas of the catalogs, of which SQLAlchemy's dialects have tables in a MetaData of their own."""
