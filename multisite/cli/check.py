"""`multisite check`."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json
from multisite.cli.progress import Progress
from multisite.sites.ini import read_ini

if TYPE_CHECKING:
    from multisite.core.finding import Finding

__all__ = ["check"]


@click.command(cls=HostCommand)
@click.argument("host", required=False)
@click.option("--keep", is_flag=True, help="Keep the findings for the page Health of the console.")
@json_option
@click.pass_context
def check(ctx: click.Context, host: str | None, keep: bool, as_json: bool) -> None:
    """Check the separation of sites for faults.

    Loads the application without serving it, and checks its models and its database. HOST is any domain of a site;
    it limits the check to that site. Exits with 1 if there are faults; notices do not count.
    """
    from multisite.check import run

    if keep and host is not None:
        raise click.UsageError("--keep is for the check of all sites: do not pass HOST with it.")
    progress, started = Progress(delay_seconds=None), time.monotonic()
    findings = run(ctx.obj, host, progress=lambda subject: progress.show(f"Checking {subject}"))
    if keep:
        from multisite.sites.last_check import keep_check

        keep_check(read_ini(ctx.obj).open_engine(), findings, seconds=time.monotonic() - started)
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        _print_findings(findings)
    if any(finding.severity == "fault" for finding in findings):
        ctx.exit(1)


def _print_findings(findings: Sequence[Finding]) -> None:
    for _, group in itertools.groupby(findings, key=lambda finding: finding.kind):
        for finding in group:
            click.echo(str(finding))
        click.echo()
    counts = Counter(finding.severity for finding in findings)
    found = [f"{count} {severity}{'s' * (count != 1)}" for severity, count in sorted(counts.items())]
    click.echo(f"{' and '.join(found) or 'Nothing'} found.")
