"""Two workers instead of one for the tests of the reference application: they get its requests in turn.

    python3 dev.py test tests/content tests/console tests/caching --two-workers

The first is the application in the process of the test. The second is forked from it, with folders of its own, an
application that was made there, and connections of its own. They have in common what `multisite.media_url`,
`multisite.templates_store`, `multisite.archives_dir` and the URL of the database name. What a test writes into the
folders of the first machine is pushed before the next request, as an operator would.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import signal
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import BytesIO
from logging.handlers import QueueHandler
from multiprocessing.connection import Client, Listener
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from multisite.core import site as site_module
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.directory import engine_from_url
from multisite.directory.models import DirectoryVersion, SiteRow
from multisite.errors import MultisiteError
from multisite.page_cache import invalidation
from multisite.sites.template_store.mirror import SHARED, TemplateMirror, site_tree
from multisite.sites.transaction import directory_transaction

__all__ = ["ASKED_FOR", "Operator", "TwoWorkers", "WritesElsewhere", "mark_expected", "settings_of_both"]

ASKED_FOR = SimpleNamespace(always=False)
"""Whether worlds have two workers; conftest.py sets it."""

_REPLACED = "the test replaces the file of the database under the second worker"
_CACHED = "a page is in the cache of the worker that has rendered it"
_COUNTED = "a worker counts in memory, and writes some seconds later"
_OBSERVED = "the test observes the connections, the code or the mail of the process of one worker"
_PATCHED = "the test changes the code or the settings in the process of one worker"
_MACHINES = "the test has two machines of its own"
_MOMENT = "while one thread reads the versions of the sites, others serve what was current a moment ago"

DIFFERENCES = {
    "test_every_page.py::test_the_log_in_does_not_tell_which_operators_there_are": _OBSERVED,
    "test_health.py::test_pages_by_rows_go_forth_and_back": _PATCHED,
    "test_job_pages.py::test_a_site_whose_addition_was_interrupted": "a theme without any file is in no store",
    "test_operation_pages.py::test_the_overview_shows_the_last_day_and_leads_to_the_log": _PATCHED,
    "test_operators.py::test_attempts_of_one_address_are_limited": _PATCHED,
    "test_same_as_commands.py::test_an_action_leaves_what_its_command_leaves": _REPLACED,
    "test_sites.py::test_the_number_of_queries_does_not_grow_with_the_sites": _OBSERVED,
    "test_sites.py::test_who_only_looks_sees_no_secret_setting": _PATCHED,
    "test_theme_pages.py::test_an_application_without_previews_has_no_button": _PATCHED,
    "test_large_sites.py::test_sqlite_executes_as_many_instructions_for_a_large_site": _OBSERVED,
    "test_large_sites.py::test_tags_are_found_by_their_entries": _OBSERVED,
    "test_theme_pages.py::test_the_console_shows_what_another_machine_has_pushed": _MACHINES,
    "test_editor_entries.py::test_what_is_typed_is_kept_and_changes_nothing_else": _CACHED,
    "test_editor_media.py::test_forms_that_no_browser_sends_are_refused": _PATCHED,
    "test_editor_previews.py::test_a_link_that_is_not_found_is_not_counted_as_a_missing_address": _COUNTED,
    "test_large_sites.py::test_a_missing_index_is_noticed": _OBSERVED,
    "test_large_sites.py::test_every_statement_of_a_large_site_finds_its_rows_by_an_index": _OBSERVED,
    "test_layout_links.py::test_cached_blocks_of_a_link_are_its_own": _CACHED,
    "test_log_ins.py::test_attempts_leave_the_page_cache_alone": _CACHED,
    "test_log_ins.py::test_links_are_limited": _OBSERVED,
    "test_menu.py::test_an_error_page_does_not_wait_for_a_database_that_hangs": _PATCHED,
    "test_menu.py::test_without_the_database_an_error_page_has_the_default_menu": _PATCHED,
    "test_missing.py::test_a_404_of_a_site_is_counted_for_it_alone": _COUNTED,
    "test_missing.py::test_a_database_that_cannot_be_written_does_not_break_the_404": _PATCHED,
    "test_missing.py::test_a_hundred_404s_cost_one_write": _COUNTED,
    "test_page_cache.py::test_a_change_is_seen_at_once_in_its_own_process": (
        "the other process sees it after multisite.refresh_seconds, an hour in this test"
    ),
    "test_page_cache.py::test_threads_of_two_sites_never_mix": _MOMENT,
}
"""Tests that do not pass with two workers, by the beginning of their ids, and why."""


_SOMETIMES = {_MOMENT, _OBSERVED, _REPLACED}
"""The reasons for which a test fails in some of its cases, or depending on whose turn it is."""


def mark_expected(items: list[pytest.Item]) -> None:
    """Expect the failures that are listed, and no others."""
    for item in items:
        if ASKED_FOR.always or "two workers" in item.nodeid:
            for part, reason in DIFFERENCES.items():
                if part in item.nodeid:
                    item.add_marker(pytest.mark.xfail(reason=reason, strict=reason not in _SOMETIMES))


_OWN = ("multisite.sites_dir", "multisite.templates_dir", "mako.module_directory", "multisite.snapshot")
"""The settings that name a folder or a file of one machine."""


def settings_of_both(folder: Path) -> dict[str, str]:
    """Return what two workers need beside the settings of one.

    They look for changes with each request, since tests do not wait `multisite.refresh_seconds`.
    """
    return {"multisite.templates_store": f"file://{folder / 'store'}", "multisite.refresh_seconds": "0"}


class TwoWorkers:
    """A WSGI application whose other attributes are those of the first worker.

    Args:
        make: Returns an application.
        settings: Those of the first worker.
        note: Called with each statement of the second worker.
    """

    def __init__(
        self, make: Callable[..., Any], settings: dict[str, str], note: Callable[[str], object] = lambda _: None
    ) -> None:
        self._push = Operator(settings)
        self._push(tell=False)
        # Forked first: it inherits nothing of the application in this process.
        self._second = _SecondWorker(make, _of_another_machine(settings))
        self._first = make({}, **settings)
        self._note = note
        self._turns = itertools.cycle((self._ask_first, self._ask_second))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._first, name)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self._push()
        return next(self._turns)(environ, start_response)

    def _ask_first(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        found: Iterable[bytes] = self._first(environ, start_response)
        return found

    def _ask_second(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, headers, body, statements = self._second.ask(environ)
        for each in statements:
            self._note(each)
        start_response(status, headers)
        return [body]

    def dispose(self) -> None:
        self._second.end()
        self._push.engine.dispose()


class WritesElsewhere(TwoWorkers):
    """Two workers of which the second gets what changes something, and the first all other requests.

    For tests of a worker's page cache, which count how often it renders a page.
    """

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self._push()
        is_safe = environ["REQUEST_METHOD"] in {"GET", "HEAD"}
        return (self._ask_first if is_safe else self._ask_second)(environ, start_response)


def _of_another_machine(settings: dict[str, str]) -> dict[str, str]:
    folder = Path(tempfile.mkdtemp(prefix="second", dir=Path(settings["multisite.sites_dir"]).parent))
    return settings | {key: str(folder / Path(settings[key]).name) for key in _OWN if key in settings}


class Operator:
    """Pushes the folders of the first machine that a test has changed, and tells both workers."""

    def __init__(self, settings: dict[str, str]) -> None:
        self._settings = parse_settings(settings)
        self.engine = engine_from_url(settings["sqlalchemy.url"])
        self._mirror = TemplateMirror(self._settings)
        # What a test has removed since it added the site, too.
        heads = Path(settings["multisite.templates_store"].removeprefix("file://")).glob("sites/*/head.json")
        self._pushed: dict[str, object] = {site_tree(head.parent.name): None for head in heads}
        self._pushing = threading.Lock()

    def __call__(self, *, tell: bool = True) -> None:
        with self._pushing:
            folders = dict(self._folders())
            for name in self._pushed.keys() - folders.keys():
                del self._pushed[name]
                self._mirror.remove(name)
                self._tell(name)
            for name, folder in folders.items():
                found = _state_of(folder)
                if self._pushed.get(name) != found:
                    self._pushed[name] = found
                    self._push(name, tell=tell)

    def _push(self, name: str, *, tell: bool) -> None:
        try:
            self._mirror.push(name, force=True, announce=partial(self._tell, name) if tell else lambda: None)
        except MultisiteError as error:
            # Files of tests of the first machine alone, such as links.
            logging.getLogger(__name__).debug("%s is not pushed: %s", name, error)

    def _tell(self, name: str) -> None:
        # `reload_templates` would do the same, and add an entry to the operator log.
        column = (DirectoryVersion if name == SHARED else SiteRow).__table__.c.template_generation
        change = sa.update(column.table).values(template_generation=column + 1)
        if name != SHARED:
            change = change.where(column.table.c.folder == name.rpartition("/")[2])
        with directory_transaction(self.engine) as connection:
            connection.execute(change)

    def _folders(self) -> Iterator[tuple[str, Path]]:
        if self._settings.templates_dir.is_dir():
            yield SHARED, self._settings.templates_dir
        if self._settings.sites_dir.is_dir():
            for folder in self._settings.sites_dir.iterdir():
                if folder.is_dir() and not folder.name.startswith("."):
                    yield site_tree(folder.name), folder


def _state_of(folder: Path) -> object:
    return [
        (each.path, about.st_mtime_ns, about.st_size, about.st_ino)
        for path, _, _ in os.walk(folder)
        for each in os.scandir(path)
        for about in [each.stat(follow_symlinks=False)]
        if not each.is_dir(follow_symlinks=False)
    ]


class _SecondWorker:
    """A process with an application of its own, which is asked through a socket."""

    def __init__(self, make: Callable[..., Any], settings: dict[str, str]) -> None:
        self._address = str(Path(tempfile.mkdtemp(prefix="worker"), "socket"))
        self._listener = Listener(self._address, backlog=64)
        self._pid = os.fork()
        if not self._pid:
            try:
                _serve(self._listener, make, settings)
            finally:
                os._exit(70)
        self.end = weakref.finalize(self, _end, self._pid, self._listener, Path(self._address).parent)

    def ask(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes, list[str]]:
        size = environ.get("CONTENT_LENGTH")
        body = environ["wsgi.input"].read(int(size)) if size else b""
        plain = {key: value for key, value in environ.items() if isinstance(value, str | int | tuple)}
        with Client(self._address) as connection:
            connection.send((plain, body))
            answer, records, statements, error = connection.recv()
        for record in records:
            logging.getLogger(record.name).handle(record)
        if error is not None:
            raise error
        return (*answer, statements)


def _end(pid: int, listener: Listener, folder: Path) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    listener.close()
    folder.rmdir()


# The functions below run in the second worker.


def _serve(listener: Listener, make: Callable[..., Any], settings: dict[str, str]) -> None:
    site_module._resolvers.clear()
    invalidation._publishers.clear()
    invalidation._subscribers.clear()
    records: SimpleQueue[logging.LogRecord] = SimpleQueue()
    logging.getLogger().addHandler(QueueHandler(records))
    statements: list[str] = []
    app = error = None
    try:
        app = make({}, **settings)
        engine = app.registry[DIRECTORY].engine
        event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    except Exception as caught:  # Told with each request.
        error = caught
    while True:
        connection = listener.accept()
        threading.Thread(target=_answer, args=(connection, app, records, statements, error), daemon=True).start()


def _answer(connection: Any, app: Any, records: Any, statements: list[str], error: Exception | None) -> None:
    with connection:
        environ, body = connection.recv()
        answer = None
        if error is None:
            try:
                answer = _call(app, environ, body)
            except Exception as caught:
                error = caught
        sent, statements[:] = list(statements), []
        told = [records.get() for _ in range(records.qsize())]
        try:
            pickle.dumps(error)
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        connection.send((answer, told, sent, error))


def _call(app: Any, environ: dict[str, Any], body: bytes) -> tuple[str, list[tuple[str, str]], bytes]:
    started: list[Any] = []
    environ |= {"wsgi.input": BytesIO(body), "wsgi.errors": sys.stderr}
    found = app(environ, lambda status, headers, _info=None: started.extend((status, headers)))
    try:
        content = b"".join(found)
    finally:
        if hasattr(found, "close"):
            found.close()
    return started[0], started[1], content
