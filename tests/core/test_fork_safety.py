"""A forked child uses its own connections, waits for no lock of the parent, and starts counting from zero."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from multisite.core.settings import Settings
from multisite.sites.creation import add_site

FORK = """
import os, sys, threading
from multisite.core import fork_safety
from multisite.directory import Directory, cache, engine_from_url
from multisite.errors import DirectoryUnavailable
from multisite.core.concurrency import ConcurrencyLimit
from multisite.scoping import compiler
from multisite.templates import compiled

cache.QUERY_TIMEOUT_SECONDS = 0.2
engine = engine_from_url(sys.argv[1])
directory = Directory(engine, refresh_seconds=0)
assert directory.find("one.example").site.host == "one.example"
with engine.connect() as connection:
    inherited = connection.connection.dbapi_connection
limit = ConcurrencyLimit(1)
assert limit.acquire("one.example")
cache = directory._cache
locks = [cache._refresh_lock, cache._known._lock, cache._unknown._lock, limit._lock, compiler._compiled_lock]
for lock in locks:
    lock.acquire()  # Like another thread, which does not exist after the fork.
thread = threading.Thread(target=compiled._compiling.acquire)
thread.start()
thread.join()
if sys.argv[2] == "with nothing registered":
    fork_safety._locks.clear()
    fork_safety._callbacks.clear()
child = os.fork()
if child:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
for lock in [*locks, compiled._compiling]:
    if not lock.acquire(timeout=0.2):
        print("a lock is held")
        if lock is compiled._compiling:
            break
    lock.release()
with engine.connect() as connection:
    if connection.connection.dbapi_connection is inherited:
        print("the connection is the parent's")
if not limit.acquire("one.example"):
    print("a slot is taken")
assert directory.find("two.example").site.host == "two.example"
sys.stdout.flush()
os._exit(0)
"""

FAULTS = [*["a lock is held"] * 6, "the connection is the parent's", "a slot is taken"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked on Windows")
def test_a_forked_child_resets_locks_connections_and_counts(
    own_engine: sa.Engine, database_url: str, tmp_path: Path
) -> None:
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    for host in ("one.example", "two.example"):
        add_site(own_engine, host, settings=settings)

    def forked(how: str) -> list[str]:
        command = [sys.executable, "-W", "ignore", "-c", FORK, database_url, how]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout.splitlines()

    assert forked("unchanged") == []
    assert forked("with nothing registered") == FAULTS
