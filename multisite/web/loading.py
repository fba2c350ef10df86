"""Load the application of an ini file, for commands that need its models or its settings.

This module does not import alembic, which takes a fifth of the time of such a command. Nor does the application import
zope.sqlalchemy, which only requests need.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from pyramid.paster import get_app

from multisite.errors import MultisiteError
from multisite.sites.ini import with_distribution
from multisite.web.startup import without_requests

__all__ = ["load", "reason_of"]


def load(uri: str) -> Any:
    """Return the application of an ini file.

    Raises:
        MultisiteError: The application cannot be loaded.
    """
    try:
        with without_requests():
            return get_app(with_distribution(uri))
    except MultisiteError:
        raise
    except Exception as error:
        raise MultisiteError(f"the application of {uri} cannot be loaded ({reason_of(error)})") from error


def reason_of(error: BaseException) -> str:
    """Return an error as one line; for an error of the database, the database's own message."""
    text = " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".")
    return text if isinstance(error, (MultisiteError, sa.exc.DBAPIError)) else f"{type(error).__name__}: {text}"
