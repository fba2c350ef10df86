"""Whether what the sites give to their visitors is accepted at other sites."""

from __future__ import annotations

from collections.abc import Iterator

from multisite.check.application import Application
from multisite.credentials import find_unscoped_credentials
from multisite.finding import Finding

__all__ = ["check_credentials"]


def check_credentials(application: Application) -> Iterator[Finding]:
    """Report session factories, helpers for log-ins and policies for CSRF tokens that are one for all sites."""
    yield from find_unscoped_credentials(application.registry)
