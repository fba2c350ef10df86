"""Run programs in their own processes without importing all libraries again: each is forked from a server.

    subprocess.run([*warm.python(), "-m", "alembic", "upgrade", "head"], ...)     # for sys.executable

Importing the libraries takes most of the second that a command needs to start. So a server imports them once for all
tests of a process, and forks for each program, which has its own standard streams, working directory, environment,
arguments, signals and exit code. Of multisite, the server only imports the plugin for alembic, as alembic itself does;
the scoping layer is installed in each program. With `application=True` the server imports every module of multisite,
for the many commands that documentation pages run with the reference application. Tests of how a program starts, is
killed or listens use plain Python.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import sys

if False:  # As with TYPE_CHECKING, without importing typing.
    from collections.abc import Collection

PRELOADED = (
    *("alembic.command", "alembic.config", "argon2", "babel.dates", "babel.numbers", "bs4", "click"),
    *("concurrent.futures.thread", "defusedxml.ElementTree", "fsspec.implementations.local", "linkify_it"),
    *("mako.ext.pygmentplugin", "mako.lookup", "markdown_it", "markdownify", "mdit_py_plugins.deflist"),
    *("mdit_py_plugins.footnote", "mdit_py_plugins.tasklists", "multipart", "nh3", "PIL.Image"),
    *("plaster_pastedeploy", "psycopg", "psycopg.pq", "pyotp", "pyramid.config", "pyramid.paster"),
    *("pyramid.scripts.common", "pyramid_tm", "segno", "smtplib", "snowballstemmer", "sqlalchemy.ext.asyncio"),
    *("sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite", "sqlalchemy.orm", "sqlite3"),
    *("transaction", "wtforms", "yaml", "zope.sqlalchemy"),
)

Asked = tuple[list[int], list[str], str, dict[str, str]]
"""The descriptors of the standard streams, the arguments, the folder and the environment."""

_servers: dict[bool, list[str]] = {}


def python(*, application: bool = False) -> list[str]:
    """Return the words that replace `sys.executable` in a command; the first call starts the server.

    Args:
        application: Whether the server imports all modules of multisite beside the libraries.
    """
    if application not in _servers:
        import atexit
        import shutil
        import subprocess
        import tempfile

        folder = tempfile.mkdtemp(prefix="warm")
        address = os.path.join(folder, "socket")  # noqa: PTH118 - the program imports as little as it can.
        env = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON" or name == "PYTHONPATH"}
        server = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, "serve", address, *(["multisite"] if application else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
        )  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        server.stdout.close()

        def stop() -> None:
            server.stdin.close()
            server.wait()
            shutil.rmtree(folder)

        atexit.register(stop)
        _servers[application] = [sys.executable, "-IS", __file__, "start", address]
    return list(_servers[application])


def start(address: str, arguments: list[str]) -> None:
    """Stand in for the forked program: send its arguments to the server, pass on signals, and exit with its status."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        told = marshal.dumps((arguments, os.getcwd(), dict(os.environ)))  # noqa: PTH109
        socket.send_fds(server, [len(told).to_bytes(4, "big")], [0, 1, 2])
        server.sendall(told)
        pid = _number(server)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda number, frame: os.kill(pid, number))
        status = _number(server)
    if status > 128:
        if status - 128 in (signal.SIGINT, signal.SIGTERM):
            signal.signal(status - 128, signal.SIG_DFL)
        os.kill(os.getpid(), status - 128)
    os._exit(status)


def _number(connection: socket.socket) -> int:
    return int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "big")


class Server:
    """Forks for each requested program, until the process that started the server ends."""

    def __init__(self, address: str) -> None:
        import selectors

        self.running: dict[int, socket.socket] = {}
        """Connections, by the id of the process that was forked for each."""
        self.woken, self.wakes = socket.socketpair()
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(address)
        self.listening.listen(64)
        for each in (self.woken, self.wakes):
            each.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self.wakes.fileno())
        self.selector = selectors.DefaultSelector()
        for each in (sys.stdin, self.woken, self.listening):
            self.selector.register(each, selectors.EVENT_READ)

    def serve(self) -> Asked:
        """Handle requests forever; return only in a forked process, with the program to run."""
        while True:
            ready = [key.fileobj for key, _events in self.selector.select()]
            for pid, connection in self.running.items():
                if connection in ready or sys.stdin in ready:
                    os.kill(pid, signal.SIGKILL)  # The process that requested it was killed or has ended.
            if sys.stdin in ready:
                os._exit(0)
            if self.woken in ready:
                self.woken.recv(4096)
                self._tell_ends()
            if self.listening in ready and (asked := self._fork()):
                self._close()
                return asked

    def _tell_ends(self) -> None:
        for pid in list(self.running):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                code = os.waitstatus_to_exitcode(status)
                self.selector.unregister(self.running[pid])
                with self.running.pop(pid) as connection:
                    _tell(connection, code if code >= 0 else 128 - code)  # As in a shell.

    def _fork(self) -> Asked | None:
        """Fork; return the program to run in the forked process, and None in this one."""
        import selectors

        connection, _address = self.listening.accept()
        length, descriptors, _flags, _address = socket.recv_fds(connection, 4, 3)
        told = connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
        if (pid := os.fork()) == 0:
            connection.close()
            return (descriptors, *marshal.loads(told))
        for descriptor in descriptors:
            os.close(descriptor)
        self.running[pid] = connection
        self.selector.register(connection, selectors.EVENT_READ)
        _tell(connection, pid)
        return None

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.selector.close()
        for each in (self.listening, self.woken, self.wakes, *self.running.values()):
            each.close()


