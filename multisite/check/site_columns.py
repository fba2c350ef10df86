"""Check that the tables of scoped models exist in the database, with a valid `site_id`."""

from __future__ import annotations

from collections.abc import Iterator

from multisite.alembic.schema import TableName
from multisite.check.application import Application, Database
from multisite.check.schema import TableSchema
from multisite.core import program
from multisite.core.finding import Finding
from multisite.scoping.column import SITE_COLUMN

__all__ = ["check_columns"]


def _remedy(application: Application, name: TableName) -> str:
    """Return how to make the table `name` match its model; alembic only finds models that env.py imports."""
    migrate = program.command("migrate")
    environment = application.environment
    if application.ini is not None and not application.ini.has_alembic:
        return f"add the application's migrations to [alembic] in the ini, write a revision, and run '{migrate}'"
    if environment is not None and environment.heads != environment.wanted:
        return f"run '{migrate}', and check again"
    how = f"write a revision ('alembic revision --autogenerate') and run '{migrate}'"
    if environment is None or name in environment.tables:
        return how
    return (
        "its model is not in the target_metadata of env.py, so 'alembic revision --autogenerate' would ignore it: "
        f"import the module of the model there, {how}"
    )


def check_columns(application: Application) -> Iterator[Finding]:
    """Report scoped tables that do not exist, or whose `site_id` is missing, nullable, or without a foreign key."""
    for database in application.databases:
        for declared, found in database.scoped_tables():
            if found is not None:
                yield from _site_column_findings(application, database, found)
            elif declared.name not in database.views:
                remedy = _remedy(application, declared.name)
                yield Finding("missing-table", str(declared.name), "is not in the database", remedy)


def _site_column_findings(application: Application, database: Database, found: TableSchema) -> Iterator[Finding]:
    name = str(found.name)
    if SITE_COLUMN not in found.nullable:
        message = "the model is SiteScoped, but the table in the database has no column site_id"
        yield Finding("missing-site-id", name, message, _remedy(application, found.name))
        return
    if found.nullable[SITE_COLUMN]:
        message = "site_id may be NULL in the database: such a row belongs to no site, and no site sees it"
        yield Finding("nullable-site-id", name, message, "assign those rows to a site and make the column NOT NULL")
    targets = {reference.target for reference in found.references if reference.columns == (SITE_COLUMN,)}
    # If the table `sites` is in another database, there is nothing to refer to.
    if database.sites() is not None and TableName(None, "sites") not in targets:
        message = "site_id has no foreign key to sites in the database, which therefore accepts ids that no site has"
        yield Finding("unreferenced-site-id", name, message, _remedy(application, found.name))
