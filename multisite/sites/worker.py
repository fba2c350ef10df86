"""The worker: does one job after another, in a process of its own (`multisite work`) or in a thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from threading import Event, Thread
from typing import Any, Self

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from multisite.core.actor import acting_as
from multisite.core.current_site import request_id
from multisite.core.settings import Settings
from multisite.errors import MultisiteError
from multisite.sites.archive.contents import SiteContents
from multisite.sites.bulk import Check
from multisite.sites.job_kinds import KINDS, JobContext, check_job
from multisite.sites.jobs import Job, beat, claim_job, end_job, worker_name
from multisite.sites.measurements import are_measurements_due, measure_sites
from multisite.sites.settings import SettingsRegistry

__all__ = ["Worker"]

log = logging.getLogger(__name__)

BEAT_SECONDS = 10.0
"""How often a worker writes a sign of life."""

MEASURE_SECONDS = 60.0
"""How often to look whether the sites are to be measured again."""

PROGRESS_SECONDS = 1.0
"""How often, at most, a line of progress is written."""


class _Cancelled(Exception):
    """The job is to end. Not a `MultisiteError`, so that a job on several sites does not go on with the next one."""


class _Heart:
    """Writes signs of life of a job from a thread, and notices when it has to end."""

    def __init__(self, engine: Engine, job: Job) -> None:
        self._engine = engine
        self._job = job
        self._stopped = Event()
        self._next_at = 0.0
        self.is_wanted = True
        self.result: dict[str, Any] | None = None
        self._thread = Thread(target=self._run, name="multisite-job", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            self._beat(None)

    def _beat(self, progress: str | None) -> None:
        try:
            self.is_wanted = beat(self._engine, self._job, progress, self.result)
        except SQLAlchemyError as error:
            # On SQLite the job itself may be writing: then nobody else can take it either.
            log.debug("no sign of life of job %s: %s", self._job.id, error)

    def progress(self, line: str) -> None:
        """Show `line` as the progress of the job. Raises an exception if the job is to end."""
        if time.monotonic() >= self._next_at and self._job_can_write:
            self._next_at = time.monotonic() + PROGRESS_SECONDS
            self._beat(line)
        if not self.is_wanted:
            raise _Cancelled

    def keep(self, result: Mapping[str, Any]) -> None:
        """Keep the result so far: written with the next line of progress, or at the end of a job that is cancelled."""
        self.result = dict(result)

    @property
    def _job_can_write(self) -> bool:
        # On SQLite a job within its transaction would wait for itself; the thread reports instead, between two.
        return self._engine.dialect.name != "sqlite" or not self._job.kind.startswith(("import", "copy", "restore"))


class Worker:
    """Does jobs, and measures all sites once an hour.

    `contents` are the application's declarations about the data of its sites, for archives. `declared` are the settings
    that it declares; without them, a job that sets some fails. `check` is as in `JobContext`.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        contents: SiteContents,
        declared: SettingsRegistry | None = None,
        *,
        check: Check | None = None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._contents = contents
        self._declared = declared
        self._check = check
        self._measure_at = 0.0
        self._stopped = Event()

    def run(
        self, *, once: bool = False, poll_seconds: float = 2.0, on_done: Callable[[Job, str], object] | None = None
    ) -> int:
        """Do jobs until `stop` is called, or with `once` until there is none left.

        Args:
            once: End when no job is waiting.
            poll_seconds: How often to look for new jobs.
            on_done: Called with each job that has ended, and how.

        Returns:
            The number of jobs.
        """
        done = 0
        while not self._stopped.is_set():
            job = claim_job(self._engine, worker_name())
            if job is None:
                self._measure_if_due()
                if once:
                    break
                self._stopped.wait(poll_seconds)
                continue
            status = self.do(job)
            done += 1
            if on_done is not None:
                on_done(job, status)
        return done

    def _measure_if_due(self) -> None:
        if time.monotonic() < self._measure_at:
            return
        self._measure_at = time.monotonic() + MEASURE_SECONDS
        try:
            if are_measurements_due(self._engine):
                measure_sites(self._engine, self._settings)
        except Exception:  # Jobs are more important than measurements.
            log.exception("the sites cannot be measured")

    def stop(self) -> None:
        """End `run` after the job that is being done."""
        self._stopped.set()

    def do(self, job: Job) -> str:
        """Do a claimed job in the name of who has added it, and return its new status."""
        token = request_id.set(job.request_id)
        heart = _Heart(self._engine, job)
        try:
            with acting_as(job.who, address=job.address), heart:
                context = JobContext(
                    self._engine, self._settings, self._contents, heart.progress, str(job.id), self._declared,
                    heart.keep, self._check,
                )  # fmt: skip
                check_job(job.kind, job.arguments)
                heart.progress("begun")
                result = KINDS[job.kind](context, job, job.arguments)
        except _Cancelled:
            end_job(self._engine, job, "cancelled", result=heart.result)
            return "cancelled"
        except (MultisiteError, SQLAlchemyError, OSError) as error:
            end_job(self._engine, job, "failed", result=heart.result, error=" ".join(str(error).split()))
            return "failed"
        except Exception as error:
            log.exception("job %s failed", job.id)
            reason = f"{type(error).__name__}: see the log of the worker"
            end_job(self._engine, job, "failed", result=heart.result, error=reason)
            return "failed"
        finally:
            request_id.reset(token)
        end_job(self._engine, job, "done", result=result)
        return "done"
