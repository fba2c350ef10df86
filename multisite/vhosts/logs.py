"""Log records that say which application spoke: `%(application)s`.

In an ini file, which has no filters, by the class of a formatter:

    [formatter_plain]
    class = multisite.vhosts.logs.ApplicationFormatter
    format = %(asctime)s %(levelname)s [%(application)s] [%(name)s] %(message)s

Elsewhere by the filter, on a handler. Nothing of this needs `egg:pyramid-multisite#vhosts` to be loaded: where no
application runs, the attribute is `-`.
"""

from __future__ import annotations

import logging

from multisite.application import current_application

__all__ = ["ApplicationFilter", "ApplicationFormatter"]


def _name(record: logging.LogRecord) -> None:
    # A record may pass several handlers, also in another thread (QueueHandler): whoever comes first knows best.
    if not hasattr(record, "application"):
        record.application = current_application.get() or "-"


class ApplicationFilter(logging.Filter):
    """Gives each record the attribute `application`; refuses none beyond what `logging.Filter(name)` refuses."""

    def filter(self, record: logging.LogRecord) -> bool:
        _name(record)
        return bool(super().filter(record))


class ApplicationFormatter(logging.Formatter):
    """Formats records as `logging.Formatter` does, with `%(application)s`."""

    def format(self, record: logging.LogRecord) -> str:
        _name(record)
        return super().format(record)
