"""`MediaLibrary`: add, find and remove the media of a site."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from multisite.core.site import Site
from multisite.errors import MultisiteError, NoCurrentSite
from multisite.media.errors import MediaRefused
from multisite.media.formats import url_name
from multisite.media.model import DIGESTS_IN_TEXT, SiteMedia
from multisite.media.transaction import pending_files
from multisite.media.uploads import Files, Upload, files_of, open_upload
from multisite.scoping.pin import pin_of
from multisite.sites.media_store import MediaStore
from multisite.sites.settings.registry import parse_own_settings

__all__ = ["ORPHAN_AGE", "MediaLibrary"]

ORPHAN_AGE = timedelta(days=1)
"""A file without a row is only removed at this age: the transaction that adds the row may still be open."""

MAX_ALT_CHARACTERS = 1000

UsedIn = Mapping[InstrumentedAttribute[Any], InstrumentedAttribute[str]]
"""Columns with HTML that may refer to media, and for each the column that names the row."""


class MediaLibrary:
    """The media of an application's sites.

    Args:
        model: The application's table.
        store: Where the files are; None to write no files, for a dry run.
        quota: Returns how many bytes the files of a site may have.
        used_in: Where media are referred to.
    """

    def __init__(
        self, model: type[SiteMedia], store: MediaStore | None, quota: Callable[[Site], int], used_in: UsedIn
    ) -> None:
        self.model = model
        self.store = store
        self._quota = quota
        self._used_in = used_in

    def without_files(self) -> MediaLibrary:
        """Return the same library for a dry run, which writes no files."""
        return MediaLibrary(self.model, None, self._quota, self._used_in)

    def save_upload(
        self,
        dbsession: Session,
        site: Site,
        stream: IO[bytes],
        name: str,
        *,
        alt: str = "",
        decorative: bool = False,
    ) -> SiteMedia:
        """Add a file to the media of a site, and flush its row; the files are written first.

        The same bytes are the same row, which is returned unchanged if it exists.

        Args:
            dbsession: A session for `site`. If its transaction is rolled back, the files are removed.
            site: The site.
            stream: The content of the file.
            name: Its name, which must not contain a path.
            alt: What a picture shows.
            decorative: Whether a picture needs no such text.

        Returns:
            The row.

        Raises:
            MediaRefused: The file is not accepted, or the site has no room for it.
        """
        _check_session(dbsession, site)
        with open_upload(stream, name) as upload:
            found = self.find(dbsession, upload.digest)
            if found is not None:
                return found
            files = files_of(upload)
            _serialize(dbsession, self.model, site)
            # Another upload of the same bytes may have been committed meanwhile.
            found = self.find(dbsession, upload.digest)
            if found is not None:
                return found
            self._check_quota(dbsession, site, files.size)
            media = self._row(upload, files, alt=alt[:MAX_ALT_CHARACTERS], decorative=decorative)
            self._write(dbsession, site, media, files)
        dbsession.add(media)
        dbsession.flush()
        return media

    def _row(self, upload: Upload, files: Files, *, alt: str, decorative: bool) -> SiteMedia:
        make: Any = self.model
        row: SiteMedia = make(
            digest=upload.digest,
            token=secrets.token_hex(8),
            name=url_name(upload.name, files.format.extension),
            format=files.format.name,
            width=files.width,
            height=files.height,
            widths=[width for width, _content in files.smaller],
            bytes=files.size,
            alt=alt,
            decorative=decorative,
        )
        return row

    def _write(self, dbsession: Session, site: Site, media: SiteMedia, files: Files) -> None:
        if self.store is None:
            return
        pending_files(dbsession).written.append((self.store, site.id, media.folder))
        self.store.write(site.id, f"{media.folder}/{media.name}", files.main)
        for width, content in files.smaller:
            self.store.write(site.id, f"{media.folder}/{media.smaller_name(width)}", BytesIO(content))

    def _check_quota(self, dbsession: Session, site: Site, size: int) -> None:
        quota, used = self._quota(site), self.used_bytes(dbsession)
        if used + size > quota:
            raise MediaRefused(
                "it takes {size:,} bytes, and of the {quota:,} bytes for media of this site {used:,} are in use",
                size=size,
                quota=quota,
                used=used,
            )

    def quota_bytes(self, site: Site) -> int:
        """Return how many bytes the files of a site may have."""
        return self._quota(site)

    def used_bytes(self, dbsession: Session) -> int:
        """Return the size of all files of the session's site."""
        return int(dbsession.scalar(sa.select(sa.func.coalesce(sa.func.sum(self.model.bytes), 0))) or 0)

    def find(self, dbsession: Session, digest: str) -> SiteMedia | None:
        """Return the row with this SHA-256 of the session's site, or None."""
        return dbsession.scalars(sa.select(self.model).where(self.model.digest == digest)).one_or_none()

    def starting_with(self, dbsession: Session, digits: str) -> list[SiteMedia]:
        """Return the rows of the session's site whose SHA-256 begins with these hexadecimal digits, at most two."""
        found = sa.select(self.model).where(self.model.digest.startswith(digits, autoescape=True)).limit(2)
        return list(dbsession.scalars(found))

    def list_all(self, dbsession: Session) -> Iterator[SiteMedia]:
        """Yield the media of the session's site, the newest first."""
        newest_first = sa.select(self.model).order_by(self.model.uploaded.desc(), self.model.id.desc())
        return iter(dbsession.scalars(newest_first))

    def remove(self, dbsession: Session, site: Site, media: SiteMedia) -> None:
        """Delete a row; its files are removed after the commit."""
        _check_session(dbsession, site)
        dbsession.delete(media)
        dbsession.flush()
        if self.store is not None:
            pending_files(dbsession).removed.append((self.store, site.id, media.folder))

    def users_of(self, dbsession: Session, media: SiteMedia) -> list[str]:
        """Return the names of the rows and settings of the session's site that refer to a file, sorted."""
        settings = parse_own_settings(_site_of(dbsession).own_settings)
        found = {f"the setting {name}" for name, text in settings.items() if f"/media/{media.digest}/" in text}
        for text, name in self._used_in.items():
            found.update(dbsession.scalars(sa.select(name).where(text.contains(f"/media/{media.digest}/"))))
        return sorted(found)

    def used_digests(self, dbsession: Session) -> set[str]:
        """Return the SHA-256 of all media that the session's site refers to; reads each text with media."""
        found = set(DIGESTS_IN_TEXT.findall(_site_of(dbsession).own_settings))
        for text in self._used_in:
            texts = sa.select(text).where(text.contains("/media/")).execution_options(yield_per=100)
            for each in dbsession.scalars(texts):
                found.update(DIGESTS_IN_TEXT.findall(each))
        return found

    def prune(self, dbsession: Session, site: Site, *, now: datetime | None = None) -> int:
        """Remove the files of a site that no row names and that are older than `ORPHAN_AGE`.

        Returns:
            The number of removed folders, one for each upload.
        """
        _check_session(dbsession, site)
        if self.store is None:
            return 0
        latest, removed = (now or datetime.now(UTC)) - ORPHAN_AGE, 0
        for folders in self.store.folders(site.id):
            known = self._known(dbsession, folders)
            for folder in folders:
                if folder not in known and self.store.modified(site.id, folder) < latest:
                    self.store.remove_folder(site.id, folder)
                    removed += 1
        return removed

    def _known(self, dbsession: Session, folders: list[str]) -> set[str]:
        """Return those of the folders that rows name."""
        digests = [folder.partition("/")[2].partition("-")[0] for folder in folders]
        found: set[str] = set()
        for start in range(0, len(digests), 500):
            rows = sa.select(self.model).where(self.model.digest.in_(digests[start : start + 500]))
            found.update(media.folder for media in dbsession.scalars(rows))
        return found


def _site_of(dbsession: Session) -> Site:
    scope = pin_of(dbsession).resolve()
    if scope is None or scope.site is None:
        raise NoCurrentSite("the use of media")
    return scope.site


def _check_session(dbsession: Session, site: Site) -> None:
    """Raise `MultisiteError` if the session is not for this site: its files would be another site's."""
    scope = pin_of(dbsession).resolve()
    if scope is None or scope.site is None or scope.site.id != site.id:
        raise MultisiteError(f"the session is not for the site {site}: its media need a session that is pinned to it")


def _serialize(dbsession: Session, model: type[Any], site: Site) -> None:
    """Serialize the uploads of a site until the transaction ends, so that the quota is exact."""
    if dbsession.get_bind(model).dialect.name == "postgresql":
        key = hashlib.sha256(f"multisite media {site.id}".encode()).digest()[:8]
        dbsession.execute(sa.select(sa.func.pg_advisory_xact_lock(int.from_bytes(key, "big", signed=True))))
    else:
        # A statement that changes no row begins a transaction in which nobody else can write to the file.
        dbsession.execute(sa.update(model).where(model.id < 0).values(alt=model.alt))