def _tell(connection: socket.socket, number: int) -> None:
    from contextlib import suppress

    with suppress(OSError):
        connection.sendall(number.to_bytes(4, "big"))


def import_all(*modules: str, packages: Collection[str] = ()) -> None:
    """Import `modules`, and all modules of `packages`."""
    import pkgutil
    from importlib import import_module

    for name in modules:
        import_module(name)
    for name in packages:
        for module in pkgutil.walk_packages(import_module(name).__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)


def serve(address: str, packages: Collection[str]) -> None:
    """Import the libraries and all modules of `packages`, and serve.

    The code after `Server.serve` runs in forked processes.
    """
    import gc
    from importlib import import_module

    import_all(*PRELOADED, packages=packages)
    import_module("ini_loaders").remember_loaders()
    import_module("plaster").get_loader("development.ini", protocols=["wsgi"])
    gc.collect()
    gc.freeze()
    server = Server(address)
    os.write(1, b"ready\n")
    _end(_run(*server.serve()))


def _run(descriptors: list[int], arguments: list[str], folder: str, environ: dict[str, str]) -> int:
    """Run a program in this process, and return its exit code as Python would."""
    try:
        _become(descriptors, arguments, folder, environ)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return (ended.code or 0) & 0xFF
        print(ended.code, file=sys.stderr)
        return 1
    except Exception:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _end(status: int) -> None:
    """End this process without clearing the memory of all modules, which would copy it first: 80 ms of 120.

    What the program alone refers to is released, so that warnings of connections and files that it left open are shown.
    """
    import atexit
    import gc
    import threading

    threading._shutdown()  # type: ignore[attr-defined] # Waits for threads, as at the end of any program.
    atexit._run_exitfuncs()
    if threading.active_count() == 1:  # Other threads are daemons, which might run a function of the program.
        vars(sys.modules["__main__"]).clear()
    gc.collect()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # Such as a full disk or a closed pipe: Python reports it at its own end.
        sys.exit(status)
    os._exit(status)


def _become(descriptors: list[int], arguments: list[str], folder: str, environ: dict[str, str]) -> None:
    """Take over streams, folder and environment, and run the program named by the arguments of `python`."""
    import importlib
    import runpy
    import types
    import warnings

    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # Reconfigured and not replaced, since libraries may have kept references to these objects.
    encoding, _colon, errors = environ.get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdin.reconfigure(encoding=encoding, errors=errors or None)
    sys.stdout.reconfigure(encoding=encoding, errors=errors or None, line_buffering=os.isatty(1))
    sys.stderr.reconfigure(encoding=encoding)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.dont_write_bytecode = bool(environ.get("PYTHONDONTWRITEBYTECODE"))
    options = [option for option in environ.get("PYTHONWARNINGS", "").split(",") if option]
    while arguments[:1] == ["-W"]:
        options.append(arguments[1])
        del arguments[:2]
    warnings.resetwarnings()
    # The default warning filters of Python.
    warnings.filterwarnings("default", category=DeprecationWarning, module="__main__")
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category=kind, append=True)
    warnings._processoptions(options)
    sys.path[:1] = ["", *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))]
    importlib.invalidate_caches()
    program = sys.modules["__main__"] = types.ModuleType("__main__")
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), program.__dict__)
    elif arguments[0] == "-m":
        sys.path[0] = folder
        sys.argv = arguments[1:]
        runpy._run_module_as_main(arguments[1])
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))  # noqa: PTH100, PTH120
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], sys.argv[3:])
    else:
        start(sys.argv[2], sys.argv[3:])
