"""Run a command once for every site, each in a process of its own.

`select_sites` says for which sites, `run_for_each` runs it and tells what became of it. A process has the site in its
environment and nothing else of it; what it prints is passed on line by line.
"""

from __future__ import annotations

import fnmatch
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from multisite import program
from multisite.errors import MultisiteError
from multisite.site import Site

__all__ = ["SITE_ID_VARIABLE", "SITE_VARIABLE", "Outcome", "SelectedSite", "run_for_each", "select_sites"]

SITE_VARIABLE = "MULTISITE_SITE"
"""The environment variable with the canonical domain of the site that a command runs for."""

SITE_ID_VARIABLE = "MULTISITE_SITE_ID"
"""The same with its id."""

PLACEHOLDER = "{}"
"""An argument that is exactly this stands for the canonical domain."""

RUNS_FOR = frozenset({"active", "maintenance"})
"""The statuses of the sites that a command is run for: maintenance is when one runs commands."""

TERMINATION_TIMEOUT_SECONDS = 5.0
"""How long a process that was told to end may take, before it is killed."""

Result = Literal["done", "failed", "not run", "left out"]
OnOutput = Callable[[Site, str], object]


@dataclass(frozen=True, slots=True)
class SelectedSite:
    """A site, and why the command is not run for it: its status, None if it is."""

    site: Site
    left_out: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the command for a site.

    `code` is its exit code, that of a process ended by a signal negative; None unless it ran to an end. `seconds` is
    how long it ran. `reason` says why it failed without a code, was not run or left out.
    """

    site: Site
    result: Result
    code: int | None = None
    seconds: float = 0.0
    reason: str | None = None


def select_sites(
    sites: Iterable[tuple[Site, str]], *, only: Sequence[str] = (), skip: Sequence[str] = ()
) -> list[SelectedSite]:
    """Return the `sites`, each given with its status, whose canonical domains fit a pattern of `only` (none: all
    sites) and none of `skip`.

    Patterns are those of a shell (`*.example.com`). Raises `MultisiteError` for a pattern that fits no site: of one
    that is misspelt, nobody would notice that it skips nothing.
    """
    unused = {pattern.lower(): pattern for pattern in (*only, *skip)}
    chosen: list[SelectedSite] = []
    for site, status in sites:
        fitting = {pattern for pattern in map(str.lower, (*only, *skip)) if fnmatch.fnmatchcase(site.domain, pattern)}
        for pattern in fitting:
            unused.pop(pattern, None)
        if (not only or fitting & set(map(str.lower, only))) and not fitting & set(map(str.lower, skip)):
            chosen.append(SelectedSite(site, None if status in RUNS_FOR else status))
    if unused:
        pattern = next(iter(unused.values()))
        command = program.command("list-sites")
        raise MultisiteError(f"no site matches '{pattern}'; list all sites: {command}")
    return chosen


def run_for_each(
    chosen: Sequence[SelectedSite],
    command: Sequence[str],
    *,
    jobs: int = 1,
    keep_going: bool = False,
    environ: Mapping[str, str] | None = None,
    on_output: OnOutput,
    on_done: Callable[[Outcome], object],
) -> list[Outcome]:
    """Run `command` for each of the `chosen` sites, `jobs` at a time, and return the outcomes in their order.

    After a failure no further one is begun, unless `keep_going`. `environ` is the environment of the commands, without
    the variables of the site; None for that of this process. `on_output` is called with each line of their output, and
    `on_done` with each outcome as it is known, both from several threads, but never at once. `KeyboardInterrupt` ends
    the processes that run, with all that they have started, and is no error here: what did not run says so.
    """
    run = _Run(tuple(command), dict(os.environ if environ is None else environ), keep_going, on_output, on_done)
    return run.all(chosen, jobs)


class _Run:
    """One run for all sites: its processes, and whether another may be begun."""

    def __init__(
        self,
        command: tuple[str, ...],
        environ: dict[str, str],
        keep_going: bool,
        on_output: OnOutput,
        on_done: Callable[[Outcome], object],
    ) -> None:
        self._command = command
        self._environ = environ
        self._keep_going = keep_going
        self._on_output = on_output
        self._on_done = on_done
        self._lock = threading.Lock()
        self._output = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped: str | None = None

    def all(self, chosen: Sequence[SelectedSite], jobs: int) -> list[Outcome]:
        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(self._one, each) for each in chosen]
            try:
                return [future.result() for future in futures]
            except KeyboardInterrupt:
                self.stop()
                # A second one ends this process at once; what runs for a site was told to end already.
                return [future.result() for future in futures]

    def stop(self) -> None:
        """Begin no further process, and end those that run."""
        with self._lock:
            self._stopped = "interrupted"
            running = list(self._running)
        for process in running:
            _signal(process, signal.SIGTERM)
        end = time.monotonic() + TERMINATION_TIMEOUT_SECONDS
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
            # Also where it has ended: what it started may not have.
            _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))

    def _one(self, chosen: SelectedSite) -> Outcome:
        outcome = self._outcome(chosen)
        with self._output:
            self._on_done(outcome)
        return outcome

    def _outcome(self, chosen: SelectedSite) -> Outcome:
        site = chosen.site
        if chosen.left_out is not None:
            return Outcome(site, "left out", reason=chosen.left_out)
        begun = time.monotonic()
        with self._lock:
            if self._stopped is not None:
                return Outcome(site, "not run", reason=self._stopped)
            try:
                process = self._start(site)
            except (OSError, ValueError) as error:
                self._note_failure(site)
                return Outcome(site, "failed", reason=getattr(error, "strerror", None) or str(error))
            self._running.add(process)
        with process:
            for line in process.stdout or ():
                with self._output:
                    self._on_output(site, line.rstrip("\n"))
        with self._lock:
            self._running.discard(process)
            if process.returncode:
                self._note_failure(site)
        seconds = time.monotonic() - begun
        return Outcome(site, "failed" if process.returncode else "done", process.returncode, seconds)

    def _note_failure(self, site: Site) -> None:
        if not self._keep_going and self._stopped is None:
            self._stopped = f"it failed for {site}"

    def _start(self, site: Site) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603  # What the operator has typed.
            [site.domain if word == PLACEHOLDER else word for word in self._command],
            env={**self._environ, SITE_VARIABLE: site.domain, SITE_ID_VARIABLE: str(site.id)},
            # A command that asks for something would wait for ever, and nobody would see for whom.
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            # A group of its own, so that what it starts can be ended with it, and Ctrl-C reaches this process alone.
            start_new_session=True,
        )


def _signal(process: subprocess.Popen[str], number: int) -> None:
    """Send a signal to a process and to all that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
