"""The operator log: filtered, page by page, and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request
from pyramid.response import Response

from multisite.console.pages import add_page, variables
from multisite.console.site_list_pages import explain
from multisite.errors import MultisiteError
from multisite.sites.operator_log import LogEntry, LogSelection, list_log

__all__ = ["includeme"]

PAGE_ENTRIES = 50

FILTERS = ("site", "who", "what", "since", "until")
"""The query parameters of the filters; the last two are dates in UTC."""

MAX_FILTER_CHARACTERS = 460


def log(request: Request) -> Any:
    """The entries of the log, the newest first."""
    error, entries = None, []
    try:
        found = list_log(
            request.console.engine, _selection(request), before_id=_before(request), limit=PAGE_ENTRIES + 1
        )
        entries = list(found)
    except MultisiteError as refused:
        error = explain(request, refused)
        request.response.status_int = 400
    more = entries[PAGE_ENTRIES - 1].id if len(entries) > PAGE_ENTRIES else None
    return variables(
        request,
        days=[list(of_day) for _day, of_day in groupby(entries[:PAGE_ENTRIES], lambda each: each.at.date())],
        chosen=_filters(request),
        older=None if more is None else request.route_path("log", _query={**_filters(request), "before": more}),
        as_csv=request.route_path("log_csv", _query=_filters(request)),
        changes=_changes,
        error=error,
    )


def _filters(request: Request) -> dict[str, str]:
    texts = ((name, request.GET.get(name, "").strip().replace("\0", "")) for name in FILTERS)
    return {name: text[:MAX_FILTER_CHARACTERS] for name, text in texts if text}


def _selection(request: Request) -> LogSelection:
    found = _filters(request)
    until = _day(found.get("until"))
    return LogSelection(
        site=found.get("site"),
        who=found.get("who"),
        whats=tuple(found.get("what", "").split()),
        since=_day(found.get("since")),
        until=None if until is None else until + timedelta(days=1),
    )


def _day(text: str | None) -> datetime | None:
    """Return the begin of a day in UTC. Raises `HTTPBadRequest` if it is none."""
    if text is None:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise HTTPBadRequest from error
    if not 1970 <= day.year < 9999:
        raise HTTPBadRequest
    return day


def _before(request: Request) -> int | None:
    text = request.GET.get("before")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise HTTPBadRequest
    return int(text)


class ShownValue(NamedTuple):
    """A value of an entry: its texts before and after, or of a list what was removed and added."""

    name: str
    before: str | None = None
    after: str | None = None
    removed: Sequence[str] = ()
    added: Sequence[str] = ()


def _changes(entry: LogEntry) -> list[ShownValue]:
    """Return the values of an entry."""
    before, after = entry.before or {}, entry.after or {}
    return [_shown(name, before.get(name), after.get(name)) for name in dict.fromkeys([*before, *after])]


def _shown(name: str, before: Any, after: Any) -> ShownValue:
    if _is_list(before) and _is_list(after) and set(before) != set(after):
        removed, added = (
            [each for each in one if each not in other] for one, other in ((before, after), (after, before))
        )
        return ShownValue(name, removed=removed, added=added)
    return ShownValue(name, _text(before), _text(after))


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _text(value: Any) -> str | None:
    if _is_list(value):
        return ", ".join(value)
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def log_csv(request: Request) -> Response:
    """The chosen entries as CSV, which is streamed."""
    try:
        entries = list_log(request.console.engine, _selection(request))
        first = next(entries, None)
    except MultisiteError as error:
        raise HTTPBadRequest(explain(request, error)) from error
    response = Response(content_type="text/csv", charset="utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="multisite-log.csv"'
    response.app_iter = _lines(first, entries)
    return response


def _lines(first: LogEntry | None, others: Iterator[LogEntry]) -> Iterator[bytes]:
    columns = [each.name for each in fields(LogEntry)]
    yield (",".join(columns) + "\n").encode()
    if first is not None:
        yield _line(first, columns)
    for entry in others:
        yield _line(entry, columns)


def _line(entry: LogEntry, columns: list[str]) -> bytes:
    row = {**asdict(entry), "at": entry.at.isoformat()}
    row |= {name: row[name] and json.dumps(row[name]) for name in ("before", "after")}
    line = io.StringIO()
    csv.DictWriter(line, columns, lineterminator="\n").writerow(row)
    return line.getvalue().encode()


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "log", "/log", log, "log", role="look")
    add_page(config, "log_csv", "/log.csv", log_csv, role="look")
