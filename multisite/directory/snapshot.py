"""Snapshot: the sites that were asked for last, in a file, for a process that starts while the database is down.

The file is of lines of JSON: what it is, with a checksum of the rest, and then a line for each host. It is served from
by a process that has never had an answer of the database, and never after the first answer.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

from sqlalchemy.engine import URL

from multisite import forks
from multisite.directory.entry import CachedEntry
from multisite.directory.places import HostMatches, Match, SiteClosure
from multisite.errors import SettingError
from multisite.site import SettingsProvider, Site

__all__ = ["Snapshot"]

log = logging.getLogger(__name__)

FORMAT = 2
"""Another number for files that mean something else. What a site consists of is compared beside it."""

WRITE_PAUSE_SECONDS = 60.0
"""How often, at most, the file is written. All processes of an application share it."""

_SITE_FIELDS = [item.name for item in fields(Site) if item.compare]

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)
"""What a file can raise that is none of ours: it is left alone."""

Entries = dict[str | int, CachedEntry]


class Snapshot:
    """The snapshot in the file `path`, of `size` keys at most.

    `database` is where they are from: a file from another one has other sites by the same ids. `declared` is given to
    its sites; `clock` is that of the directory. Raises `SettingError` if the file has no folder. What goes wrong with
    it later is logged in a line and never raised: the directory works without.
    """

    def __init__(
        self, path: Path, size: int, *, database: URL, declared: SettingsProvider | None, clock: Callable[[], float]
    ) -> None:
        if path.is_dir() or not path.parent.is_dir():
            raise SettingError("multisite.snapshot", path, "a file, in a folder that is there")
        self._path = path
        self._size = size
        self._database = _name_of(database)
        self._declared = declared
        self._clock = clock
        self._kept: Entries | None = None
        self._load_lock = forks.fork_safe_lock()
        self._is_due = False
        self._write_at = clock() + WRITE_PAUSE_SECONDS
        self._writer: Thread | None = None
        self._is_broken = False

    def find(self, key: str | int) -> CachedEntry | None:
        """Return what the file has for `key`, which no version fits, or None."""
        with self._load_lock:
            if self._kept is None:
                self._kept = self._load()
            return self._kept.get(key)

    def note(self, *, is_new: bool, version: int, known: Callable[[], Entries]) -> None:
        """Note that the database has answered; write the file once in a while if there was something new.

        `known` gives what is to be written, entries with places, and `version` is that of the directory. One thread at
        a time may call this.
        """
        self._kept = {}
        self._is_due = self._is_due or is_new
        now = self._clock()
        if not self._is_due or now < self._write_at or (self._writer is not None and self._writer.is_alive()):
            return
        self._is_due, self._write_at = False, now + WRITE_PAUSE_SECONDS
        self._writer = Thread(
            target=self._write, args=(known, version), name="multisite-directory-snapshot", daemon=True
        )
        with suppress(RuntimeError):  # There are too many threads: another time.
            self._writer.start()

    def _write(self, known: Callable[[], Entries], version: int) -> None:
        try:
            others: Entries = {}
            with suppress(OSError, *UNREADABLE):
                others = _load(self._path, self._database, None, self._size)
            # What another process has read of the version that still is, or this one before it was started again.
            kept = {key: entry for key, entry in others.items() if entry.version == version} | known()
            _write(self._path, self._database, _last(kept, self._size))
        except OSError as error:
            if not self._is_broken:
                log.error("the snapshot %s cannot be written: %s", self._path, error.strerror or error)
            self._is_broken = True
        else:
            self._is_broken = False

    def _load(self) -> Entries:
        try:
            kept = _load(self._path, self._database, self._declared, self._size)
        except FileNotFoundError:
            return {}
        except OSError as error:
            log.error("the snapshot %s cannot be read: %s", self._path, error.strerror or error)
        except UNREADABLE as error:
            log.error("the snapshot %s is left alone: %s", self._path, error)
        else:
            log.warning("%d hosts are served from the snapshot %s until the database answers", len(kept), self._path)
            return kept
        return {}


def _last(entries: Entries, size: int) -> Entries:
    """Return the last `size` of `entries`, which are in the order in which they were used."""
    return dict(list(entries.items())[-size:])


def _name_of(database: URL) -> str:
    """Return what tells a database from others, without its password; SHA-256, since the rest is nobody's business."""
    host = database.host or database.query.get("host")  # That of a socket.
    place = (database.get_backend_name(), host, database.port, database.database)
    return hashlib.sha256(repr(place).encode()).hexdigest()


def _write(path: Path, database: str, entries: Entries) -> None:
    """Write the file beside itself and then put it in its place, so that nobody ever reads half of one."""
    lines = [json.dumps([key, entry.version, _plain(entry.places)]) for key, entry in entries.items() if entry.places]
    body = "\n".join(lines).encode()
    head = {"format": FORMAT, "site": _SITE_FIELDS, "database": database, "sha256": hashlib.sha256(body).hexdigest()}
    # Only its owner can read what this makes.
    with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent, delete=False) as file:
        try:
            file.write(json.dumps(head).encode() + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _load(path: Path, database: str, declared: SettingsProvider | None, size: int) -> Entries:
    """Return what the file has. Raises `ValueError` with a reason, or another error, for one that is not right."""
    with path.open("rb") as file:
        _refuse_foreign(os.fstat(file.fileno()))
        head_line, _, body = file.read().partition(b"\n")
    head = json.loads(head_line)
    if (head["format"], head["site"]) != (FORMAT, _SITE_FIELDS):
        raise ValueError("it was written by another version of multisite")
    if head["database"] != database:
        raise ValueError("it is of another database")
    if head["sha256"] != hashlib.sha256(body).hexdigest():
        raise ValueError("it is damaged")
    lines = map(json.loads, body.splitlines()[-size:])
    return {key: CachedEntry(_places(groups, declared), version, math.inf) for key, version, groups in lines}


def _refuse_foreign(status: os.stat_result) -> None:
    # Who writes this file decides which host shows which site.
    if os.name == "posix" and (
        status.st_uid not in {os.geteuid(), 0} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise ValueError("others than the user of this process can write to it")


def _plain(places: HostMatches) -> list[Any]:
    return [[port, [[path, _plain_match(match)] for path, match in paths.items()]] for port, paths in places.groups]


def _plain_match(match: Match) -> dict[str, Any]:
    site = [getattr(match.site, name) for name in _SITE_FIELDS]
    return match._asdict() | {"site": site, "closed": match.closed and _plain_closed(match.closed)}


def _plain_closed(closed: SiteClosure) -> dict[str, Any]:
    return closed._asdict() | {"until": closed.until and closed.until.isoformat()}


def _places(groups: Iterable[Any], declared: SettingsProvider | None) -> HostMatches:
    return HostMatches.of_groups(
        (port, {path: _match(plain, declared) for path, plain in paths}) for port, paths in groups
    )


def _match(plain: dict[str, Any], declared: SettingsProvider | None) -> Match:
    closed = plain["closed"]
    if closed is not None:
        closed = SiteClosure(**closed | {"until": closed["until"] and datetime.fromisoformat(closed["until"])})
    site = Site(**dict(zip(_SITE_FIELDS, plain["site"], strict=True)), settings_provider=declared)
    return Match(**plain | {"site": site, "closed": closed})
