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
import warnings
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

__all__ = ["ASKED_FOR", "Operator", "TwoWorkers", "WritesElsewhere", "settings_of_both"]

ASKED_FOR = SimpleNamespace(always=False)
"""Whether worlds have two workers; conftest.py sets it."""

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
        with warnings.catch_warnings():
            # Python 3.12 and newer warn of the threads of pytest-xdist, whose locks nobody uses in the child.
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
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
