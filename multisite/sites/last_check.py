"""What the last check of the application found: `multisite check --keep` and the job `check` keep it for the console.

A check of a large database takes minutes, so no page runs it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core.actor import current_actor
from multisite.core.finding import Finding
from multisite.directory.health_tables import checks_table
from multisite.directory.tables import AS_MULTISITE

__all__ = ["MAX_FINDINGS", "LastCheck", "keep_check", "read_last_check"]

MAX_FINDINGS = 200
"""How many findings are kept: a check can have one for each row."""

MAX_TEXT_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class LastCheck:
    """The last check: when it ended, how long it took, who ran it, and its findings.

    `number` is that of all findings, of which `findings` may be the first ones.
    """

    made: datetime
    seconds: float
    who: str
    number: int
    findings: Sequence[Finding]


def keep_check(engine: Engine, findings: Sequence[Finding], *, seconds: float) -> LastCheck:
    """Keep the findings of a check that took `seconds`, in place of those of the check before."""
    kept = [
        {name: str(text)[:MAX_TEXT_CHARACTERS] for name, text in dataclasses.asdict(finding).items()}
        for finding in findings[:MAX_FINDINGS]
    ]
    made, who = datetime.now(UTC), current_actor().name[:200]
    values = {"made": made, "seconds": seconds, "who": who, "number": len(findings), "findings": kept}
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.delete(checks_table))
        connection.execute(sa.insert(checks_table).values(**values))
    return LastCheck(made, seconds, who, len(findings), findings[:MAX_FINDINGS])


def read_last_check(engine: Engine) -> LastCheck | None:
    """Return the last check that was kept; None if there was none."""
    statement = sa.select(checks_table).order_by(checks_table.c.id.desc()).limit(1)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    return LastCheck(row.made, row.seconds, row.who, row.number, [Finding(**each) for each in row.findings])
