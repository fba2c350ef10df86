"""Log records with the name of the application: `%(application)s`.

In an ini file, which cannot configure filters, use the class of a formatter:

    [formatter_plain]
    class = multisite.vhosts.logs.ApplicationFormatter
    format = %(asctime)s %(levelname)s [%(application)s] [%(name)s] %(message)s

Elsewhere, add the filter to a handler. Both work without `egg:pyramid-multisite#vhosts`: outside of applications, the
attribute is `-`.
"""

from __future__ import annotations

import logging

from multisite.core.application import current_application

__all__ = ["ApplicationFilter", "ApplicationFormatter"]


def _name(record: logging.LogRecord) -> None:
    # A record may pass several handlers, also in another thread (QueueHandler): the first one knows the application.
    if not hasattr(record, "application"):
        record.application = current_application.get() or "-"


class ApplicationFilter(logging.Filter):
    """Adds the attribute `application` to each record; passes the records that `logging.Filter(name)` passes."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether `record` passes, after naming its application."""
        _name(record)
        return bool(super().filter(record))


class ApplicationFormatter(logging.Formatter):
    """Formats records like `logging.Formatter`, and supports `%(application)s`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return `record` as text, after naming its application."""
        _name(record)
        return super().format(record)
