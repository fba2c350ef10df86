"""Progress lines on stderr, for commands that take their time."""

from __future__ import annotations

import sys
import time

import click

__all__ = ["Progress"]


class Progress:
    """Prints progress lines on stderr, which keeps stdout for the result.

    With `interval_seconds` at most one line is printed in that time. A terminal gets the first one at once; elsewhere,
    such as in the log of a nightly job, nothing is printed for `delay_seconds`, None: at all.
    """

    def __init__(self, *, interval_seconds: float = 0, delay_seconds: float | None = 0) -> None:
        self._interval_seconds = interval_seconds
        self._enabled = delay_seconds is not None or sys.stderr.isatty()
        self._next_at = time.monotonic() + (0 if sys.stderr.isatty() else delay_seconds or 0)

    def show(self, line: str) -> None:
        """Print `line`, unless it comes too early."""
        if self._enabled and time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + self._interval_seconds
            click.echo(line, err=True)
