"""Whether the tables of scoped models are in the database as the models say: with a `site_id` that holds."""

from __future__ import annotations

from collections.abc import Iterator

from multisite import program
from multisite.check.application import Application, Database
from multisite.check.shape import TableName, TableSchema
from multisite.finding import Finding
from multisite.scoping.column import SITE_COLUMN

__all__ = ["check_columns"]


def _remedy(application: Application, name: TableName) -> str:
    """Return how the table `name` gets what the model says; only what env.py imports can be found by alembic."""
    migrate = program.command("migrate")
    environment = application.environment
    if application.ini is not None and not application.ini.has_alembic:
        return f"name the application's migrations in [alembic] of the ini, write a revision, and run '{migrate}'"
    if environment is not None and environment.heads != environment.wanted:
        return f"run '{migrate}', and check again"
    how = f"write a revision ('alembic revision --autogenerate') and run '{migrate}'"
    if environment is None or name in environment.tables:
        return how
    return (
        "its model is not in the target_metadata of env.py, so that 'alembic revision --autogenerate' would write "
        f"nothing for it: import the module of the model there, {how}"
    )


def check_columns(application: Application) -> Iterator[Finding]:
    """Report scoped tables that are not there, or whose `site_id` is missing, may be empty, or refers to nothing."""
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
        message = "site_id may be NULL in the database: such a row belongs to no site and nobody sees it"
        yield Finding("nullable-site-id", name, message, "give those rows a site and make the column NOT NULL")
    targets = {reference.target for reference in found.references if reference.columns == (SITE_COLUMN,)}
    # Where the sites are in another database there is nothing to refer to.
    if database.sites() is not None and TableName(None, "sites") not in targets:
        message = "site_id has no foreign key to sites in the database, which takes ids that no site has"
        yield Finding("unreferenced-site-id", name, message, _remedy(application, found.name))
