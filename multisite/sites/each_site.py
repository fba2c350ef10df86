"""Run a command once for each site, in a separate process.

`select_sites` chooses the sites, `run_for_each` runs the command and reports the outcomes. A process gets the site
through its environment only; its output is passed on line by line.
"""

from __future__ import annotations

import fnmatch
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from multisite.core import program
from multisite.core.site import Site
from multisite.errors import MultisiteError

__all__ = ["SITE_ID_VARIABLE", "SITE_VARIABLE", "Outcome", "SelectedSite", "run_for_each", "select_sites"]

SITE_VARIABLE = "MULTISITE_SITE"
"""The environment variable with the canonical domain of the site."""

SITE_ID_VARIABLE = "MULTISITE_SITE_ID"
"""The environment variable with the id of the site."""

PLACEHOLDER = "{}"
"""An argument that equals this is replaced by the canonical domain."""

RUNS_FOR = frozenset({"active", "maintenance"})
"""Commands run for sites with these statuses. Maintenance is one of them, since it is often for running commands."""

TERMINATION_TIMEOUT_SECONDS = 5.0
"""How long a terminated process may take to end, before it is killed."""

Result = Literal["done", "failed", "not run", "left out"]
OnOutput = Callable[[Site, str], object]


@dataclass(frozen=True, slots=True)
class SelectedSite:
    """A selected site. `left_out` is its status if that keeps the command from being run, else None."""

    site: Site
    left_out: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of the command for a site.

    `code` is the exit code, negative for a signal; None unless the command ran and ended. `seconds` is its duration.
    `reason` is set if the command could not be started, was not run, or the site was left out.
    """

    site: Site
    result: Result
    code: int | None = None
    seconds: float = 0.0
    reason: str | None = None


def select_sites(
    sites: Iterable[tuple[Site, str]],
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    statuses: Collection[str] = RUNS_FOR,
) -> list[SelectedSite]:
    """Select the sites whose canonical domains match a pattern of `only`, but none of `skip`.

    Args:
        sites: Pairs of a site and its status.
        only: Shell patterns such as `*.example.com`; empty for all sites.
        skip: Shell patterns of sites to leave out.
        statuses: Sites with another status are left out.

    Returns:
        The selected sites, including those that are left out because of their status.

    Raises:
        MultisiteError: A pattern matches no site. Otherwise a typing error in `skip` would go unnoticed.
    """
    unused = {pattern.lower(): pattern for pattern in (*only, *skip)}
    chosen: list[SelectedSite] = []
    for site, status in sites:
        matching = {pattern for pattern in map(str.lower, (*only, *skip)) if fnmatch.fnmatchcase(site.domain, pattern)}
        for pattern in matching:
            unused.pop(pattern, None)
        if (not only or matching & set(map(str.lower, only))) and not matching & set(map(str.lower, skip)):
            chosen.append(SelectedSite(site, None if status in statuses else status))
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
    """Run `command` for each of the `chosen` sites.

    `KeyboardInterrupt` ends the running processes, with everything that they started. It is not raised; the outcomes
    show for which sites the command was not run.

    Args:
        chosen: The sites.
        command: The command and its arguments.
        jobs: How many processes run at a time.
        keep_going: Whether to start further commands after a failure.
        environ: The environment of the commands, without the variables of the site; None for that of this process.
        on_output: Called with each line of output. Called from several threads, but never at the same time.
        on_done: Called with each outcome, in the same way.

    Returns:
        The outcomes, in the order of `chosen`.
    """
    run = _Run(tuple(command), dict(os.environ if environ is None else environ), keep_going, on_output, on_done)
    return run.all(chosen, jobs)


class _Run:
    """A run for all sites: its processes, and whether more may be started."""

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
                # A second interrupt ends this process at once; the commands have been told to end already.
                return [future.result() for future in futures]

    def stop(self) -> None:
        """Start no further process, and end the running ones."""
        with self._lock:
            self._stopped = "interrupted"
            running = list(self._running)
        for process in running:
            _signal(process, signal.SIGTERM)
        end = time.monotonic() + TERMINATION_TIMEOUT_SECONDS
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
            # Even if it has ended, because its children may not have.
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
                self._record_failure(site)
                return Outcome(site, "failed", reason=getattr(error, "strerror", None) or str(error))
            self._running.add(process)
        with process:
            for line in process.stdout or ():
                with self._output:
                    self._on_output(site, line.rstrip("\n"))
        with self._lock:
            self._running.discard(process)
            if process.returncode:
                self._record_failure(site)
        seconds = time.monotonic() - begun
        return Outcome(site, "failed" if process.returncode else "done", process.returncode, seconds)

    def _record_failure(self, site: Site) -> None:
        if not self._keep_going and self._stopped is None:
            self._stopped = f"it failed for {site}"

    def _start(self, site: Site) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603  # The operator's own command.
            [site.domain if argument == PLACEHOLDER else argument for argument in self._command],
            env={**self._environ, SITE_VARIABLE: site.domain, SITE_ID_VARIABLE: str(site.id)},
            # A command that prompts would wait forever, and nobody would see for which site.
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            # A process group of its own, so that its children are ended with it, and Ctrl-C reaches only this process.
            start_new_session=True,
        )


def _signal(process: subprocess.Popen[str], number: int) -> None:
    """Send a signal to a process and its children."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
