"""The items of a site's own menu on its error pages, which are rendered after the request's transaction.

They are read by a connection of their own and with a deadline, since the error may be that the database does not
answer. Then the page has the default menu, and others do not try for some seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from pyramid.config import Configurator
from pyramid.request import Request
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from multisite.content.menu import MenuItem, list_items
from multisite.directory.deadline import cancellable, run_with_timeout
from multisite.errors import MultisiteError

__all__ = ["error_items", "includeme"]

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 1.0
"""How long an error page waits for the menu at most."""

PAUSE_SECONDS = 10.0
"""For how long error pages have the default menu after the database has not answered one of them."""

RETRY_AT = "multisite.content.error_menu_retry_at"
"""Registry key of the monotonic time from which the database may be asked again."""


def error_items(request: Request) -> Sequence[tuple[MenuItem, str]]:
    """Return the menu items of a site with an own menu, as `list_items`; none if they cannot be read at once."""
    if isinstance(getattr(request, "exception", None), (SQLAlchemyError, MultisiteError)):
        return []  # The database has just failed. A page of an error makes no second attempt.
    if time.monotonic() < request.registry[RETRY_AT]:
        return []
    engine, site, now = request.dbsession.get_bind(MenuItem).engine, request.site, request.now()

    def read() -> list[tuple[MenuItem, str]]:
        with (
            engine.connect() as connection,
            cancellable(connection),
            Session(connection, info={"site": site}, expire_on_commit=False) as session,
        ):
            return list_items(session, now)

    try:
        return run_with_timeout(read, TIMEOUT_SECONDS)
    except (SQLAlchemyError, OSError) as error:  # TimeoutError is an OSError.
        request.registry[RETRY_AT] = time.monotonic() + PAUSE_SECONDS
        log.warning("error pages have the default menu, since that of %s cannot be read: %s", site, _reason(error))
        return []


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def includeme(config: Configurator) -> None:
    """Show the menu of the site on the error pages of this application."""
    config.registry[RETRY_AT] = time.monotonic()
