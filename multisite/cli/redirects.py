"""`multisite list-redirects`, `add-redirect`, `remove-redirect`, `import-`, `export-redirects` and `list-missing`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json, print_json_list
from multisite.core import program
from multisite.sites.ini import read_ini

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from multisite.content.redirect_rules import Rule

__all__ = ["add_redirect", "export_redirects", "import_redirects", "list_missing", "list_redirects", "remove_redirect"]


@click.command(cls=HostCommand)
@click.argument("host")
@json_option
@click.pass_obj
def list_redirects(ini_uri: str, host: str, as_json: bool) -> None:
    """List the redirects of a site of multisite.content.

    HOST is any host of the site.
    """
    from multisite.content import redirects

    with _site_session(ini_uri, host) as (session, _hosts):
        found = redirects.list_redirects(session)
        if as_json:
            print_json_list({**_as_dict(rule), "imported": imported} for rule, imported in found)
            return
        for rule, imported in found:
            click.echo(f"{rule}{', imported' if imported else ''}")


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("path")
@click.argument("target", required=False)
@click.option("--status", type=click.Choice(["301", "302", "410"]), default="301", help="410: gone, without a TARGET.")
@json_option
@click.pass_obj
def add_redirect(ini_uri: str, host: str, path: str, target: str | None, status: str, as_json: bool) -> None:
    """Redirect an address without a page, or change its redirect.

    PATH is the old address: /2012/old.html, '/?p=123' or '/blog/*' for all below /blog. TARGET is a path of the site or
    a URL; at its end, /* stands for the rest of the address.
    """
    from multisite.content import redirects
    from multisite.content.redirect_rules import InvalidRedirect, parse_rule

    with _site_session(ini_uri, host) as (session, own_hosts):
        try:
            rule = parse_rule(path, target, int(status), own_hosts)
        except InvalidRedirect as error:
            raise click.ClickException(str(error)) from None
        changes = redirects.save_redirects(session, [rule])
        for _, reason in changes.refused:
            raise click.ClickException(f"{rule} is refused: {reason}")
        _record(session, "add-redirect", after=_as_dict(rule))
        session.commit()
    verb = "Added" if changes.added else "Changed" if changes.updated else "Already there"
    if as_json:
        print_json(_as_dict(rule))
    else:
        click.echo(f"{verb}: {rule}.")


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("path")
@json_option
@click.pass_obj
def remove_redirect(ini_uri: str, host: str, path: str, as_json: bool) -> None:
    """Remove the redirect of an address."""
    from multisite.content import redirects
    from multisite.content.redirect_rules import InvalidRedirect, parse_path

    with _site_session(ini_uri, host) as (session, _hosts):
        try:
            removed = redirects.remove_redirect(session, path)
        except InvalidRedirect as error:
            raise click.ClickException(str(error)) from None
        if not removed:
            command = program.command(f"list-redirects {host}")
            raise click.ClickException(f"{host} has no redirect of {parse_path(path)}; list all: {command}")
        _record(session, "remove-redirect", before={"path": parse_path(path)})
        session.commit()
    if as_json:
        print_json({"path": parse_path(path)})
    else:
        click.echo(f"Removed the redirect of {parse_path(path)}.")


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
@click.option("--dry-run", is_flag=True, help="Check the file without changing anything.")
@json_option
@click.pass_obj
def import_redirects(ini_uri: str, host: str, file: TextIO, dry_run: bool, as_json: bool) -> None:
    """Add or change redirects from a CSV file, all of them or none.

    FILE has the columns path, target and status (301, 302 or 410; without it 301); - reads from standard input.
    """
    from multisite.content import redirects
    from multisite.content.redirect_csv import read_rules

    with _site_session(ini_uri, host) as (session, own_hosts):
        rules, bad = read_rules(file, own_hosts)
        changes = redirects.save_redirects(session, rules.values())
        lines = {rule.path: number for number, rule in rules.items()}
        bad |= {lines[rule.path]: f"{rule.path} is refused: {reason}" for rule, reason in changes.refused}
        counts = {"added": len(changes.added), "updated": len(changes.updated), "unchanged": len(changes.unchanged)}
        if bad or dry_run:
            session.rollback()
        else:
            _record(session, "import-redirects", after=counts)
            session.commit()
    if as_json:
        listed = [{"line": number, "reason": reason} for number, reason in sorted(bad.items())]
        print_json({"host": host, **counts, "bad": listed, "rolled_back": bool(bad or dry_run)})
    else:
        for number, reason in sorted(bad.items()):
            click.echo(f"{file.name}:{number}: {reason}", err=True)
        _print_counts(host, counts, len(bad), dry_run)
    if bad:
        raise SystemExit(1)


def _print_counts(host: str, counts: dict[str, int], bad: int, dry_run: bool) -> None:
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    if bad:
        click.echo(f"Imported no redirects into {host}: {bad} bad.")
    elif dry_run:
        click.echo(f"Would import redirects into {host}: {text}. Nothing was changed.")
    else:
        click.echo(f"Imported redirects into {host}: {text}.")


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=True))
@click.pass_obj
def export_redirects(ini_uri: str, host: str, file: TextIO) -> None:
    """Write the redirects of a site to a CSV file, which import-redirects reads.

    FILE may be - for standard output.
    """
    from multisite.content import redirects
    from multisite.content.redirect_csv import write_rules

    with _site_session(ini_uri, host) as (session, _hosts):
        count = write_rules((rule for rule, _ in redirects.list_redirects(session)), file)
    if file.name != "-":
        click.echo(f"Wrote {count} redirects of {host} to {file.name}.")


@click.command(cls=HostCommand)
@click.argument("host")
@click.option(
    "--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="At most this many addresses."
)
@click.option("--clear", is_flag=True, help="Delete the counts afterwards.")
@json_option
@click.pass_obj
def list_missing(ini_uri: str, host: str, limit: int, clear: bool, as_json: bool) -> None:
    """List the most requested addresses that have neither a page nor a redirect.

    HOST is any host of the site.
    """
    from multisite.content import missing

    with _site_session(ini_uri, host) as (session, _hosts):
        found = [(row.path, row.requests, row.seen) for row in missing.list_missing(session, limit)]
        if clear:
            missing.forget_missing(session)
            _record(session, "list-missing", after={"cleared": True})
            session.commit()
    if as_json:
        print_json_list({"path": path, "requests": count, "seen": seen.isoformat()} for path, count, seen in found)
        return
    for path, count, seen in found:
        click.echo(f"{count:>8} {path} (last on {seen:%Y-%m-%d})")


@contextmanager
def _site_session(ini_uri: str, host: str) -> Iterator[tuple[Session, frozenset[str]]]:
    """Yield a session for the site of `host`, and the hosts that serve nothing but this site."""
    from sqlalchemy.orm import Session

    from multisite.core import domains
    from multisite.directory.records import get_site
    from multisite.page_cache import publish_changes

    ini = read_ini(ini_uri)
    engine = ini.open_engine()
    if ini.settings.page_cache_seconds:
        publish_changes(engine)
    record = get_site(engine, host)
    with Session(engine, info={"site": record.site}) as session:
        parsed = [domains.parse(each.host, underscores=True) for each in record.domains]
        yield session, frozenset(domain.name for domain in parsed if not domain.path)
    engine.dispose()


def _record(session: Session, what: str, **values: Any) -> None:
    from multisite.sites import operator_log

    operator_log.record(session.connection(), what, session.info["site"], **values)


def _as_dict(rule: Rule) -> dict[str, str | int | None]:
    return {"path": rule.path, "target": rule.target, "status": rule.status}
