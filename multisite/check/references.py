"""Check that references stay within a site, and that they have indexes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from multisite.alembic.schema import Link, Reference, TableName
from multisite.check.application import Application, Database
from multisite.check.schema import TableSchema
from multisite.core.finding import Finding
from multisite.scoping.column import SITE_COLUMN

__all__ = ["check_indexes", "check_references", "references_of"]


def references_of(database: Database, declared: TableSchema, found: TableSchema | None) -> list[Reference]:
    """Return the references from a scoped table to scoped tables: of the model, its relationships and the database."""
    links = [link for link in database.links.values() if link.table == declared.name]
    everything = [*declared.references, *links, *(found.references if found is not None else ())]
    return list(_among_scoped(database, everything))


def _among_scoped(database: Database, references: Iterable[Reference]) -> Iterator[Reference]:
    seen = set()
    for reference in references:
        if reference.target in database.scoped and reference.pairs and reference.link not in seen:
            seen.add(reference.link)
            yield reference


def check_references(application: Application) -> Iterator[Finding]:
    """Report references that allow a row to refer to another site's row, and those from unscoped to scoped tables."""
    for database in application.databases:
        for declared, found in database.scoped_tables():
            yield from _references_across_sites(database, declared, found)
        yield from _references_from_unscoped(application, database)
        yield from _relationships_without_key(database)


def _references_across_sites(database: Database, declared: TableSchema, found: TableSchema | None) -> Iterator[Finding]:
    in_model, in_database = (_by_link(database, table) for table in (declared, found))
    for link in sorted({**in_database, **in_model}, key=str):
        model, there = in_model.get(link), in_database.get(link)
        reference = model or in_database[link]
        loose = {
            " of the model": model is not None and not model.holds_site,
            " in the database": found is not None and there is not None and not there.holds_site,
        }
        if any(loose.values()):
            where = "" if all(loose.values()) else next(where for where, is_loose in loose.items() if is_loose)
            yield _reference_finding(reference, f"the reference to {reference.target}{where} does not hold site_id")
        elif found is not None and there is None:
            yield _reference_finding(reference, f"the reference to {reference.target} is not in the database")
        clears = {each.clears for each in (model, there) if each is not None and each.holds_site and each.clears}
        for action in sorted(clears):
            yield Finding(
                "reference-clears-site",
                str(reference),
                f"{action} would clear site_id too",
                "use CASCADE, RESTRICT or no action, and clear the reference in code",
            )


def _by_link(database: Database, table: TableSchema | None) -> dict[Link, Reference]:
    """Return the references among scoped tables; of two for the same link, the one that holds the site."""
    references = table.references if table is not None else ()
    among = [each for each in references if each.target in database.scoped and each.pairs]
    return {each.link: each for each in sorted(among, key=lambda each: each.holds_site)}


def _reference_finding(reference: Reference, fault: str) -> Finding:
    message = f"{fault}: it can refer to another site's row"
    return Finding("reference-without-site", str(reference), message, _remedy(reference))


def _remedy(reference: Reference) -> str:
    if len(reference.pairs) != 1:
        return "add site_id to both sides of it"
    return f'declare it with scoped_reference("{reference.target}.{reference.pairs[0][1]}") and migrate'


def _references_from_unscoped(application: Application, database: Database) -> Iterator[Finding]:
    names = {*database.declared, *database.found} - database.scoped
    for name in sorted(names, key=str):
        found = database.found.get(name)
        if name not in database.declared and found is not None and SITE_COLUMN in found.nullable:
            # `check_undeclared_tables` reports it.
            continue
        tables = [table for table in (database.declared.get(name), found) if table is not None]
        for reference in _among_scoped(database, (each for table in tables for each in table.references)):
            yield Finding(
                "unscoped-reference",
                str(reference),
                f"refers to the scoped table {reference.target}, but {name} is not scoped: all sites see its rows",
                "add SiteScoped to its model, and replace the foreign key by scoped_reference",
                "notice" if application.is_global(name) else "fault",
            )


def _relationships_without_key(database: Database) -> Iterator[Finding]:
    for relationship, link in sorted(database.links.items()):
        tables: tuple[TableSchema | None, ...] = (database.declared[link.table], database.found.get(link.table))
        known = {each.link for table in tables if table is not None for each in table.references}
        if link.pairs and link.link not in known:
            yield Finding(
                "reference-without-key",
                relationship,
                f"{link} refers to {link.target} without a foreign key: it can refer to another site's row",
                _remedy(link),
            )


def check_indexes(application: Application) -> Iterator[Finding]:
    """Report missing indexes for the rows of a site, and for the rows that refer to a row."""
    for database in application.databases:
        for declared, found in database.scoped_tables():
            if found is None or SITE_COLUMN not in found.nullable:
                continue
            if not any(index[:1] == (SITE_COLUMN,) for index in found.indexes):
                yield _missing_index(found.name, (SITE_COLUMN,), "finding the rows of a site")
            for reference in references_of(database, declared, found):
                if not any(_serves(index, set(reference.own_columns)) for index in found.indexes):
                    columns = (SITE_COLUMN, *reference.own_columns)
                    yield _missing_index(
                        found.name, columns, f"finding or deleting the rows of a row of {reference.target}"
                    )


def _serves(index: tuple[str, ...], columns: set[str]) -> bool:
    """Return whether an index begins with `columns`, in any order, with or without `site_id`."""
    with_site = columns | {SITE_COLUMN}
    return set(index[: len(columns)]) == columns or set(index[: len(with_site)]) == with_site


def _missing_index(name: TableName, columns: tuple[str, ...], doing: str) -> Finding:
    listed = ", ".join(columns)
    quoted = ", ".join(f'"{column}"' for column in columns)
    return Finding(
        "missing-index",
        f"{name}.{'+'.join(columns[1:]) or columns[0]}",
        f"no index begins with {listed}: {doing} reads the whole table",
        f'add sa.Index("ix_{name.name}_{"_".join(columns)}", {quoted}) and migrate',
    )
