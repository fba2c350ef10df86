"""`multisite check-domains`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json_list
from multisite.sites.ini import read_ini

if TYPE_CHECKING:
    from multisite.sites.domain_checks import DomainCheck

__all__ = ["check_domains"]


@click.command(cls=HostCommand)
@click.argument("site", required=False)
@json_option
@click.pass_context
def check_domains(ctx: click.Context, site: str | None, as_json: bool) -> None:
    """Check the records in DNS and the certificates of domains.

    SITE is any domain of a site; without it, the domains of all sites are checked. Exits with 1 if one is not right.
    """
    from multisite.directory.records import get_site, list_sites
    from multisite.sites import domain_checks

    ini = read_ini(ctx.obj)
    engine = ini.open_engine()
    records = list_sites(engine) if site is None else [get_site(engine, site)]
    checks = domain_checks.check_domains(engine, records, domain_checks.DomainChecker(ini.settings.public_addresses))
    if as_json:
        print_json_list(map(_as_dict, checks))
    else:
        for check in checks:
            until = "" if check.certificate_until is None else f" until {check.certificate_until:%Y-%m-%d}"
            line = f"{check.domain:30} DNS {check.dns}, certificate {check.certificate}{until}"
            click.echo(f"{line}{f': {check.message}' if check.message else ''}")
    if not all(check.is_good for check in checks):
        ctx.exit(1)


def _as_dict(check: DomainCheck) -> dict[str, Any]:
    until = check.certificate_until and check.certificate_until.isoformat()
    return {**asdict(check), "checked": check.checked.isoformat(), "certificate_until": until}
