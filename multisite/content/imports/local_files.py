"""Find the files that the texts of a blog refer to, in the folders of its tool, and import them as media.

No file outside of the blog's folder is read, whatever a text refers to: a text may be somebody else's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePath

from sqlalchemy.orm import Session

from multisite.content.imports.front_pictures import PICTURE_FOLDERS
from multisite.content.markup.links import PELICAN_MARK, FileRefused
from multisite.core.site import Site
from multisite.media import MediaLibrary, MediaRefused
from multisite.media.formats import is_media_name
from multisite.media.model import DIGESTS_IN_TEXT

__all__ = ["LibraryOf", "LocalFiles", "MediaImport", "blog_folder"]

LibraryOf = Callable[[], MediaLibrary | None]
"""Returns the media of the application, None if it has none; called for the first file that is found."""

_CONTENT_FOLDERS = frozenset({"_drafts", "_posts", "content"})
_SERVED_FOLDERS = ("", "static", "content", "source", "assets")
"""The folders, below that of the blog, whose content its tool serves at the root of the site."""

_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)

_LEVELS = 3
"""How far above the imported folder a folder of a tool is looked for."""


def blog_folder(path: Path) -> Path:
    """Return the folder of the blog that a file or folder to import belongs to, as an absolute path.

    It is the one above a folder that is named as tools name it (`content`, `_posts`, `_drafts`), which is the imported
    folder or at most three levels above it; else the imported folder itself.
    """
    start = Path(os.path.realpath(path if path.is_dir() else path.parent))
    for folder in (start, *start.parents[:_LEVELS]):
        if folder.name in _CONTENT_FOLDERS:
            return folder.parent
    return start


class LocalFiles:
    """The files of the blogs that `paths`, the files and folders to import, belong to.

    `base` is the path of the blog in its addresses, such as `/blog`, or empty.
    """

    def __init__(self, paths: Iterable[Path], base: str = "") -> None:
        self._paths = list(paths)
        self._base = base

    @cached_property
    def _folders(self) -> list[Path]:
        """The folders of the blogs, the innermost first."""
        found = {blog_folder(path) for path in self._paths if os.path.lexists(path)}
        return sorted(found, key=lambda folder: len(folder.parts), reverse=True)

    def relative(self, path: PurePath) -> PurePath:
        """Return the path of a file below the folder of its blog, without symbolic links; its name if it is in none."""
        parent = Path(os.path.realpath(path.parent))
        folder = next((folder for folder in self._folders if parent.is_relative_to(folder)), parent)
        return parent.relative_to(folder) / path.name

    def find(self, article: Path, address: str) -> Path | None:
        """Return the file that `address` in the text of the file `article` refers to, without symbolic links; or None.

        An address is relative to the article's folder, or to the folders that the tool serves at the root of the site.
        """
        target = re.split(r"[#?]", address, maxsplit=1)[0]
        if self._base and target.startswith(f"{self._base}/"):
            target = target.removeprefix(self._base)
        if "\0" in target or not is_media_name(target):
            return None
        parent = Path(os.path.realpath(article.parent))
        for folder in self._folders:
            if parent.is_relative_to(folder):
                for candidate in _candidates(parent, folder, target, article.stem):
                    found = Path(os.path.realpath(candidate))
                    with suppress(OSError):  # Such as a name that is too long for a file.
                        if _is_inside(found, folder) and found.is_file():
                            return found
                return None
        return None


def _candidates(parent: Path, folder: Path, target: str, name: str) -> Iterator[Path]:
    """Yield the paths that `target` may stand for in the file `name`, without its suffix, in the folder `parent`."""
    bare = PELICAN_MARK.sub("", target, count=1)
    if not bare.startswith("/"):
        yield parent / bare
        # On the page, it is relative to the address of the page, which is below `name` or beside it.
        parts = parent.relative_to(folder).parts
        page = PurePath(*(parts[1:] if parts[:1] and parts[0] in _CONTENT_FOLDERS else parts))
        for place in (page / name, page, PurePath()):
            for served in _SERVED_FOLDERS:
                yield folder / served / place / bare
    if bare.startswith("/") or bare != target:
        for served in _SERVED_FOLDERS:
            yield folder / served / bare.lstrip("/")


def _is_inside(path: Path, folder: Path) -> bool:
    return path.is_relative_to(folder) and not any(part.startswith(".") for part in path.relative_to(folder).parts)


class MediaImport:
    """Adds the files that the texts of one import refer to, each once, to the media of the site.

    Args:
        session: The session of the import.
        site: The site of the import.
        files: Where files are found.
        library_of: Returns the media of the application.
        commit: Whether each file is committed at once, as batches of entries are.
        dry_run: Whether no file is written.
    """

    def __init__(
        self, session: Session, site: Site, files: LocalFiles, library_of: LibraryOf, *, commit: bool, dry_run: bool
    ) -> None:
        self._session = session
        self._site = site
        self._files = files
        self._library_of = library_of
        self._commit = commit
        self._dry_run = dry_run
        self._found: dict[Path | str, Mapping[str, str] | str] = {}
        """The attributes of a file, or why it was refused."""

    @cached_property
    def _library(self) -> MediaLibrary:
        library = self._library_of()
        if library is None:
            raise FileRefused("the application has no media: pip install 'pyramid-multisite[media]'")
        return library.without_files() if self._dry_run else library

    def find(self, article: Path, address: str, alt: str) -> Mapping[str, str] | None:
        """Return the attributes of the image or other file that a text refers to; None if there is no such file.

        Raises:
            FileRefused: The file is not accepted, or the site has no room for it.
        """
        if digest := DIGESTS_IN_TEXT.match(address):  # Uploaded before.
            media = self._library.find(self._session, digest[1])
            return None if media is None else media.image_attributes()
        path = self._files.find(article, address)
        if path is None:
            return None
        if path not in self._found:
            self._found[path] = self._add(path, alt)
        found = self._found[path]
        if isinstance(found, str):
            raise FileRefused(found)
        return found

    def find_picture(self, article: Path, address: str, alt: str) -> str | None:
        """Return the new path of the picture that the front matter of a file names; None if there is no such file.

        Raises:
            FileRefused: As `find`, or the picture is elsewhere, or the file is of another kind.
        """
        if _ELSEWHERE.match(address):
            raise FileRefused("it is on another server")
        for folder in PICTURE_FOLDERS:
            found = self.find(article, f"{folder}{address}", alt)
            if found is not None:
                if "width" not in found:
                    raise FileRefused("it is not a picture")
                return found["src"]
            if address.startswith("/"):
                break
        return None

    def _add(self, path: Path, alt: str) -> Mapping[str, str] | str:
        try:
            with path.open("rb") as stream:
                media = self._library.save_upload(self._session, self._site, stream, path.name, alt=alt)
            attributes = media.image_attributes()
            if self._commit:
                # Before the batch of entries, which is rolled back and repeated if another import interferes.
                self._session.commit()
        except (FileRefused, MediaRefused) as error:
            return str(error)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return attributes
