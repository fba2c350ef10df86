"""Keep the words by which operators find sites (`multisite.directory.word_table`)."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite.core.domains import Domain
from multisite.directory.models import SiteRow
from multisite.directory.records import SiteRecord, read_sites
from multisite.directory.tables import AS_MULTISITE, as_multisite, domains_table, raise_version
from multisite.directory.word_table import words_of, words_table

__all__ = ["complete_words", "update_words"]

PAGE_SITES = 1_000
"""How many sites `complete_words` compares at a time."""

_words = words_table.c
_domain = domains_table.c


def update_words(connection: Connection, before: SiteRecord | None, after: SiteRecord | None) -> None:
    """Replace the words in which the two records of a site differ, in the transaction of its change.

    Args:
        connection: A connection to the database of the directory.
        before: None for a new site.
        after: None for a removed one.
    """
    record = after or before
    old, new = _words_of_record(before), _words_of_record(after)
    if record is None or old == new:
        return
    # Those to be added too: a version of multisite without this table may have left some.
    gone = [_words.site_id == record.site.id]
    if before is not None and after is not None:
        gone.append(_words.word.in_(old ^ new))
    with as_multisite(connection):
        connection.execute(sa.delete(words_table).where(*gone))
        if added := sorted(new - old):
            rows = [{"site_id": record.site.id, "word": word} for word in added]
            connection.execute(sa.insert(words_table), rows)


def _words_of_record(record: SiteRecord | None) -> set[str]:
    return set() if record is None else words_of(record.site.name, [each.host for each in record.domains])


def complete_words(engine: Engine) -> int:
    """Compare the words of all sites with their names and domains, and replace those that differ.

    They differ after changes by SQL, and by processes of a version without this table.

    Returns:
        The number of sites whose words were replaced.
    """
    last, changed = 0, 0
    while True:
        with engine.connect().execution_options(**AS_MULTISITE) as connection:
            page = sa.select(SiteRow.id).where(SiteRow.id > last).order_by(SiteRow.id).limit(PAGE_SITES)
            ids = list(connection.scalars(page))
            if not ids:
                return changed
            wrong = _wrong_sites(connection, ids[0], ids[-1])
        if wrong:
            _replace_words(engine, wrong)
        last, changed = ids[-1], changed + len(wrong)


def _wrong_sites(connection: Connection, first: int, last: int) -> list[int]:
    """Return those of the sites from one id to another whose words differ from their names and domains."""
    sites = sa.select(SiteRow.id, SiteRow.name).where(SiteRow.id.between(first, last))
    names = dict(connection.execute(sites).all())
    hosts: dict[int, list[str]] = {}
    complete = set()
    domains = sa.select(_domain.site_id, _domain.host, _domain.port, _domain.path, _domain.kind)
    for site_id, host, port, path, kind in connection.execute(domains.where(_domain.site_id.between(first, last))):
        hosts.setdefault(site_id, []).append(str(Domain(host, port or None, path)))
        if kind == "canonical":
            complete.add(site_id)
    stored: dict[int, set[str]] = {}
    for site_id, word in connection.execute(sa.select(words_table).where(_words.site_id.between(first, last))):
        stored.setdefault(site_id, set()).add(word)
    # A removed site has no domains, and therefore no words; nor has one without a canonical domain: no list shows it.
    expected = {each: words_of(names[each], hosts[each]) for each in names.keys() & complete}
    return sorted(each for each in names if expected.get(each, set()) != stored.get(each, set()))


def _replace_words(engine: Engine, site_ids: list[int]) -> None:
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        # No site can change until the commit, and those that have changed meanwhile are read.
        raise_version(connection)
        connection.execute(sa.delete(words_table).where(_words.site_id.in_(site_ids)))
        rows = [
            {"site_id": record.site.id, "word": word}
            for record in read_sites(connection, site_ids)
            for word in sorted(_words_of_record(record))
        ]
        if rows:
            connection.execute(sa.insert(words_table), rows)
