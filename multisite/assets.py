"""The static files of a site: `static/` in its folder, over that of its theme, over the shared one.

This knows files and folders only. `multisite.static` serves them, `multisite collect-static` lays them out. Whatever
asks, the first layer that has the name decides: a file there that may not be served is not replaced by the next one.
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

from multisite.real_file import RealFile, open_real_file
from multisite.settings import STATIC_FOLDER, THEMES_FOLDER, Settings
from multisite.site import Site

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
"""The name of the folder that holds the static files of a layer."""

NEVER_SERVED = frozenset({
    ".mako", ".mak", ".jinja2", ".pt", ".py", ".pyc", ".ini", ".cfg", ".conf", ".toml", ".db", ".sqlite", ".sqlite3",
    ".sql", ".pem", ".key",
})  # fmt: skip
"""Suffixes, in lower case, of what may lie beside the files but is templates, code, settings or data."""

_COPIES = frozenset({".gz", ".br", ".zst", ".bak", ".orig", ".old", ".save", ".swp", ".tmp"})
"""Suffixes of a copy of the file whose name stands before them: `page.mako.bak` is a template still. So are numbers."""

ENCODINGS = {"br": ".br", "gzip": ".gz"}
"""The content codings (RFC 9110 section 8.4.1, RFC 7932) in which a file may lie beside itself, and their suffixes."""

HASH_DIGITS = 12
"""How much of the hash goes into an address: enough to tell the versions of one file apart."""

# Written out, since the table of the machine differs from one to the next, and lacks the newer ones on many.
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
    """A file that may be served: its real path, and the root of the layer in which it lies."""

    path: Path
    root: Path


class OpenAsset(RealFile):
    """A file that may be served, open. What is sent, hashed or copied is read from `file`, never by its path again."""

    __slots__ = ()

    def digest(self) -> str:
        """Return the SHA-256 of its content, as 64 hexadecimal digits. The file stands at its beginning afterwards."""
        return _digest_of(self)

    def encoded(self) -> dict[str, OpenAsset]:
        """Return the files beside it that hold the same, compressed, by content coding; the caller closes them.

        They are of its own layer, or the style of one site would come with the content of another; and not older than
        it, or a changed file would not be seen.
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
    """Return the file with the name `path_segments` (`("img", "logo.svg")`) below the first of `roots` that has it.

    None if there is none, or if it is none to serve: a name that begins with a dot, a template, code, or what a link
    leads to outside of its root. To read the file use `open_asset`: by now the name may lead elsewhere.
    """
    found = _find(roots, path_segments)
    if found is None:
        return None
    root, opened = found
    with opened:
        return Asset(opened.path, root)


def open_asset(roots: Iterable[Path], path_segments: Sequence[str]) -> OpenAsset | None:
    """Return the file that `find_asset` finds, open, so that what was checked is what is read; the caller closes it.

    None also for a file that cannot be read.
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
        except (OSError, ValueError):  # not there, a name too long or with no bytes, a circle of links
            continue
        try:
            opened = open_real_file(candidate)
        except OSError:  # removed since, or not ours to read
            return None
        # Where the file really lies decides: through a link, neither another folder nor a hidden name is reached.
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
    """Yield the roots of the static files of `site`, the first one first; None as `site` means the shared one alone."""
    templates = settings.templates_dir.resolve()
    if site is not None:
        # Not resolved any further than this: a site's folder that is itself a link may lead to another site's.
        if _is_safe_segment(site.folder):
            yield settings.sites_dir.resolve() / site.folder / FOLDER
        if site.theme is not None and _is_safe_segment(site.theme):
            yield templates / THEMES_FOLDER / site.theme / FOLDER
    yield templates / FOLDER


def list_assets(settings: Settings, site: Site | None) -> dict[str, Asset]:
    """Return every file that `site` serves, by its name (`img/logo.svg`), in alphabetical order."""
    roots = list(static_roots(settings, site))
    names = sorted({name for root in roots for name in _walk(root)})
    found = ((name, find_asset(roots, name.split("/"))) for name in names)
    return {name: asset for name, asset in found if asset is not None}


def _walk(root: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(root):
        folders[:] = [folder for folder in folders if _is_safe_segment(folder)]
        for file in files:
            yield Path(parent, file).relative_to(root).as_posix()


def _is_safe_segment(step: str) -> bool:
    # A colon names a stream of a file to Windows: `page.mako::$DATA` would be a template without its suffix.
    return bool(step) and not step.startswith(".") and not any(c in "/\\:" or c < " " or c == "\x7f" for c in step)


def _is_public(name: str) -> bool:
    path = Path(name.lower().rstrip("~#. "))
    while path.suffix in _COPIES or path.suffix[1:].isdigit():
        path = path.with_suffix("")
    # SQLite keeps what it has written last beside its file, under the same name and one of these.
    return re.sub("-(?:wal|shm|journal)$", "", path.suffix) not in NEVER_SERVED


def content_type(name: str) -> str:
    """Return the media type of the file `name`, with the charset where it is text."""
    guessed, encoding = mimetypes.guess_type(name)
    if encoding is not None:  # a compressed file that is asked for as such
        guessed = "application/gzip" if encoding == "gzip" else "application/octet-stream"
    found = _TYPES.get(Path(name).suffix.lower()) or guessed or "application/octet-stream"
    return found + ("; charset=utf-8" if found.startswith("text/") else "")


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, as 64 hexadecimal digits; it is read again once it has changed."""
    with open_real_file(path) as opened:
        return _digest_of(opened)


def _digest_of(opened: RealFile) -> str:
    status = opened.status
    # Its inode and the time of that tell of a file that was put in its place with the same size and time.
    times = (status.st_mtime_ns, status.st_ctime_ns)
    digest = _digest(_Content(opened.path, times, status.st_size, status.st_ino, opened.file.fileno()))
    opened.file.seek(0)
    return digest


@dataclass(frozen=True, slots=True)
class _Content:
    """One content of a file, and the descriptor from which it can be read at this moment."""

    path: Path
    times_ns: tuple[int, int]
    size_bytes: int
    inode: int
    descriptor: int = field(compare=False)


@lru_cache(maxsize=16_384)
def _digest(content: _Content) -> str:
    with open(content.descriptor, "rb", closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
