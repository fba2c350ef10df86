"""`multisite shell`."""

from __future__ import annotations

import sys

import click

from multisite.cli.arguments import HostCommand
from multisite.cli.output import next_step
from multisite.sites.ini import read_ini

__all__ = ["shell"]


@click.command(cls=HostCommand)
@click.argument("host")
@click.option("-c", "code", metavar="CODE", help="Run CODE instead of opening a shell.")
@click.pass_context
def shell(ctx: click.Context, host: str, code: str | None) -> None:
    """Open a Python shell with a request for a site.

    HOST is any domain of the site. The shell has app, registry, request, site, dbsession and tm, and what the section
    [pshell] of the ini adds. Changes are rolled back unless tm.commit() is called. Code is read from stdin if that is
    not a terminal.
    """
    from multisite.directory.records import get_site

    record = get_site(read_ini(ctx.obj).open_engine(), host)
    if record.status != "active":
        click.echo(f"{record.site} is not open to visitors ({record.status}): {next_step(record)}", err=True)
    # Imports Pyramid.
    from multisite.cli.pshell import run, run_code

    runner = None
    if code is not None:
        runner = run_code(code, "<string>")
    elif not sys.stdin.isatty():
        runner = run_code(sys.stdin.read(), "<stdin>")
    ctx.exit(run(ctx.obj, record.site, runner))
