"""`multisite check`."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json

if TYPE_CHECKING:
    from multisite.finding import Finding

__all__ = ["check"]


@click.command(cls=HostCommand)
@click.argument("host", required=False)
@json_option
@click.pass_context
def check(ctx: click.Context, host: str | None, as_json: bool) -> None:
    """Look for faults in the separation of sites.

    Loads the application, without serving it, and looks at its models and at its database. HOST is any host of a site,
    to look only at what concerns that one. Ends with 1 if there are faults; a notice is none.
    """
    from multisite.check import run

    findings = run(ctx.obj, host, progress=_show_progress)
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        _print_findings(findings)
    if any(finding.severity == "fault" for finding in findings):
        ctx.exit(1)


def _show_progress(doing: str) -> None:
    # For somebody who waits, not for the log of a nightly job.
    if sys.stderr.isatty():
        click.echo(f"Looking at {doing}", err=True)


def _print_findings(findings: Sequence[Finding]) -> None:
    for _, group in itertools.groupby(findings, key=lambda finding: finding.kind):
        for finding in group:
            click.echo(str(finding))
        click.echo()
    counts = Counter(finding.severity for finding in findings)
    found = [f"{count} {severity}{'s' * (count != 1)}" for severity, count in sorted(counts.items())]
    click.echo(f"{' and '.join(found) or 'Nothing'} found.")
