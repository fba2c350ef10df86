"""Add many sites in one run: all of them are checked first, and then added in batches.

Each batch is reserved in one transaction and completed in another, as a single site is (`updates.py`). If a run is
interrupted, the same run completes it: existing sites are not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from multisite.core.domains import Domain
from multisite.core.settings import Settings
from multisite.directory.models import DomainRow
from multisite.directory.records import SiteRecord, read_sites
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import DomainTaken, MultisiteError, escape_for_message
from multisite.sites.creation import SiteDetails, SitePlan, complete_site, delete_pending, plan_site, reserve_site
from multisite.sites.settings.registry import SettingsRegistry, parse_own_settings
from multisite.sites.settings.values import check_settings, insert_settings, record_settings
from multisite.sites.transaction import directory_transaction

__all__ = ["BATCH_SITES", "BatchResult", "NewSite", "add_sites"]

BATCH_SITES = 100
"""How many sites are added in one transaction, in which others cannot change the directory."""

STATEMENT_DOMAINS = 300
"""How many domains one statement looks up: SQLite limits the number of its parameters."""

Result = Literal["added", "new", "exists", "invalid", "not added"]


@dataclass(frozen=True, slots=True)
class NewSite:
    """A site to add: its canonical domain, its options, and its settings as texts by name.

    `place` says where the site is described, such as "line 3".
    """

    host: str
    details: SiteDetails = field(default_factory=SiteDetails)
    settings: dict[str, str] = field(default_factory=dict)
    place: str = ""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The outcome for a `NewSite`.

    `result` is `added`; `new` if it would be added (`dry_run`); `exists` if a site has this canonical domain already,
    which was not changed; `invalid`; or `not added`, because another one is invalid. `reason` says what is invalid, or
    in what an existing site differs; else it is None. `site_id` is None unless the site exists.
    """

    new: NewSite
    domain: str
    result: Result
    site_id: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Planned:
    """A valid site of the run, and its index in the results."""

    index: int
    new: NewSite
    plan: SitePlan


def add_sites(
    engine: Engine,
    wanted: Sequence[NewSite],
    *,
    settings: Settings,
    declared: SettingsRegistry | None = None,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda added: None,
) -> list[BatchResult]:
    """Add all sites of `wanted`, or none if one of them is invalid.

    The call can be repeated: existing sites are not changed, incomplete ones are completed.

    Args:
        engine: The database of the directory.
        wanted: The sites to add.
        settings: Where the folders of the sites are created.
        declared: The settings that the application declares; needed only if sites have settings.
        dry_run: Only check, and change nothing.
        progress: Called after each batch with the number of sites that were added so far.

    Returns:
        A result for each of `wanted`, in the same order.

    Raises:
        DomainTaken: A domain was taken after the check.
        MultisiteError: A folder cannot be created. The batches before were added; the same call adds the rest.
    """
    planned, results = _plan_all(wanted, settings, declared)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        planned = list(_compare(connection, planned, results))
    is_refused = any(each.result == "invalid" for each in results.values())
    for each in planned:
        result: Result = "new" if dry_run else "not added"
        results[each.index] = BatchResult(each.new, str(each.plan.domain), result)
    if not dry_run and not is_refused:
        for start in range(0, len(planned), BATCH_SITES):
            batch = planned[start : start + BATCH_SITES]
            for each, site_id in zip(batch, _add(engine, batch, settings), strict=True):
                results[each.index] = replace(results[each.index], result="added", site_id=site_id)
            progress(start + len(batch))
    return [results[index] for index in range(len(wanted))]


def _plan_all(
    wanted: Sequence[NewSite], settings: Settings, declared: SettingsRegistry | None
) -> tuple[list[_Planned], dict[int, BatchResult]]:
    """Return the sites that are valid in themselves, and the results of the others by index."""
    planned: list[_Planned] = []
    results: dict[int, BatchResult] = {}
    places: dict[Domain, str] = {}
    for index, new in enumerate(wanted):
        try:
            plan = plan_site(new.host, settings, **new.details)
            columns, _rows = check_settings(new.settings, declared or SettingsRegistry({}))
            if columns:
                raise MultisiteError(f"{' and '.join(columns)} is not a setting: write it beside the host")
            for domain in (plan.domain, *plan.aliases):
                if domain in places:
                    raise MultisiteError(f"'{domain}' is in {places[domain]} as well")
        except MultisiteError as error:
            results[index] = BatchResult(new, escape_for_message(new.host), "invalid", reason=str(error))
            continue
        places.update(dict.fromkeys((plan.domain, *plan.aliases), new.place or f"site {index + 1}"))
        planned.append(_Planned(index, new, plan))
    return planned, results


