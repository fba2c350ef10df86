"""Find the static files of a site: in `static/` of its folder, then of its theme, then of the shared templates.

This module knows only files and folders: `multisite.static` serves them, `multisite collect-static` exports them. The
first layer that has the name wins: if its file may not be served, the next layer is not searched.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from multisite.core.settings import STATIC_FOLDER, THEMES_FOLDER, Settings
from multisite.core.site import Site
from multisite.templates.real_file import RealFile, open_real_file

__all__ = [
    "ENCODINGS",
    "FOLDER",
    "HASH_DIGITS",
    "NEVER_SERVED",
    "Asset",
    "OpenAsset",
    "content_type",
    "digest_of",
    "find_asset",
    "list_assets",
    "open_asset",
    "static_roots",
]

FOLDER = STATIC_FOLDER
"""The name of the folder with the static files of a layer."""

NEVER_SERVED = frozenset({
    ".mako", ".mak", ".jinja2", ".pt", ".py", ".pyc", ".ini", ".cfg", ".conf", ".toml", ".db", ".sqlite", ".sqlite3",
    ".sql", ".pem", ".key",
})  # fmt: skip
"""Suffixes, in lower case, of templates, code, settings and data, which may lie beside static files."""

_COPIES = frozenset({".gz", ".br", ".zst", ".bak", ".orig", ".old", ".save", ".swp", ".tmp"})
"""Suffixes of backup copies: `page.mako.bak` is still a template. Numbers count as such suffixes too."""

ENCODINGS = {"br": ".br", "gzip": ".gz"}
"""Content codings (RFC 9110 section 8.4.1, RFC 7932) and the suffixes of files that are stored compressed with them."""

HASH_DIGITS = 12
"""The length of the hash in a URL: enough to distinguish the versions of one file."""

# Written out, because the system's table differs between machines and often lacks the newer types.
_TYPES = {
    ".avif": "image/avif",
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that may be served: its real path and the root of its layer."""

    path: Path
    root: Path


class OpenAsset(RealFile):
    """An open file that may be served. Send, hash or copy `file`; do not open the path again."""

    __slots__ = ()

    def digest(self) -> str:
        """Return the SHA-256 of its content, as 64 hexadecimal digits, and rewind the file."""
        return _digest_of(self)

    def encoded(self) -> dict[str, OpenAsset]:
        """Return its compressed variants, open, by content coding; the caller closes them.

        A variant must be in the same layer, so that it does not hold the content of another site, and not older than
        the file, so that it does not hold former content.
        """
        found = {}
        for encoding, suffix in ENCODINGS.items():
            candidate = self.path.with_name(self.path.name + suffix)
            try:
                opened = open_real_file(candidate, follow_links=False)
            except (OSError, ValueError):
                continue
            if opened.path == candidate and opened.status.st_mtime_ns >= self.status.st_mtime_ns:
                found[encoding] = OpenAsset(opened.file, opened.path, opened.status)
            else:
                opened.file.close()
        return found


def find_asset(roots: Iterable[Path], path_segments: Sequence[str]) -> Asset | None:
    """Return the file at `path_segments` (`("img", "logo.svg")`) below the first of `roots` that has it.

    To read the file, use `open_asset`, because the path may be replaced in the meantime.

    Returns:
        None if there is no such file, or if it may not be served: a name with a leading dot, a template, code, or a
        link that leads out of its root.
    """
    found = _find(roots, path_segments)
    if found is None:
        return None
    root, opened = found
    with opened:
        return Asset(opened.path, root)


def open_asset(roots: Iterable[Path], path_segments: Sequence[str]) -> OpenAsset | None:
    """Open the file that `find_asset` finds, so that the checked file is the one that is read; the caller closes it.

    Returns:
        None as `find_asset`, and for a file that cannot be read.
    """
    found = _find(roots, path_segments)
    return None if found is None else found[1]


