"""Check that sessions, log-ins and CSRF tokens of one site are not accepted by another."""

from __future__ import annotations

from collections.abc import Iterator

from multisite.check.application import Application
from multisite.core.finding import Finding
from multisite.web.credentials import find_unscoped_credentials

__all__ = ["check_credentials"]


def check_credentials(application: Application) -> Iterator[Finding]:
    """Report session factories, authentication helpers and CSRF storage policies that all sites share."""
    yield from find_unscoped_credentials(application.registry)
