"""Files that an export refers to by URL, such as pictures: from the folder of uploads into the site's media.

A file is opened only if it is in that folder, after symbolic links were followed: the names are from the export, which
can have any.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from multisite.content.errors import InvalidArticle
from multisite.content.exports.index import ExportIndex
from multisite.content.imports.files import open_file
from multisite.core.site import Site
from multisite.media import MediaRefused

if TYPE_CHECKING:  # Requires the extra `media`, without which posts can be imported.
    from multisite.media import MediaLibrary

__all__ = ["SIZE_IN_NAME", "ImportedUpload", "UploadImporter", "Uploads"]

SIZE_IN_NAME = re.compile(r"-\d{1,5}x\d{1,5}(?=\.\w+$)")
"""What WordPress adds to the name of a smaller version of a picture."""

_PICTURES = (".gif", ".jpeg", ".jpg", ".png", ".webp")
"""The endings of pictures in the media of a site."""

_GHOST_SIZE = re.compile(r"(?<=images/)size/w\d{1,5}(?:h\d{1,5})?/(?:format/\w+/)?")


@dataclass(frozen=True, slots=True)
class Uploads:
    """The folder with the uploaded files of a blog, and the library that gets them; None to import no files."""

    folder: Path | None = None
    library: MediaLibrary | None = None


@dataclass(frozen=True, slots=True)
class ImportedUpload:
    """The result for one file: its new URL path, or the reason why there is none."""

    path: str | None
    reason: str = ""

    @property
    def picture(self) -> str | None:
        """The path, if it is that of a picture."""
        return self.path if self.path is not None and self.path.endswith(_PICTURES) else None


@dataclass(frozen=True, slots=True)
class UploadImporter:
    """Adds files to the media of one site, each once.

    With `commits`, each file is committed by itself, before the entries that show it: a batch of entries can then be
    rolled back and tried again.
    """

    uploads: Uploads
    session: Session
    site: Site
    index: ExportIndex
    commits: bool

    def add(self, name: str) -> ImportedUpload:
        """Add the uploaded file `name`, relative to the folder, and return where it is."""
        if self.uploads.folder is None or self.uploads.library is None:
            return ImportedUpload(None)
        known = self.index.find_file(name)
        if known is None:
            known = self._add(self.uploads.folder, self.uploads.library, name)
            self.index.add_file(name, *known)
        return ImportedUpload(*known)

    def _add(self, folder: Path, library: MediaLibrary, name: str) -> tuple[str | None, str]:
        path = _find(folder, name)
        if path is None:
            return None, "there is no such file in the folder of uploads"
        try:
            with open_file(path) as file:
                media = library.save_upload(self.session, self.site, file, path.name)
            new_path = media.path
            if self.commits:
                self.session.commit()
        except (InvalidArticle, MediaRefused, OSError) as error:
            if self.commits:
                self.session.rollback()  # Ends the lock that makes uploads of a site wait for each other.
            return None, str(error)
        return new_path, ""


def _find(folder: Path, name: str) -> Path | None:
    """Return the path of an uploaded file, preferably of the picture of which it is a smaller version."""
    root = os.path.realpath(folder)
    for candidate in _candidates(name):
        try:
            path = Path(os.path.realpath(Path(root, candidate)))
            if path.is_relative_to(root) and path.is_file():
                return path
        except (OSError, ValueError):  # A name that no file can have.
            continue
    return None


def _candidates(name: str) -> Iterator[str]:
    yield _GHOST_SIZE.sub("", SIZE_IN_NAME.sub("", name))
    yield name