def _find(roots: Iterable[Path], path_segments: Sequence[str]) -> tuple[Path, OpenAsset] | None:
    if not path_segments or not all(map(_is_safe_segment, path_segments)) or not _is_public(path_segments[-1]):
        return None
    for root in roots:
        candidate = root.joinpath(*path_segments)
        try:
            if not stat.S_ISREG(candidate.stat().st_mode):
                continue
        except (OSError, ValueError):  # missing, too long, not encodable, or a loop of links
            continue
        # Twice, because the folder can be replaced by a new version after the file in it was opened.
        for _ in range(2):
            try:
                opened = open_real_file(candidate)
            except OSError:  # removed in the meantime, or not readable
                return None
            # The real path decides, so that a link reaches neither another folder nor a hidden file.
            if _may_serve(root, opened.path):
                return root, OpenAsset(opened.file, opened.path, opened.status)
            opened.file.close()
        return None
    return None


def _may_serve(root: Path, path: Path) -> bool:
    return (
        path.is_relative_to(root) and all(map(_is_safe_segment, path.relative_to(root).parts)) and _is_public(path.name)
    )


def static_roots(settings: Settings, site: Site | None) -> Iterator[Path]:
    """Yield the roots of the static files of `site` in order of precedence; for None, only the shared root."""
    templates = settings.templates_dir.resolve()
    if site is not None:
        # The site's folder is not resolved: if it is a link, it may lead to the folder of another site.
        if _is_safe_segment(site.folder):
            yield settings.sites_dir.resolve() / site.folder / FOLDER
        if site.theme is not None and _is_safe_segment(site.theme):
            yield templates / THEMES_FOLDER / site.theme / FOLDER
    yield templates / FOLDER


def list_assets(settings: Settings, site: Site | None) -> dict[str, Asset]:
    """Return all files that `site` serves by name (`img/logo.svg`), sorted."""
    roots = list(static_roots(settings, site))
    names = sorted({name for root in roots for name in _walk(root)})
    found = ((name, find_asset(roots, name.split("/"))) for name in names)
    return {name: asset for name, asset in found if asset is not None}


def _walk(root: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(root):
        folders[:] = [folder for folder in folders if _is_safe_segment(folder)]
        for file in files:
            yield Path(parent, file).relative_to(root).as_posix()


def _is_safe_segment(segment: str) -> bool:
    # On Windows a colon names a stream of a file: `page.mako::$DATA` would be a template without its suffix.
    return (
        bool(segment)
        and not segment.startswith(".")
        and not any(c in "/\\:" or c < " " or c == "\x7f" for c in segment)
    )


def _is_public(name: str) -> bool:
    path = Path(name.lower().rstrip("~#. "))
    while path.suffix in _COPIES or path.suffix[1:].isdigit():
        path = path.with_suffix("")
    # SQLite keeps its journals beside the database file, under its name with one of these suffixes.
    return re.sub("-(?:wal|shm|journal)$", "", path.suffix) not in NEVER_SERVED


def content_type(name: str) -> str:
    """Return the media type for the file `name`, with a charset for text."""
    guessed, encoding = mimetypes.guess_type(name)
    if encoding is not None:  # a compressed file requested under its own name
        guessed = "application/gzip" if encoding == "gzip" else "application/octet-stream"
    found = _TYPES.get(Path(name).suffix.lower()) or guessed or "application/octet-stream"
    return found + ("; charset=utf-8" if found.startswith("text/") else "")


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, as 64 hexadecimal digits; cached until the file changes."""
    with open_real_file(path) as opened:
        return _digest_of(opened)


def _digest_of(opened: RealFile) -> str:
    status = opened.status
    # The inode and its change time distinguish a replacement with the same size and modification time.
    times = (status.st_mtime_ns, status.st_ctime_ns)
    digest = _digest(_Content(opened.path, times, status.st_size, status.st_ino, opened.file.fileno()))
    opened.file.seek(0)
    return digest


@dataclass(frozen=True, slots=True)
class _Content:
    """A version of a file's content, and the descriptor to read it from now."""

    path: Path
    times_ns: tuple[int, int]
    size_bytes: int
    inode: int
    descriptor: int = field(compare=False)


@lru_cache(maxsize=16_384)
def _digest(content: _Content) -> str:
    with open(content.descriptor, "rb", closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
