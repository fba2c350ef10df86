"""`multisite each-site`."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multisite.cli.arguments import json_option
from multisite.cli.output import print_json
from multisite.cli.progress import Progress
from multisite.errors import MultisiteError
from multisite.sites.ini import read_ini

if TYPE_CHECKING:
    from multisite.core.site import Site
    from multisite.sites.each_site import Outcome

__all__ = ["each_site"]


@click.command()
@click.option(
    "--only", multiple=True, metavar="PATTERN", help="Run for matching sites, such as '*.example.com'; may be repeated."
)
@click.option("--skip", multiple=True, metavar="PATTERN", help="Skip matching sites; may be repeated.")
@click.option("--keep-going", is_flag=True, help="Continue with the other sites after a failure.")
@click.option(
    "--jobs", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many sites to run for at a time."
)
@json_option
@click.argument("command", nargs=-1, required=True)
@click.pass_context
def each_site(
    ctx: click.Context,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    keep_going: bool,
    jobs: int,
    as_json: bool,
    command: tuple[str, ...],
) -> None:
    """Run a command once for each site.

    COMMAND follows --. It finds the site in the environment variables MULTISITE_SITE and MULTISITE_SITE_ID; an
    argument {} is replaced by the site's domain. Its output goes to stderr. Exits with 1 if the command failed for a
    site or was not run for one.
    """
    from multisite.directory.records import list_sites
    from multisite.sites.each_site import run_for_each, select_sites

    ini = read_ini(ctx.obj)
    if shutil.which(command[0]) is None:
        raise MultisiteError(f"command not found: '{command[0]}'")
    sites = ((record.site, record.status) for record in list_sites(ini.open_engine()))
    chosen = select_sites(sites, only=only, skip=skip)
    numbers, progress = count(1), Progress()
    with _interrupted_by(signal.SIGTERM):
        outcomes = run_for_each(
            chosen,
            command,
            jobs=jobs,
            keep_going=keep_going,
            # Commands of multisite read the same file, whatever folder they run in.
            environ={**os.environ, "MULTISITE_CONFIG": _absolute(ctx.obj)},
            on_output=lambda site, line: progress.show(f"{site} | {line}"),
            on_done=lambda outcome: progress.show(f"[{next(numbers)}/{len(chosen)}] {_line(outcome.site, outcome)}"),
        )
    if as_json:
        print_json([_as_dict(outcome) for outcome in outcomes])
    else:
        _print_table(outcomes)
    if any(outcome.result in {"failed", "not run"} for outcome in outcomes):
        ctx.exit(1)


@contextmanager
def _interrupted_by(number: int) -> Iterator[None]:
    """Handle a signal as Ctrl-C: ending this command ends the commands that it runs."""
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def _absolute(ini_uri: str) -> str:
    path, hash_sign, section = ini_uri.partition("#")
    return f"{Path(path).absolute()}{hash_sign}{section}"


def _line(name: Site | str, outcome: Outcome) -> str:
    return f"{name} {_words(outcome)}" + (f" in {outcome.seconds:.1f} s" if outcome.code is not None else "")


def _words(outcome: Outcome) -> str:
    if outcome.reason is not None:
        return f"{outcome.result}: {outcome.reason}"
    if not outcome.code:
        return outcome.result
    return f"failed with {outcome.code}" if outcome.code > 0 else f"ended by signal {-outcome.code}"


def _print_table(outcomes: Sequence[Outcome]) -> None:
    width = max((len(outcome.site.domain) for outcome in outcomes), default=0)
    for outcome in outcomes:
        click.echo(_line(f"{outcome.site.domain:<{width}} ", outcome))
    counts = Counter(outcome.result for outcome in outcomes)
    click.echo(f"{', '.join(f'{number} {result}' for result, number in counts.items()) or 'No sites'}.")


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    """Return the JSON object; `exit` is None unless the command ran to its end."""
    return {
        "id": outcome.site.id,
        "domain": outcome.site.domain,
        "result": outcome.result,
        "exit": outcome.code,
        "seconds": round(outcome.seconds, 3),
        "reason": outcome.reason,
    }
