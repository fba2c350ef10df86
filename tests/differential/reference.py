"""The reference: four databases without sites, in a separate process that never imports multisite.

So the scoping layer does not have to be disabled. `python -m differential.reference URL URL URL URL` reads pickled
requests from its standard input and answers each of them; `Reference` starts the process and sends the requests.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from differential.action import Outcome
from differential.actions import ACTIONS
from differential.models import Plain, declare
from differential.program import SITES, Program, Step
from differential.rows import Rows
from differential.world import World, exclude_from_collection

Answer = tuple[Outcome, dict[int, Rows]]


class PlainWorld(World):
    """One database for each site, with tables that have no `site_id`."""

    with_site = False

    def __init__(self, urls: dict[int, str]) -> None:
        super().__init__(urls)
        self.models = declare(Plain())
        self.key = Plain().key  # type: ignore[method-assign]
        for engine in self.engines.values():
            self.models.metadata.create_all(engine)
        exclude_from_collection()

    def open(self, site: int) -> Session:
        return Session(self.engines[site])

    def working_for(self, site: int) -> AbstractContextManager[Any]:
        return nullcontext()

    def open_unpinned(self, site: int) -> Session:
        return Session(self.engines[site])

    def prepare_to_roam(self, session: Session, site: int) -> None:
        session.bind = self.engines[site]

    def for_all_sites(self, do: Callable[[Any], Any]) -> list[Any]:
        found = []
        for engine in self.engines.values():
            with engine.begin() as connection:
                found.append(do(connection))
        return found


def without_scoping() -> dict[str, Any]:
    """Return evidence that SQLAlchemy is not modified in this process."""
    return {
        "modules": sorted(name for name in sys.modules if name.split(".")[0] == "multisite"),
        "compiler": SQLCompiler.__new__ is object.__new__,
        "execution": DefaultExecutionContext._init_compiled.__func__.__module__,
        "merge": Session._merge.__module__,
    }


class Reference:
    """The client of the reference process. `run` returns the answer to one step of the current program."""

    def __init__(self, urls: dict[int, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "differential.reference", *(urls[site] for site in SITES)],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, *request: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pickle.dump(request, self.process.stdin)
        self.process.stdin.flush()
        kind, answer = pickle.load(self.process.stdout)
        assert kind == "answer", answer
        return answer

    def begin(self, program: Program) -> None:
        self.ask("begin")

    def run(self, step: Step, site: int, number: int, *, skip: bool) -> Answer:
        answer: Answer = self.ask("run", step, site, number, skip)
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


class Remembered:
    """A reference that caches its answers, for programs that run repeatedly, once for each planted fault.

    An answer depends on the preceding steps, and on which of them were skipped. If an answer is not cached, the program
    runs again from its first step.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._answers: dict[Any, Answer] = {}
        self._live: Any = None
        """What the reference has run, if it is of use."""
        self._done: tuple[tuple[Step, int, int, bool], ...] = ()

    def begin(self, program: Program) -> None:
        self._done = ()

    def run(self, step: Step, site: int, number: int, *, skip: bool) -> Answer:
        before, self._done = self._done, (*self._done, (step, site, number, skip))
        if self._done not in self._answers:
            if self._live != before:
                self.reference.begin(())
                for old_step, old_site, old_number, old_skip in before:
                    self.reference.run(old_step, old_site, old_number, skip=old_skip)
            self._answers[self._done] = self.reference.run(step, site, number, skip=skip)
            self._live = self._done
        return self._answers[self._done]


def serve(world: World, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the end of the input."""
    while True:
        try:
            kind, *arguments = pickle.load(requests)
        except EOFError:
            return
        try:
            answer = ("answer", _answer(world, kind, arguments))
        except Exception as error:
            answer = ("failure", repr(error))
        pickle.dump(answer, answers)
        answers.flush()


def _answer(world: World, kind: str, arguments: list[Any]) -> Any:
    if kind == "begin":
        world.reset()
        return None
    if kind == "about":
        return without_scoping()
    step, site, number, skip = arguments
    outcome = world.perform(step, site, number, ACTIONS[step.action], skip=skip)
    return outcome, world.contents(site)


if __name__ == "__main__":
    plain_world = PlainWorld(dict(zip(SITES, sys.argv[1:], strict=True)))
    serve(plain_world, sys.stdin.buffer, sys.stdout.buffer)
    plain_world.close()
