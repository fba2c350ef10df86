"""Jobs: long work that a worker does outside of requests (`multisite work`). Each is a row of a table.

A worker claims a waiting job with one statement, so that no two workers do the same one. While it works it writes a
sign of life, and learns whether the job was cancelled. A job whose worker has died is taken up again, at most
`MAX_ATTEMPTS` times in all.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from multisite.core import program
from multisite.core.actor import current_actor
from multisite.core.current_site import request_id
from multisite.directory.operator_tables import jobs_table
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError
from multisite.sites.operator_log import record

__all__ = [
    "LOST_SECONDS",
    "MAX_ATTEMPTS",
    "Job",
    "add_job",
    "beat",
    "cancel_job",
    "claim_job",
    "count_jobs",
    "end_job",
    "list_jobs",
    "prune_jobs",
    "read_job",
    "wanted_uploads",
    "worker_name",
]

LOST_SECONDS = 300
"""After this time without a sign of life, the worker of a job counts as dead: it may be on another machine."""

MAX_ATTEMPTS = 3
"""How often a job is begun: one that ends its workers would never end itself."""

FAILED_AMONG = 500
"""How many of the newest jobs `count_jobs` looks through for those that have failed."""

_jobs = jobs_table.c


@dataclass(frozen=True, slots=True)
class Job:
    """A job. `kind` and `arguments` say what is done, `site` is the domain of the site that it is for.

    `status` is `waiting`, `running`, `done`, `failed` or `cancelled`; `cancel` is whether a running job is asked to
    end. `progress` is a line of text. `result` is an object, None until there is a part of it; `error` says why it
    failed.
    """

    id: int
    kind: str
    site: str | None
    arguments: dict[str, Any]
    who: str
    address: str | None
    request_id: str | None
    status: str
    created: datetime
    started: datetime | None
    heartbeat: datetime | None
    ended: datetime | None
    worker: str | None
    attempts: int
    cancel: bool
    progress: str
    result: dict[str, Any] | None
    error: str | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in {"done", "failed", "cancelled"}


def worker_name() -> str:
    """Return the name of this process as a worker: its machine and its number."""
    return f"{socket.gethostname()[:150]}:{os.getpid()}"


def _connect(engine: Engine) -> Connection:
    return engine.connect().execution_options(**AS_MULTISITE)


def add_job(engine: Engine, kind: str, *, site: str | None = None, arguments: Mapping[str, Any]) -> Job:
    """Add a job for the next worker, in the name of who acts.

    Args:
        engine: The database of the directory.
        kind: A key of `multisite.sites.job_kinds.KINDS`.
        site: The domain of the site that it is for; None for several.
        arguments: The arguments of the kind, as JSON can represent them. They are shown to operators.

    Returns:
        The job.
    """
    actor = current_actor()
    values = {
        "kind": kind, "site": site, "arguments": dict(arguments), "who": actor.name[:200], "address": actor.address,
        "request_id": request_id.get(), "status": "waiting", "created": datetime.now(UTC), "attempts": 0,
        "cancel": False, "progress": "",
    }  # fmt: skip
    with _connect(engine) as connection, connection.begin():
        row = connection.execute(sa.insert(jobs_table).values(**values).returning(jobs_table)).one()
    return Job(**row._mapping)


def claim_job(engine: Engine, worker: str) -> Job | None:
    """Give `worker` the oldest waiting job, or else one whose worker has died; return None if there is neither."""
    with _connect(engine) as connection, connection.begin():
        _fail_worn_out(connection)
        oldest = sa.select(_jobs.id).where(_jobs.status == "waiting").order_by(_jobs.id).limit(1)
        # On SQLite, which has one writer, the statement is atomic without the lock.
        job = _claim(connection, worker, _jobs.id == oldest.with_for_update(skip_locked=True).scalar_subquery())
        if job is not None:
            return job
        for row in connection.execute(sa.select(jobs_table).where(_jobs.status == "running").order_by(_jobs.id)).all():
            if _is_lost(row):
                job = _claim(
                    connection,
                    worker,
                    sa.and_(_jobs.id == row.id, _jobs.worker == row.worker, _jobs.heartbeat == row.heartbeat),
                )
                if job is not None:
                    return job
    return None


def _claim(connection: Connection, worker: str, which: sa.ColumnElement[bool]) -> Job | None:
    now = datetime.now(UTC)
    values = {"status": "running", "worker": worker, "started": now, "heartbeat": now, "attempts": _jobs.attempts + 1}
    is_free = _jobs.status.in_(["waiting", "running"])
    row = connection.execute(
        sa.update(jobs_table).where(which, is_free).values(**values).returning(jobs_table)
    ).one_or_none()
    return None if row is None else Job(**row._mapping)


def _is_lost(row: Any) -> bool:
    """Return whether the worker of a running job is dead, as far as this can be known."""
    if row.heartbeat < datetime.now(UTC) - timedelta(seconds=LOST_SECONDS):
        return True
    machine, _, number = row.worker.rpartition(":")
    if machine != worker_name().rpartition(":")[0]:
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError):
        return False
    return False


def _fail_worn_out(connection: Connection) -> None:
    """Fail jobs whose workers have died too often, and cancel those that are not to be begun again."""
    running = sa.select(jobs_table).where(
        _jobs.status == "running", sa.or_(_jobs.attempts >= MAX_ATTEMPTS, _jobs.cancel.is_(True))
    )
    for row in connection.execute(running).all():
        if not _is_lost(row):
            continue
        values: dict[str, Any] = {"status": "cancelled"}
        if not row.cancel:
            values = {"status": "failed", "error": f"its worker has died {row.attempts} times"}
        same = _jobs.id == row.id, _jobs.worker == row.worker, _jobs.heartbeat == row.heartbeat
        connection.execute(sa.update(jobs_table).where(*same).values(**values, ended=datetime.now(UTC)))


def beat(engine: Engine, job: Job, progress: str | None = None, result: Mapping[str, Any] | None = None) -> bool:
    """Write a sign of life, and the line of progress and the result so far unless they are None.

    Returns:
        Whether to go on: the job is not cancelled, and no other worker has taken it.
    """
    values: dict[str, Any] = {"heartbeat": datetime.now(UTC)}
    if progress is not None:
        values["progress"] = progress[:300]
    if result is not None:
        values["result"] = dict(result)
    with _connect(engine) as connection, connection.begin():
        own = sa.update(jobs_table).where(*_of(job)).values(**values).returning(_jobs.cancel)
        cancel = connection.execute(own).scalar_one_or_none()
    return cancel is not None and not cancel


def _of(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions under which a worker still has `job`."""
    return _jobs.id == job.id, _jobs.status == "running", _jobs.worker == job.worker, _jobs.attempts == job.attempts


