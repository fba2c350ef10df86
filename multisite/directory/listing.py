"""List sites page by page, in the order of their canonical domains, by search, status and theme; and count them.

A page begins after the last domain of the page before (keyset), so that the last page takes no longer than the first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core import domains
from multisite.core.domains import Domain
from multisite.directory.tables import AS_MULTISITE, domains_table, sites_table
from multisite.directory.unreadable_rows import name_unreadable_rows
from multisite.directory.word_table import begins_a_word
from multisite.errors import InvalidHost

__all__ = [
    "EVERY_SITE",
    "HAS_CANONICAL",
    "SiteSelection",
    "SiteSummary",
    "TemplateSource",
    "canonical",
    "count_by_status",
    "count_sites",
    "page_of_sites",
    "site",
    "status",
    "summarize_sites",
    "template_sources",
]

PAGE_SUMMARIES = 10_000
"""How many sites are read at a time; the connection is released before they are yielded."""

site = sites_table
canonical = domains_table.alias("canonical")
_domain = domains_table.alias("searched")

status = sa.case(
    (site.c.status == "pending", "pending"),
    (site.c.availability == "open", "active"),
    else_=site.c.availability,
).label("status")
"""The status of a site as in `SiteRecord.status`."""

# As literal SQL, because a parameter keeps databases from using the index of canonical domains.
HAS_CANONICAL = (canonical.c.site_id == site.c.id) & (canonical.c.kind == sa.literal_column("'canonical'"))
_ORDER = sa.tuple_(canonical.c.host, canonical.c.port, canonical.c.path)


@dataclass(frozen=True, slots=True)
class SiteSelection:
    """Which sites are listed. Each field that is set excludes further sites.

    `search` is part of the display name or of any domain, in upper or lower case. `statuses` are as in
    `SiteRecord.status`; empty for all. `theme` is the name of a theme, an empty text for sites without one.

    `words` is the beginning of a word in the display name or in any domain, as in `multisite.directory.word_table`. It
    finds less than `search`, by an index.
    """

    search: str | None = None
    statuses: Collection[str] = ()
    theme: str | None = None
    words: str | None = None

    def conditions(self, *, is_common: bool = False) -> Iterator[sa.ColumnElement[bool]]:
        """Yield the conditions of a statement on `site`; `is_common` if `words` finds many sites."""
        if self.search is not None:
            yield _contains(self.search)
        if self.statuses:
            yield status.element.in_(self.statuses)
        if self.theme is not None:
            yield site.c.theme == self.theme if self.theme else site.c.theme.is_(None)
        if self.words is not None:
            yield begins_a_word(self.words, site.c.id, is_common=is_common)


EVERY_SITE = SiteSelection()


def _contains(text: str) -> sa.ColumnElement[bool]:
    port = sa.case((_domain.c.port == 0, ""), else_=":" + sa.cast(_domain.c.port, sa.String))
    whole = _domain.c.host + port + _domain.c.path
    found = [whole.icontains(text, autoescape=True)]
    if not text.isascii():
        # Domains are stored in the form of DNS.
        with suppress(InvalidHost):
            found.append(whole.icontains(str(domains.existing(text)), autoescape=True))
    has_domain = sa.exists().where(_domain.c.site_id == site.c.id, sa.or_(*found))
    return sa.or_(site.c.name.icontains(text, autoescape=True), has_domain)


def page_of_sites(
    statement: sa.Select[*tuple[Any, ...]], chosen: SiteSelection, after: Domain | None, size: int
) -> sa.Select[*tuple[Any, ...]]:
    """Return `statement`, on `site` and `canonical`, limited to the first `size` of the chosen sites.

    With `after` they are the first whose canonical domain follows it.
    """
    page = statement.where(*chosen.conditions()).order_by(*_ORDER.clauses).limit(size)
    return page if after is None else page.where(sa.tuple_(after.name, after.port or 0, after.path) < _ORDER)


class SiteSummary(NamedTuple):
    """The canonical domain, the display name and the status of a site."""

    domain: str
    name: str
    status: str


class TemplateSource(NamedTuple):
    """The site's id, its folder and its theme."""

    site_id: int
    folder: str
    theme: str | None


_SUMMARIES = sa.select(canonical.c.host, canonical.c.port, canonical.c.path, site.c.name, status).join_from(
    site, canonical, HAS_CANONICAL
)


_TEMPLATES = sa.select(
    canonical.c.host, canonical.c.port, canonical.c.path, site.c.id, site.c.folder, site.c.theme
).join_from(site, canonical, HAS_CANONICAL)


def summarize_sites(
    engine: Engine, chosen: SiteSelection = EVERY_SITE, *, after: Domain | None = None, limit: int | None = None
) -> Iterator[list[SiteSummary]]:
    """Yield the sites that `list_sites` yields, in pages, with less of each and faster."""
    for rows in _pages(engine, _SUMMARIES, chosen, after, limit):
        yield [
            SiteSummary(str(Domain(host, port or None, path)) if port or path else host, name, found)
            for host, port, path, name, found in rows
        ]


def template_sources(engine: Engine) -> Iterator[TemplateSource]:
    """Yield what decides which templates a site has, for the sites that `list_sites` yields."""
    for rows in _pages(engine, _TEMPLATES, EVERY_SITE, None, None):
        yield from (TemplateSource(*row[3:]) for row in rows)


def _pages(
    engine: Engine,
    statement: sa.Select[*tuple[Any, ...]],
    chosen: SiteSelection,
    after: Domain | None,
    limit: int | None,
) -> Iterator[Sequence[sa.Row[*tuple[Any, ...]]]]:
    """Yield pages of rows of `statement`, whose first columns are the host, port and path of the canonical domain."""
    while limit is None or limit > 0:
        size = PAGE_SUMMARIES if limit is None else min(limit, PAGE_SUMMARIES)
        with engine.connect().execution_options(**AS_MULTISITE) as connection, name_unreadable_rows(connection):
            rows = connection.execute(page_of_sites(statement, chosen, after, size)).all()
        yield rows
        if len(rows) < size:
            return
        host, port, path, *_rest = rows[-1]
        after = Domain(host, port or None, path)
        limit = None if limit is None else limit - size


def count_sites(engine: Engine, chosen: SiteSelection = EVERY_SITE) -> dict[str, int]:
    """Return the number of sites by status, without statuses that no site has."""
    counted = sa.select(status, sa.func.count()).join_from(site, canonical, HAS_CANONICAL).where(*chosen.conditions())
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return dict(connection.execute(counted.group_by(status).order_by(status)).all())


def count_by_status(engine: Engine) -> dict[str, int]:
    """Return what `count_sites` returns for all sites, without reading those that are active.

    These are the rest: databases count all rows of an index faster than those with a value.
    """
    columns = {
        "pending": site.c.status == "pending",
        **{each: (site.c.status == "active") & (site.c.availability == each) for each in _AVAILABILITIES},
    }
    counted = [sa.select(sa.func.count()).select_from(site).where(each).scalar_subquery() for each in columns.values()]
    every = sa.select(sa.func.count()).select_from(site).scalar_subquery()
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        total, *numbers = connection.execute(sa.select(every, *counted)).one()
    found = {"active": total - sum(numbers), **dict(zip(columns, numbers, strict=True))}
    # Of a removed site only its row remains.
    return {name: number for name, number in sorted(found.items()) if number and name != "removed"}


_AVAILABILITIES = ("maintenance", "disabled", "removing", "removed")