def _compare(
    connection: Connection, planned: Sequence[_Planned], results: dict[int, BatchResult]
) -> Iterator[_Planned]:
    """Yield those of `planned` whose domains are free, and add the results of the others to `results`."""
    owners = _owners(connection, [domain for each in planned for domain in (each.plan.domain, *each.plan.aliases)])
    for each in planned:
        domain, aliases = each.plan.domain, each.plan.aliases
        owner = owners.get(domain)
        if owner is None or owner.site.domain != str(domain):
            reason = _taken((domain, *aliases), owners)
        elif owner.status == "pending":
            # An interrupted run left it, possibly with other aliases, which are replaced.
            reason = _taken(aliases, {alias: found for alias, found in owners.items() if found is not owner})
        elif owner.status == "removing":
            reason = f"the site {owner.site} is being removed"
        else:
            difference = _differences(owner, each.new, each.plan)
            results[each.index] = BatchResult(each.new, str(domain), "exists", owner.site.id, difference)
            continue
        if reason is None:
            yield each
        else:
            results[each.index] = BatchResult(each.new, str(domain), "invalid", reason=reason)


def _taken(domains: Sequence[Domain], owners: Mapping[Domain, SiteRecord]) -> str | None:
    """Return why these domains cannot be inserted; None if all of them are free."""
    taken = next((domain for domain in domains if domain in owners), None)
    return None if taken is None else str(DomainTaken(str(taken), owners[taken].site.domain))


def _owners(connection: Connection, wanted: Sequence[Domain]) -> dict[Domain, SiteRecord]:
    """Return the sites that have domains of `wanted`, by domain."""
    columns = DomainRow.host, DomainRow.port, DomainRow.path
    ids: dict[Domain, int] = {}
    for start in range(0, len(wanted), STATEMENT_DOMAINS):
        some = [(each.name, each.port or 0, each.path) for each in wanted[start : start + STATEMENT_DOMAINS]]
        found = sa.select(*columns, DomainRow.site_id).where(sa.tuple_(*columns).in_(some))
        for host, port, path, site_id in connection.execute(found):
            ids[Domain(host, port or None, path)] = site_id
    records = {record.site.id: record for record in read_sites(connection, sorted(set(ids.values())))}
    return {domain: records[site_id] for domain, site_id in ids.items() if site_id in records}


def _differences(record: SiteRecord, new: NewSite, plan: SitePlan) -> str | None:
    """Return in what an existing site differs from what its description names; None if in nothing."""
    site = record.site
    different = [name for name, value in plan.details.items() if name in new.details and value != getattr(site, name)]
    different += ["aliases"] * (not {str(alias) for alias in plan.aliases} <= {each.host for each in record.domains})
    own = parse_own_settings(site.own_settings)
    different += sorted(name for name, text in new.settings.items() if own.get(name) != text)
    return f"it has another value for {', '.join(different)}" if different else None


def _add(engine: Engine, batch: Sequence[_Planned], settings: Settings) -> list[int]:
    """Add the sites of a batch, and return their ids. If that fails, none of them is left."""
    domains = [domain for each in batch for domain in (each.plan.domain, *each.plan.aliases)]
    with directory_transaction(engine, *domains) as connection:
        reserved = [reserve_site(connection, each.plan) for each in batch]
    ids = [site_id for site_id, _is_new in reserved]
    try:
        with directory_transaction(engine, *domains) as connection:
            for each, site_id in zip(batch, ids, strict=True):
                complete_site(connection, each.plan, site_id, settings)
            texts = {i: each.new.settings for i, each in zip(ids, batch, strict=True) if each.new.settings}
            insert_settings(connection, texts)
            record_settings(connection, "set", list(read_sites(connection, list(texts))), texts)
    except Exception as error:
        if not isinstance(error, DomainTaken):
            # As in `create_site`: sites that remain are pending, and the same call completes them.
            with suppress(SQLAlchemyError):
                delete_pending(engine, [site_id for site_id, is_new in reserved if is_new])
        raise
    return ids
