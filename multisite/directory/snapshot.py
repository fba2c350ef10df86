"""The snapshot: the most recently used sites in a file, for processes that start while the database is down.

The file has one JSON value per line: a header with a checksum of the rest, then a line for each host. A process uses it
only until the database answers for the first time.
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

from multisite.core import fork_safety
from multisite.core.site import SettingsProvider, Site
from multisite.directory.matching import CachedEntry, HostMatches, Match, SiteClosure
from multisite.errors import SettingError

__all__ = ["Snapshot"]

log = logging.getLogger(__name__)

FORMAT = 3
"""The version of the file format. The fields of `Site` are compared as well."""

WRITE_PAUSE_SECONDS = 60.0
"""The shortest time between two writes. All processes of an application share the file."""

_SITE_FIELDS = [item.name for item in fields(Site) if item.compare]

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)
"""Raised by a file that is not a snapshot, or not a valid one; it is ignored."""

Entries = dict[str | int, CachedEntry]


class Snapshot:
    """The snapshot in the file `path`, with at most `size` entries.

    Later problems with the file are logged and never raised, since the directory works without it.

    Args:
        path: The file, shared by all processes of the application.
        size: The greatest number of entries.
        database: The database of the entries. A file from another database is ignored: its ids mean other sites.
        settings_provider: Passed on to the sites.
        clock: The clock of the directory.

    Raises:
        SettingError: If `path` is a folder, or its folder does not exist.
    """

    def __init__(
        self,
        path: Path,
        size: int,
        *,
        database: URL,
        settings_provider: SettingsProvider | None,
        clock: Callable[[], float],
    ) -> None:
        if path.is_dir() or not path.parent.is_dir():
            raise SettingError("multisite.snapshot", path, "a file in an existing folder")
        self._path = path
        self._size = size
        self._database = _fingerprint(database)
        self._settings_provider = settings_provider
        self._clock = clock
        self._entries: Entries | None = None
        self._load_lock = fork_safety.fork_safe_lock()
        self._is_due = False
        self._write_at = clock() + WRITE_PAUSE_SECONDS
        self._writer: Thread | None = None
        self._is_broken = False

    def find(self, key: str | int) -> CachedEntry | None:
        """Return the entry of `key` in the file, which never counts as fresh, or None."""
        with self._load_lock:
            if self._entries is None:
                self._entries = self._load()
            return self._entries.get(key)

    def schedule_write(self, *, is_new: bool, version: int, known: Callable[[], Entries]) -> None:
        """Record an answer of the database, and write the file now and then if there is something new.

        Only one thread at a time may call this.

        Args:
            is_new: Whether the answer was not cached before.
            version: The version of the directory.
            known: Returns the entries to write, all with matches.
        """
        self._entries = {}
        self._is_due = self._is_due or is_new
        now = self._clock()
        if not self._is_due or now < self._write_at or (self._writer is not None and self._writer.is_alive()):
            return
        self._is_due, self._write_at = False, now + WRITE_PAUSE_SECONDS
        self._writer = Thread(
            target=self._write, args=(known, version), name="multisite-directory-snapshot", daemon=True
        )
        with suppress(RuntimeError):  # No more threads can be started; a later answer tries again.
            self._writer.start()

    def _write(self, known: Callable[[], Entries], version: int) -> None:
        try:
            others: Entries = {}
            with suppress(OSError, *UNREADABLE):
                others = _load(self._path, self._database, None, self._size)
            # Entries of the current version that another process has written, or this one before a restart.
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
            entries = _load(self._path, self._database, self._settings_provider, self._size)
        except FileNotFoundError:
            return {}
        except OSError as error:
            log.error("the snapshot %s cannot be read: %s", self._path, error.strerror or error)
        except UNREADABLE as error:
            log.error("the snapshot %s is ignored: %s", self._path, error)
        else:
            log.warning("%d hosts are served from the snapshot %s until the database answers", len(entries), self._path)
            return entries
        return {}


def _last(entries: Entries, size: int) -> Entries:
    """Return the `size` most recently used of `entries`, which are in the order of their use."""
    return dict(list(entries.items())[-size:])


def _fingerprint(database: URL) -> str:
    """Return a hash that identifies the database, without its password."""
    host = database.host or database.query.get("host")  # The query holds the folder of a socket.
    location = (database.get_backend_name(), host, database.port, database.database)
    return hashlib.sha256(repr(location).encode()).hexdigest()


def _write(path: Path, database: str, entries: Entries) -> None:
    """Write a temporary file and rename it, so that nobody ever reads a partial one."""
    lines = [json.dumps([key, entry.version, _plain(entry.matches)]) for key, entry in entries.items() if entry.matches]
    body = "\n".join(lines).encode()
    head = {"format": FORMAT, "site": _SITE_FIELDS, "database": database, "sha256": hashlib.sha256(body).hexdigest()}
    # `NamedTemporaryFile` creates files that only their owner can read.
    with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent, delete=False) as file:
        try:
            file.write(json.dumps(head).encode() + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _load(path: Path, database: str, settings_provider: SettingsProvider | None, size: int) -> Entries:
    """Return the entries of the file. Raises `OSError`, or one of `UNREADABLE` if the file is not valid."""
    with path.open("rb") as file:
        _check_owner(os.fstat(file.fileno()))
        head_line, _, body = file.read().partition(b"\n")
    head = json.loads(head_line)
    if (head["format"], head["site"]) != (FORMAT, _SITE_FIELDS):
        raise ValueError("another version of multisite wrote it")
    if head["database"] != database:
        raise ValueError("it belongs to another database")
    if head["sha256"] != hashlib.sha256(body).hexdigest():
        raise ValueError("it is damaged")
    lines = map(json.loads, body.splitlines()[-size:])
    return {key: CachedEntry(_matches(groups, settings_provider), version, math.inf) for key, version, groups in lines}


def _check_owner(status: os.stat_result) -> None:
    # Whoever can write to this file decides which host shows which site.
    if os.name == "posix" and (
        status.st_uid not in {os.geteuid(), 0} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise ValueError("other users than that of this process can write to it")


def _plain(matches: HostMatches) -> list[Any]:
    return [[port, [[path, _plain_match(match)] for path, match in paths.items()]] for port, paths in matches.groups]


def _plain_match(match: Match) -> dict[str, Any]:
    site = [getattr(match.site, name) for name in _SITE_FIELDS]
    return match._asdict() | {"site": site, "closed": match.closed and _plain_closure(match.closed)}


def _plain_closure(closed: SiteClosure) -> dict[str, Any]:
    return closed._asdict() | {"until": closed.until and closed.until.isoformat()}


def _matches(groups: Iterable[Any], settings_provider: SettingsProvider | None) -> HostMatches:
    return HostMatches.of_groups(
        (port, {path: _match(plain, settings_provider) for path, plain in paths}) for port, paths in groups
    )


def _match(plain: dict[str, Any], settings_provider: SettingsProvider | None) -> Match:
    closed = plain["closed"]
    if closed is not None:
        closed = SiteClosure(**closed | {"until": closed["until"] and datetime.fromisoformat(closed["until"])})
    site = Site(**dict(zip(_SITE_FIELDS, plain["site"], strict=True)), settings_provider=settings_provider)
    return Match(**plain | {"site": site, "closed": closed})
