"""Read and write redirects as CSV, with the columns `path`, `target` and `status`."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable
from typing import TextIO

from multisite.content.redirect_rules import InvalidRedirect, Rule, parse_rule

__all__ = ["COLUMNS", "read_rules", "write_rules"]

COLUMNS = ("path", "target", "status")
"""The columns; in a file that is read, the first line may name them, and `status` may be missing, which means 301."""


def read_rules(lines: TextIO, own_hosts: Collection[str] = ()) -> tuple[dict[int, Rule], dict[int, str]]:
    """Return the rules in a file by line number, and what is wrong with the other lines; empty lines are skipped."""
    rules: dict[int, Rule] = {}
    bad: dict[int, str] = {}
    seen: dict[str, int] = {}
    reader = csv.reader(lines)
    try:
        for row in reader:
            number = reader.line_num
            if not any(cell.strip() for cell in row) or (not rules and not bad and _is_header(row)):
                continue
            try:
                rules[number] = rule = _rule(row, own_hosts)
                if (earlier := seen.setdefault(rule.path, number)) != number:
                    raise InvalidRedirect(f"{rule.path} is already in line {earlier}")
            except InvalidRedirect as error:
                bad[number] = str(error)
    except csv.Error as error:
        bad[reader.line_num] = f"not CSV: {error}"
    except UnicodeDecodeError:
        bad[reader.line_num + 1] = "not UTF-8"
    return {number: rule for number, rule in rules.items() if number not in bad}, bad


def _is_header(row: list[str]) -> bool:
    names = tuple(cell.strip().lower() for cell in row)
    return names in (COLUMNS, COLUMNS[:2])


def _rule(row: list[str], own_hosts: Collection[str]) -> Rule:
    cells = [cell.strip() for cell in row]
    if not 2 <= len(cells) <= len(COLUMNS):
        raise InvalidRedirect(f"{len(cells)} columns: expected {', '.join(COLUMNS)}, separated by commas")
    path, target, status = (*cells, "")[:3]
    if status and not (status.isascii() and status.isdigit() and len(status) == 3):
        raise InvalidRedirect(f"status {status[:80]!r} is not a number like 301")
    return parse_rule(path, target or None, int(status or 301), own_hosts)


def write_rules(rules: Iterable[Rule], file: TextIO) -> int:
    """Write `rules` to `file` with a first line of names, so that `read_rules` reads them; return their number."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for count, rule in enumerate(rules, start=1):  # noqa: B007
        writer.writerow([rule.path, rule.target or "", rule.status])
    return count
