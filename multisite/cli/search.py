"""The command `multisite reindex-search`."""

from __future__ import annotations

import click

from multisite.cli.progress import Progress
from multisite.errors import MultisiteError
from multisite.sites.ini import read_ini, with_distribution

__all__ = ["reindex_search"]


@click.command("reindex-search")
@click.argument("host", required=False)
@click.option("--all", "every", is_flag=True, help="All sites.")
@click.pass_obj
def reindex_search(ini_uri: str, host: str | None, every: bool) -> None:
    """Rebuild the search index of a site.

    HOST is any host of the site. This is needed after rows were changed without a flush, after an upgrade that adds
    an index, and after a change of the site's language.
    """
    if every == (host is not None):
        raise click.UsageError("name a site, or pass --all")
    from pyramid.paster import get_app
    from sqlalchemy.orm import Session

    from multisite.directory.records import get_site, list_sites
    from multisite.page_cache import publish_changes
    from multisite.sites.operator_log import record_now

    get_app(with_distribution(ini_uri))  # Imports the models of the application.
    from multisite.search.index import indexes

    if not indexes:
        raise MultisiteError("the application declares no SearchIndex: see docs/search.md")
    ini = read_ini(ini_uri)
    engine = ini.open_engine()
    if ini.settings.page_cache_seconds:
        publish_changes(engine)
    found = list_sites(engine) if host is None else [get_site(engine, host)]
    progress = Progress(interval_seconds=1, delay_seconds=5)
    for record in found:
        with Session(engine, info={"site": record.site}) as session:
            rows = sum(
                index.reindex(session, lambda number: progress.show(f"{record.site}: {number} rows"))  # noqa: B023
                for index in indexes
            )
        record_now(engine, "reindex-search", record.site, after={"rows": rows})
        click.echo(f"Indexed {rows} rows of {record.site}.")
    engine.dispose()
