"""Export the static files of all sites into one folder, for a web server or a CDN: `multisite collect-static`.

    DIR/kitchen.example/static/style.css                 for URLs without a hash
    DIR/kitchen.example/5f2c0e1b9a77/static/style.css    the same file, for URLs with its hash
    DIR/kueche.example -> kitchen.example                an alias

Files are replaced atomically, by writing a new file and renaming it. Files with the same content are hard links to one
another, and unchanged files are not written again. The application serves files that are missing, so files can be
exported in any order.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import BinaryIO

from multisite.core.domains import Domain, candidate_names, folder_name, parse
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.records import SiteRecord
from multisite.errors import MultisiteError
from multisite.templates.assets import (
    ENCODINGS,
    FOLDER,
    HASH_DIGITS,
    Asset,
    OpenAsset,
    content_type,
    digest_of,
    list_assets,
    open_asset,
    static_roots,
)

__all__ = ["CollectReport", "collect_static"]

MARKER = ".multisite-static"
"""The folder that marks an export, and holds files until they are complete."""

COMPRESSED_BYTES = 1024
"""Smaller files are not compressed: they fit into a packet or two anyway."""

_COMPRESSIBLE_TYPES = (
    "text/", "image/svg+xml", "image/x-icon", "application/json", "application/manifest+json", "application/wasm",
    "application/xml",
)  # fmt: skip


@dataclass
class CollectReport:
    """Counts of a run: `sites` and `files` in the export, and files that were `written` and `removed`."""

    sites: int = 0
    files: int = 0
    written: int = 0
    removed: int = 0


def collect_static(
    settings: Settings, records: Iterable[SiteRecord], target: Path, *, compress: bool = False
) -> CollectReport:
    """Export the static files of the sites `records` into `target`, and remove files that no site has any more.

    Args:
        settings: Where the files of sites are.
        records: The records of all sites, active or not.
        target: The folder to export to.
        compress: Write a `.gz` beside each file that compresses well.

    Returns:
        The counts of the run.

    Raises:
        MultisiteError: `target` contains other files, or overlaps the folders of templates.
        OSError: `target` cannot be written.
    """
    export = _Export(_prepare(settings, target), compress)
    records = list(records)
    names = _folder_names(records)
    hosts: set[str] = set()
    for record in records:
        if record.status == "active" and record.site.id in names:
            first, *others = names[record.site.id]
            export.export(settings, record.site, first)
            hosts.update([first], export.link(first, others))
    for entry in export.target.iterdir():
        if entry.name not in hosts and entry.name != MARKER:
            export.remove(entry)
    shutil.rmtree(export.staging_dir, ignore_errors=True)  # It does not exist if nothing was written.
    return export.report


def _folder_names(records: Iterable[SiteRecord]) -> dict[int, list[str]]:
    """Return the folder names of each site, by its id; the first one is the folder, the others are links to it.

    A web server finds the folder by the host alone. So domains with a wildcard, a port or a path are left to the
    application, and so are hosts that belong to another site, whatever its status, for some port or for the path of
    static files.
    """
    domains = [
        (record.site.id, parse(domain.host, underscores=True), domain.kind)
        for record in records
        for domain in record.domains
    ]
    shared = {
        domain.name
        for _, domain, _ in domains
        if domain.port is not None or f"{domain.path}/".startswith(f"/{FOLDER}/")
    }
    names: dict[int, list[str]] = {}
    for site_id, domain, kind in domains:
        alone = (
            domain == Domain(domain.name) and not domain.is_wildcard and shared.isdisjoint(candidate_names(domain.name))
        )
        if alone and kind != "redirect":
            names.setdefault(site_id, []).append(folder_name(domain.name))
    return names


def _prepare(settings: Settings, target: Path) -> Path:
    target = target.resolve()
    for folder in (settings.sites_dir.resolve(), settings.templates_dir.resolve()):
        if target.is_relative_to(folder) or folder.is_relative_to(target):
            raise MultisiteError(f"{target} and {folder} overlap: choose a separate folder")
    if target.is_dir() and not (target / MARKER).is_dir() and any(target.iterdir()):
        raise MultisiteError(f"{target} contains other files: choose an empty or new folder")
    (target / MARKER).mkdir(parents=True, exist_ok=True)
    return target


@dataclass
class _Export:
    target: Path
    compress: bool
    report: CollectReport = field(default_factory=CollectReport)
    exported: dict[str, Path] = field(default_factory=dict)  # by digest, an exported file with that content
    compressed: dict[str, bytes | None] = field(default_factory=dict)  # by digest, None if not worth it
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def staging_dir(self) -> Path:
        """The folder of incomplete files of this process; two may run at once."""
        return self.target / MARKER / str(os.getpid())

    def export(self, settings: Settings, site: Site, name: str) -> None:
        """Export one site into the folder `name`."""
        folder = self.target / name
        if folder.is_symlink():  # an alias has become a site
            self.remove(folder)
        assets = list_assets(settings, site)
        roots = list(static_roots(settings, site))
        wanted: set[Path] = set()
        for asset_name in assets:
            if not _is_variant(asset_name, assets):
                wanted.update(self._export_file(folder, asset_name, roots))
        for parent, _folders, files in os.walk(folder, topdown=False):
            for file in files:
                if (path := Path(parent, file)) not in wanted:
                    self.remove(path)
            if not any(Path(parent).iterdir()):
                Path(parent).rmdir()
        self.report.sites += 1

    def _export_file(self, folder: Path, name: str, roots: list[Path]) -> Iterator[Path]:
        """Export a file and its compressed variants, and yield their paths."""
        asset = open_asset(roots, name.split("/"))
        if asset is None:
            # Removed or replaced during the run: the application serves it until the next run.
            return
        with ExitStack() as files:
            digest = files.enter_context(asset).digest()
            variants: dict[str, OpenAsset | bytes] = {"": asset}
            for encoding, encoded in asset.encoded().items():
                variants[ENCODINGS[encoding]] = files.enter_context(encoded)
            if self.compress and ".gz" not in variants and content_type(name).startswith(_COMPRESSIBLE_TYPES):
                if digest not in self.compressed:
                    self.compressed[digest] = _compress(asset.file)
                if (packed := self.compressed[digest]) is not None:
                    variants[".gz"] = packed
            for suffix, source in variants.items():
                for parent in (digest[:HASH_DIGITS], ""):
                    path = folder / parent / FOLDER / f"{name}{suffix}"
                    try:
                        self._put(path, source)
                    except _Changed:  # as above
                        return
                    self.report.files += 1
                    yield path

    def _put(self, path: Path, source: OpenAsset | bytes) -> None:
        """Write `source` to `path`, hard-linking to an identical file if possible.

        Raises:
            _Changed: `source` was written to since its digest was computed.
        """
        digest = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else source.digest()
        if not path.is_file() or digest_of(path) != digest:
            self.staging_dir.mkdir(exist_ok=True)
            new = self.staging_dir / str(next(self.numbers))
            if not _link(new, self.exported.get(digest)):
                _copy(source, new)
                if digest_of(new) != digest:
                    raise _Changed
            path.parent.mkdir(parents=True, exist_ok=True)
            new.replace(path)
            self.report.written += 1
        self.exported.setdefault(digest, path)

    def link(self, name: str, others: list[str]) -> list[str]:
        """Make the folders `others` links to the folder `name`, and return them."""
        for other in others:
            place = self.target / other
            if place.is_symlink() and str(place.readlink()) == name:
                continue
            if place.exists() and not place.is_symlink():
                self.remove(place)
            self.staging_dir.mkdir(exist_ok=True)
            new = self.staging_dir / str(next(self.numbers))
            new.symlink_to(name)
            new.replace(place)
        return others

    def remove(self, path: Path) -> None:
        """Remove a file, a link, or a folder with its content."""
        if path.is_dir() and not path.is_symlink():
            self.report.removed += sum(len(files) for _, _, files in os.walk(path))
            shutil.rmtree(path)
        else:
            path.unlink()
            self.report.removed += 1


class _Changed(Exception):
    """A file was written to during its export."""


def _is_variant(name: str, assets: dict[str, Asset]) -> bool:
    """Return whether `name` is the compressed variant of another file, which is exported with that file."""
    return any(name.endswith(suffix) and name.removesuffix(suffix) in assets for suffix in ENCODINGS.values())


def _link(new: Path, known: Path | None) -> bool:
    """Hard-link `new` to `known`, and return whether that was possible."""
    if known is None:
        return False
    try:
        new.hardlink_to(known)
    except OSError:  # no hard links on this file system, or too many
        return False
    return True


def _copy(source: OpenAsset | bytes, new: Path) -> None:
    if isinstance(source, bytes):
        new.write_bytes(source)
    else:
        with new.open("wb") as file:
            shutil.copyfileobj(source.file, file)


def _compress(file: BinaryIO) -> bytes | None:
    """Return the content of the file, compressed reproducibly; None if that saves less than a tenth."""
    content = file.read()
    if len(content) < COMPRESSED_BYTES:
        return None
    packed = gzip.compress(content, mtime=0)
    return packed if len(packed) < 0.9 * len(content) else None
