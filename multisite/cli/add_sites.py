"""`multisite add-sites`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from multisite.cli.arguments import allow_mixed_option, json_option
from multisite.cli.output import print_json
from multisite.cli.progress import Progress
from multisite.cli.site_settings import declared_settings
from multisite.sites.ini import read_ini

if TYPE_CHECKING:
    from multisite.sites.batches import BatchResult, NewSite
    from multisite.sites.settings import SettingsRegistry

__all__ = ["add_sites"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check the file and the hosts, without adding a site.")
@allow_mixed_option
@json_option
@click.pass_context
def add_sites(ctx: click.Context, file: Path, dry_run: bool, allow_mixed: bool, as_json: bool) -> None:
    """Add the sites that a CSV or TOML file describes.

    All of them are checked first, and none is added if one is invalid. Existing sites are not changed, so that the
    command can be repeated.
    """
    from multisite.sites import batches
    from multisite.sites.site_file import read_site_file

    ini = read_ini(ctx.obj)
    wanted = read_site_file(file, allow_mixed=allow_mixed)
    progress = Progress(interval_seconds=1, delay_seconds=5)
    with _declared(ctx.obj, wanted) as declared:
        results = batches.add_sites(
            ini.open_engine(),
            wanted,
            settings=ini.settings,
            declared=declared,
            dry_run=dry_run,
            progress=lambda added: progress.show(f"{added} sites added"),
        )
    if as_json:
        print_json([_as_dict(each) for each in results])
    else:
        _print_table(results)
    if any(each.result == "invalid" for each in results):
        ctx.exit(1)


@contextmanager
def _declared(ini_uri: str, wanted: Sequence[NewSite]) -> Iterator[SettingsRegistry | None]:
    """Yield the settings that the application declares; None without loading it if no site has settings."""
    if not any(new.settings for new in wanted):
        yield None
        return
    with declared_settings(ini_uri) as (_ini, _engine, declared):
        yield declared


def _print_table(results: Sequence[BatchResult]) -> None:
    width = max(len(each.domain) for each in results)
    for each in results:
        place = f"{each.new.place}: " if each.result == "invalid" else ""
        click.echo(f"{each.domain:<{width}}  {each.result}" + (f": {place}{each.reason}" if each.reason else ""))
    counts = Counter(each.result for each in results)
    click.echo(f"{', '.join(f'{number} {result}' for result, number in counts.items())}.")


def _as_dict(each: BatchResult) -> dict[str, object]:
    return {
        "place": each.new.place,
        "domain": each.domain,
        "id": each.site_id,
        "result": each.result,
        "reason": each.reason,
    }
