"""`multisite collect-static`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from multisite.cli.arguments import json_option
from multisite.cli.output import print_json
from multisite.errors import MultisiteError
from multisite.sites.ini import read_ini

__all__ = ["collect_static"]


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--compress", is_flag=True, help="Put a .gz beside each file that compresses well.")
@json_option
@click.pass_obj
def collect_static(ini_uri: str, folder: Path, compress: bool, as_json: bool) -> None:
    """Collect the static files of all sites for a web server or a CDN.

    DIR gets a folder for each host. Running the command again writes changed files and removes deleted ones.
    """
    from multisite.directory.records import list_sites
    from multisite.sites import collect_static

    ini = read_ini(ini_uri)
    try:
        done = collect_static.collect_static(ini.settings, list_sites(ini.open_engine()), folder, compress=compress)
    except OSError as error:
        raise MultisiteError(f"cannot write {error.filename or folder}: {error.strerror}") from error
    if as_json:
        print_json(dataclasses.asdict(done))
    else:
        sites, files = (
            f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((done.sites, "site"), (done.files, "file"))
        )
        click.echo(f"Collected {sites} into {folder}: {files}, {done.written} written, {done.removed} removed.")
