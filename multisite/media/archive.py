"""Export and import the files of media with the archive of a site, which has their rows in any case.

Archives are untrusted. A file is imported only if it matches its row, and never replaces one in the store.
"""

from __future__ import annotations

import logging
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection

from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.media.errors import MediaRefused
from multisite.media.formats import HEAD_BYTES, format_of, is_format
from multisite.media.library import MediaLibrary
from multisite.media.model import SiteMedia
from multisite.sites.media_store import MediaStore

__all__ = ["export_media", "import_media"]

log = logging.getLogger(__name__)

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"[0-9a-f]{1,32}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}\.[a-z0-9]{2,5}")


def export_media(library: MediaLibrary, site: Site, connection: Connection, folder: Path) -> None:
    """Copy the files of a site into an empty folder; a missing one is logged and left out."""
    if library.store is None:
        return
    for media in _rows(library, connection):
        for name in _names(media):
            try:
                file, _size = library.store.open(site.id, f"{media.folder}/{name}")
            except FileNotFoundError:
                log.warning("the file %s of %s is missing in multisite.media_url", name, media.path)
                continue
            target = folder / media.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with file, target.open("wb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)


def import_media(library: MediaLibrary, site: Site, connection: Connection, folder: Path) -> None:
    """Write the files of an archive for the rows that have been inserted, which get new tokens.

    The quota of the site is not checked, since an operator decides to import it.

    Raises:
        MultisiteError: A row or a file is not what it claims to be.
    """
    store = library.store
    if store is None:
        return
    written = _Written(store, site.id, connection)
    for media in list(_rows(library, connection)):
        found = [(name, path) for name in _names(media) if (path := folder / media.folder / name).is_file()]
        for name, path in found:
            _check(media, name, path)
        media.token = secrets.token_hex(8)
        written.folders.append(media.folder)
        for name, path in found:
            with path.open("rb") as file:
                store.write(site.id, f"{media.folder}/{name}", file)
        size = sum(path.stat().st_size for _name, path in found)
        values = {"token": media.token, "bytes": size}
        connection.execute(sa.update(library.model).where(library.model.id == media.id).values(**values))


class _Written:
    """Removes the folders that were written, unless the transaction of the connection is committed."""

    def __init__(self, store: MediaStore, site_id: int, connection: Connection) -> None:
        self.folders: list[str] = []
        self._store = store
        self._site_id = site_id
        event.listen(connection, "commit", self._on_commit)
        event.listen(connection, "rollback", self._on_rollback)

    def _on_commit(self, _connection: Connection) -> None:
        self.folders.clear()

    def _on_rollback(self, _connection: Connection) -> None:
        for folder in self.folders:
            self._store.remove_folder(self._site_id, folder)
        self.folders.clear()


def _rows(library: MediaLibrary, connection: Connection) -> Iterator[SiteMedia]:
    """Yield the media of the current site, as objects without a session.

    Raises:
        MultisiteError: A row is not one that an upload creates.
    """
    table = sa.inspect(library.model).local_table
    make: Any = library.model
    for row in connection.execute(sa.select(table)).mappings():
        media: SiteMedia = make(**row)
        if not (_DIGEST.fullmatch(media.digest) and _TOKEN.fullmatch(media.token) and _NAME.fullmatch(media.name)):
            raise MultisiteError(f"the media {media.digest!a} of the site are not valid")
        if not is_format(media.format):
            raise MultisiteError(f"the format {media.format!a} of the media {media.digest} is not known")
        widths: Any = media.widths
        if not isinstance(widths, list) or not all(type(width) is int for width in widths):
            raise MultisiteError(f"the sizes of the media {media.digest} are not valid")
        yield media


def _names(media: SiteMedia) -> list[str]:
    return [media.name, *map(media.smaller_name, media.widths)]


def _check(media: SiteMedia, name: str, path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    try:
        found = format_of(head, name).content_type
    except MediaRefused as error:
        raise MultisiteError(f"the archive has a file for {media.path} that is refused: {error}") from error
    if found != media.content_type_of(name):
        raise MultisiteError(f"the archive has a file for {media.path} that is {found}")
