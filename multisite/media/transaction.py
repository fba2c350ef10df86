"""Remove files with a session's transaction: written ones after a rollback, those of deleted rows after the commit.

A file is written before the row that names it is committed, and removed after its row is. A process that is killed in
between leaves a file without a row, which nobody can request, and which `multisite prune-media` removes.
"""

from __future__ import annotations

import logging

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from multisite.sites.media_store import MediaStore

__all__ = ["PendingFiles", "pending_files"]

log = logging.getLogger(__name__)

_KEY = "multisite_media_files"
"""The key in the `info` of a session."""

_Folder = tuple[MediaStore, int, str]
"""A store, the id of a site, and the folder of an upload."""


class PendingFiles:
    """The folders that a session's transaction has `written`, and those whose rows it has `removed`."""

    def __init__(self) -> None:
        self.written: list[_Folder] = []
        self.removed: list[_Folder] = []
        self._committed = False

    def _on_commit(self, session: Session) -> None:
        self._committed = not session.in_nested_transaction()

    def _on_end(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is not None:
            return
        unwanted = self.removed if self._committed else self.written
        self.written, self.removed, self._committed = [], [], False
        for store, site_id, folder in unwanted:
            try:
                store.remove_folder(site_id, folder)
            except Exception:  # The transaction is over, and must not fail any more.
                log.warning("files %s of site %d were not removed: run prune-media", folder, site_id, exc_info=True)


def pending_files(session: Session) -> PendingFiles:
    """Return the pending files of the session's transaction."""
    pending: PendingFiles | None = session.info.get(_KEY)
    if pending is None:
        pending = session.info[_KEY] = PendingFiles()
        # Not after_rollback, which a session that is only closed does not call.
        event.listen(session, "after_commit", pending._on_commit)
        event.listen(session, "after_transaction_end", pending._on_end)
    return pending
