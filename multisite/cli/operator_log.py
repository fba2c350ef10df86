"""`multisite list-log`."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json_list
from multisite.errors import MultisiteError
from multisite.sites.ini import read_ini

if TYPE_CHECKING:
    from multisite.sites.operator_log import LogEntry

__all__ = ["list_log", "parse_since"]

_AGE = re.compile(r"([1-9][0-9]{0,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_since(text: str) -> datetime:
    """Return the time of `text`: an age such as `7d`, or a time, which is in UTC if it names no zone.

    Raises:
        MultisiteError: It is neither.
    """
    if match := _AGE.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo is not None else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise MultisiteError(
            f"'{text}' is not a time: expected one such as 2030-01-31T18:00, or an age such as 30m, 12h, 7d or 2w"
        ) from None


@click.command(cls=HostCommand)
@click.argument("site", required=False)
@click.option("--since", metavar="TIME", help="Only entries from then on: 2030-01-31T18:00 (UTC), 12h, 7d.")
@click.option("--who", metavar="NAME", help="Only what this user or operator did.")
@click.option("--what", "whats", multiple=True, metavar="ACTION", help="Only this action; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="List at most N entries.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.pass_obj
def list_log(
    ini_uri: str,
    site: str | None,
    *,
    since: str | None,
    who: str | None,
    whats: tuple[str, ...],
    limit: int | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List who changed what: the operator log.

    SITE is any domain of a site, or the canonical domain of a removed one. The newest entry is first. An ACTION has the
    name of its command, such as add-domain.
    """
    from multisite.sites import operator_log

    if as_json and as_csv:
        raise click.UsageError("Pass --json or --csv, not both.")
    ini = read_ini(ini_uri)
    chosen = operator_log.LogSelection(site, who, whats, None if since is None else parse_since(since))
    entries = operator_log.list_log(ini.open_engine(), chosen, limit=limit)
    if as_json:
        print_json_list(map(_as_dict, entries))
    elif as_csv:
        _print_csv(entries, [each.name for each in fields(operator_log.LogEntry)])
    else:
        for entry in entries:
            click.echo(_line(entry))


def _as_dict(entry: LogEntry) -> dict[str, Any]:
    return {**asdict(entry), "at": entry.at.isoformat()}


def _print_csv(entries: Iterable[LogEntry], columns: list[str]) -> None:
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        row = _as_dict(entry)
        writer.writerow({**row, **{name: row[name] and json.dumps(row[name]) for name in ("before", "after")}})


def _line(entry: LogEntry) -> str:
    names = dict.fromkeys([*(entry.before or {}), *(entry.after or {})])
    values = "; ".join(_value(name, entry) for name in names)
    return f"{entry.at:%Y-%m-%d %H:%M:%S}  {entry.who}  {entry.what}  {entry.site or '-'}  {values}".rstrip()


def _value(name: str, entry: LogEntry) -> str:
    before, after = ((values or {}).get(name) for values in (entry.before, entry.after))
    new = json.dumps(after, ensure_ascii=False)
    return f"{name}: {new}" if before is None else f"{name}: {json.dumps(before, ensure_ascii=False)} -> {new}"
