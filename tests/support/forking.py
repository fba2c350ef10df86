"""The command `multisite` in processes without start-up time: each is forked from one that has imported everything.

They are real processes, with their own memory and connections, and a test can kill them after a time or at a step. A
step is the begin of a statement or a commit, the end of a connection, or a call that changes or reads a file in the
folder. So there is one between any two changes. Statements that read the schema, of which there are hundreds, are none.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ini_loaders import remember_loaders
from paths import PYTHONPATH
from start_costs import shorten_starts
from warm import PRELOADED, import_all

KILLED = -signal.SIGKILL
"""The exit code of a process that was killed."""

_FILE_STEPS = ("open", "shutil.", "os.mkdir", "os.rename", "os.rmdir", "os.remove", "os.scandir", "os.listdir")


class Done(NamedTuple):
    """The result of a command: exit code, output, the kinds of its steps, and its duration in seconds."""

    code: int
    stdout: str
    stderr: str
    steps: list[str]
    seconds: float


class Forker:
    """Runs commands in a folder with a `development.ini`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, *arguments: str) -> Done:
        """Run a command to its end."""
        return self._ask(arguments)[0]

    def killed_at(self, step: int, *arguments: str) -> Done:
        """Run a command and kill it at step number `step`, if it gets there."""
        return self._ask(arguments, step=step)[0]

    def killed_after(self, seconds: float, *arguments: str) -> Done:
        """Run a command and kill it after `seconds`, if it still runs."""
        return self._ask(arguments, seconds=seconds)[0]

    def at_once(self, number: int, *arguments: str) -> list[Done]:
        """Run the same command in `number` processes, which start at the same time."""
        return self._ask(arguments, number=number)

    def _ask(self, arguments: tuple[str, ...], **job: Any) -> list[Done]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"arguments": arguments, **job}) + "\n")
        stdin.flush()
        return [Done(*each) for each in json.loads(stdout.readline())]


@contextmanager
def forker(folder: Path, *modules: str) -> Iterator[Forker]:
    """Yield a `Forker` for the folder, which imports multisite and `modules` once; stop its process after the block."""
    environ = {**os.environ, "PYTHONPATH": PYTHONPATH}
    command = [sys.executable, "-W", "ignore:pkg_resources", __file__, *modules]
    with subprocess.Popen(
        command, cwd=folder, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Forker(process)
        assert process.stdin is not None
        process.stdin.close()


# The functions below run in the process that forks.


class _Steps:
    """The steps of this process: their `kinds` so far, and the number of the `last`, at which it kills itself.

    `last` is 0 to never do so, and None if steps are not counted, as in the process that forks.
    """

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.last: int | None = None

    def step(self, kind: str, *_: object) -> None:
        if self.last is not None:
            self.kinds.append(kind)
            if len(self.kinds) == self.last:
                os.kill(os.getpid(), signal.SIGKILL)

    def statement(self, _connection: object, _cursor: object, text: str, *_: object) -> None:
        if not text.startswith("PRAGMA") and "sqlite_master" not in text and "pg_catalog." not in text:
            self.step("statement")

    def audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        # Only files in the folder: how often Python searches for modules differs between runs.
        if self.last is not None and name.startswith(_FILE_STEPS) and str(arguments[0]).startswith(str(Path.cwd())):
            self.step(name)


_steps = _Steps()


def _child(main: Any, job: dict[str, Any], gate: int, outputs: list[int]) -> int:
    os.dup2(outputs[0], 1)
    os.dup2(outputs[1], 2)
    os.read(gate, 1)  # Returns at the end of the file, when all processes have started.
    _steps.last = job.get("step", 0)
    try:
        main(job["arguments"], prog_name="multisite")
    except SystemExit as error:
        return int(error.code or 0)
    finally:
        _steps.last = None
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(outputs[2], "\n".join(_steps.kinds).encode())
    return 0


def _run(main: Any, job: dict[str, Any]) -> list[Done]:
    gate, opener = os.pipe()
    begun = []
    for number in range(job.get("number", 1)):
        outputs = [os.memfd_create(f"{name}{number}") for name in ("out", "err", "steps")]
        child = os.fork()
        if not child:
            os.close(opener)
            code = 70
            try:
                code = _child(main, job, gate, outputs)
            finally:
                os._exit(code)
        begun.append((child, outputs))
    start = time.perf_counter()
    os.close(gate)
    os.close(opener)
    if "seconds" in job:
        time.sleep(job["seconds"])
        os.kill(begun[0][0], signal.SIGKILL)
    done = []
    for child, outputs in begun:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = []
        for output in outputs:
            with os.fdopen(output, "rb") as file:
                file.seek(0)
                said.append(file.read().decode())
        done.append(Done(code, said[0], said[1], said[2].split(), time.perf_counter() - start))
    return done


def _serve() -> None:
    import babel  # noqa: F401
    import idna  # noqa: F401
    import sqlalchemy as sa
    from sqlalchemy import event, orm
    from sqlalchemy.dialects import postgresql, sqlite  # noqa: F401

    from multisite.cli import main
    from multisite.sites.ini import read_ini
    from multisite.sites.validation import check_locale, check_timezone

    import_all(*PRELOADED, packages=["multisite"])
    import_all(*sys.argv[1:])
    orm.configure_mappers()
    remember_loaders()
    shorten_starts()
    check_locale("en")
    check_timezone("UTC")
    read_ini("development.ini")
    for name in ("begin", "commit"):
        event.listen(sa.Engine, name, partial(_steps.step, name))
    event.listen(sa.Engine, "before_cursor_execute", _steps.statement)
    event.listen(sa.pool.Pool, "checkin", partial(_steps.step, "checkin"))
    sys.addaudithook(_steps.audit)
    # A collection in a forked process would write to all objects, and so copy the memory of this one.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(_run(main, json.loads(line))), flush=True)


if __name__ == "__main__":
    _serve()