def end_job(
    engine: Engine, job: Job, status: str, *, result: Mapping[str, Any] | None = None, error: str | None = None
) -> bool:
    """End a job as `done`, `failed` or `cancelled`; return False if another worker has taken it meanwhile."""
    values = {"status": status, "ended": datetime.now(UTC), "result": result, "error": error and error[:2000]}
    with _connect(engine) as connection, connection.begin():
        return connection.execute(sa.update(jobs_table).where(*_of(job)).values(**values)).rowcount == 1


def cancel_job(engine: Engine, job_id: int) -> Job:
    """Cancel a job: a waiting one at once, a running one at its next step.

    Returns:
        The job.

    Raises:
        MultisiteError: There is no such job, or it has ended.
    """
    with _connect(engine) as connection, connection.begin():
        mine = _jobs.id == job_id
        at_once = sa.update(jobs_table).where(mine, _jobs.status == "waiting")
        now = connection.execute(at_once.values(status="cancelled", cancel=True, ended=datetime.now(UTC))).rowcount
        soon = connection.execute(sa.update(jobs_table).where(mine, _jobs.status == "running").values(cancel=True))
        row = connection.execute(sa.select(jobs_table).where(mine)).one_or_none()
        if row is None:
            raise MultisiteError(f"there is no job {job_id}; list all: {program.command('list-jobs')}")
        job = Job(**row._mapping)
        if not now + soon.rowcount:
            raise MultisiteError(f"the job {job_id} has ended already: it is {job.status}")
        record(connection, "cancel-job", after={"job": job_id, "kind": job.kind, "site": job.site})
    return job


def read_job(engine: Engine, job_id: int) -> Job | None:
    """Return a job, or None if there is none with this id."""
    with _connect(engine) as connection:
        row = connection.execute(sa.select(jobs_table).where(_jobs.id == job_id)).one_or_none()
    return None if row is None else Job(**row._mapping)


def list_jobs(
    engine: Engine,
    *,
    statuses: Collection[str] = (),
    site: str | None = None,
    before_id: int | None = None,
    limit: int = 100,
) -> Iterator[Job]:
    """Return jobs, beginning with the newest: those with one of `statuses`, for the site with this domain."""
    statement = sa.select(jobs_table).order_by(_jobs.id.desc()).limit(limit)
    if statuses:
        statement = statement.where(_jobs.status.in_(statuses))
    if site is not None:
        statement = statement.where(_jobs.site == site)
    if before_id is not None:
        statement = statement.where(_jobs.id < before_id)
    with _connect(engine) as connection:
        rows = connection.execute(statement).all()
    return (Job(**row._mapping) for row in rows)


def count_jobs() -> tuple[sa.ScalarSelect[int], sa.ScalarSelect[int]]:
    """Return the numbers of jobs that have not ended, and of those that have failed within the last day, as subqueries.

    A job for several sites has failed if it failed for one of them. Only the newest `FAILED_AMONG` jobs are looked
    through, so that the numbers can be part of a statement of every page.
    """
    number = sa.select(sa.func.count()).select_from(jobs_table)
    newest = sa.select(sa.func.max(_jobs.id)).correlate(None).scalar_subquery()
    failed_sites = sa.case((_jobs.kind == "bulk", _jobs.result["failed"].as_integer()), else_=0)
    failed = number.where(
        _jobs.id > newest - FAILED_AMONG,
        _jobs.ended > datetime.now(UTC) - timedelta(days=1),
        sa.or_(_jobs.status == "failed", sa.and_(_jobs.status == "done", failed_sites > 0)),
    )
    return number.where(_jobs.status.in_(["waiting", "running"])).scalar_subquery(), failed.scalar_subquery()


def wanted_uploads(engine: Engine) -> set[str]:
    """Return the names of the archives that jobs are still to import."""
    waits = _jobs.kind == "import-site", _jobs.status.in_(["waiting", "running"])
    with _connect(engine) as connection:
        return {each["archive"] for each in connection.scalars(sa.select(_jobs.arguments).where(*waits))}


def prune_jobs(engine: Engine, *, days: int) -> int:
    """Delete jobs that ended more than `days` days ago, and return their number."""
    old = datetime.now(UTC) - timedelta(days=days)
    with _connect(engine) as connection, connection.begin():
        return connection.execute(sa.delete(jobs_table).where(_jobs.ended < old)).rowcount
