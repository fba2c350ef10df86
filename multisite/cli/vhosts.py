"""`multisite vhosts`."""

from __future__ import annotations

import logging
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multisite.cli.arguments import json_option
from multisite.cli.output import print_json

if TYPE_CHECKING:
    from multisite.vhosts.dispatcher import Vhosts
    from multisite.vhosts.routes import Route

__all__ = ["vhosts"]


@click.command()
@click.argument("ini_argument", metavar="[INI]", required=False)
@click.option("--find", "url", metavar="URL", help="Only show which application serves URL, and why.")
@json_option
@click.pass_context
def vhosts(ctx: click.Context, ini_argument: str | None, url: str | None, as_json: bool) -> None:
    """Show which application serves which domain, and load them all.

    INI is the ini file with the section that uses egg:pyramid-multisite#vhosts, by default that of -c. The name of the
    section may follow, as in production.ini#main.
    """
    from multisite.vhosts.explain import read_vhosts

    file, _, name = str(ini_argument or ctx.obj).partition("#")
    found, run_hooks = read_vhosts(Path(file).absolute(), name or None)
    if url is not None:
        _print_answer(ctx, found, url, as_json)
        return
    # A broken application is a row of the table; the server's log has its traceback.
    quiet = logging.getLogger("multisite.vhosts")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    with redirect_stdout(sys.stderr):  # What applications print must not mix with the JSON.
        run_hooks()
        found.load_all()
    rows = [_row(found, route) for route in found.table.routes]
    if as_json:
        print_json(rows)
    else:
        _print_table(rows)
    if any(row["state"] != "serving" for row in rows):
        ctx.exit(1)


def _row(found: Vhosts, route: Route) -> dict[str, Any]:
    """Return the JSON object of a route; seconds and bytes are those of its application, None if unknown."""
    application = found.applications[route.application]
    load = application.last_load
    return {
        "domain": _domain(route),
        "line": route.position.line,
        "application": application.name,
        "section": application.title.strip("[]"),
        "state": application.state,
        "reason": application.reason,
        "seconds": None if load is None else round(load.seconds, 4),
        "grown_bytes": None if load is None else load.grown_bytes,
    }


def _domain(route: Route) -> str:
    return f"any host{route.path}/" if route.domain is None else f"{route.domain}/"


def _print_table(rows: list[dict[str, Any]]) -> None:
    heads = ("domain", "application", "state", "loaded in", "growth")
    seen: set[str] = set()
    cells = [heads]
    for row in rows:
        again = row["application"] in seen
        seen.add(row["application"])
        grown = row["grown_bytes"]
        load = "" if again or row["seconds"] is None else f"{row['seconds']:.2f} s"
        growth = "" if again or grown is None else f"{grown / 2**20:.1f} MiB"
        cells.append((row["domain"], row["application"], row["state"], load, growth))
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for each in cells:
        texts = [text.ljust(width) for text, width in zip(each[:3], widths, strict=False)]
        texts += [text.rjust(width) for text, width in zip(each[3:], widths[3:], strict=True)]
        click.echo("  ".join(texts).rstrip())
    for section, reason in {row["section"]: row["reason"] for row in rows if row["reason"]}.items():
        click.echo(f"{section} is broken: {reason}", err=True)


def _print_answer(ctx: click.Context, found: Vhosts, url: str, as_json: bool) -> None:
    from multisite.vhosts.explain import explain

    answer = explain(found.table, url, underscores=found.allow_underscores)
    route = answer.route
    if as_json:
        print_json(
            {
                "url": url,
                "application": None if route is None else route.application,
                "domain": None if route is None else _domain(route),
                "line": None if route is None else route.position.line,
                "script_name": answer.script_name,
                "path_info": answer.path_info,
                "others": [
                    {
                        "application": each.application,
                        "domain": _domain(each),
                        "line": each.position.line,
                        "why": why,
                    }
                    for each, why in answer.others
                ],
            }
        )
    elif route is None:
        click.echo(f"No application serves {url}: no line matches, so the answer is 404.")
    else:
        click.echo(f"{found.applications[route.application].title} serves it, by {route.line}.")
        click.echo(f"It gets SCRIPT_NAME '{answer.script_name}' and PATH_INFO '{answer.path_info}'.")
        for other, why in answer.others:
            click.echo(f"It takes precedence over {other.line}: {why}.")
    if route is None:
        ctx.exit(1)
