"""Lay out the static files of all sites in one folder, for a web server or a CDN: `multisite collect-static`.

    DIR/kitchen.example/static/style.css                 as it is asked for without a hash
    DIR/kitchen.example/5f2c0e1b9a77/static/style.css    the same, by the hash in its address
    DIR/kueche.example -> kitchen.example                an alias

A file is never changed in its place: it is written under another name and then renamed, so that whoever reads sees the
old one or the new one. What has the same content is one file with many names, and a file that is there is not written
again. Whatever is missing the application serves, so the order of things does not matter.
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

from multisite.assets import (
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
from multisite.directory.folders import folder_name
from multisite.directory.info import SiteRecord
from multisite.domains import Domain, candidate_names, parse
from multisite.errors import MultisiteError
from multisite.settings import Settings
from multisite.site import Site

__all__ = ["CollectReport", "collect_static"]

MARKER = ".multisite-static"
"""A folder by which a layout is known for one, and in which files wait until they are whole."""

COMPRESSED_BYTES = 1024
"""Smaller files are not worth a compressed form: they fit into a packet or two as they are."""

_COMPRESSES = (
    "text/", "image/svg+xml", "image/x-icon", "application/json", "application/manifest+json", "application/wasm",
    "application/xml",
)  # fmt: skip


@dataclass
class CollectReport:
    """What a run has done: how many `sites` and `files` are laid out, and how many files were `written`, `removed`."""

    sites: int = 0
    files: int = 0
    written: int = 0
    removed: int = 0


def collect_static(
    settings: Settings, infos: Iterable[SiteRecord], target: Path, *, compress: bool = False
) -> CollectReport:
    """Lay out the static files of the sites `infos` below `target`, and remove what is no longer any site's.

    With `compress` a file that compresses well gets a `.gz` beside it. Raises `MultisiteError` for a folder with other
    things in it, or one that holds templates or lies among them, and `OSError` where it cannot be written.
    """
    layout = _Layout(_prepare(settings, target), compress)
    infos = list(infos)
    names = _folder_names(infos)
    hosts: set[str] = set()
    for info in infos:
        if info.status == "active" and info.site.id in names:
            first, *others = names[info.site.id]
            layout.export(settings, info.site, first)
            hosts.update([first], layout.link(first, others))
    for entry in layout.target.iterdir():
        if entry.name not in hosts and entry.name != MARKER:
            layout.remove(entry)
    shutil.rmtree(layout.staging_dir, ignore_errors=True)  # There is none if nothing was written.
    return layout.collected


def _folder_names(infos: Iterable[SiteRecord]) -> dict[int, list[str]]:
    """Return the names of the folders of each site, by its id; the others are links to the first.

    The folder is found by the host alone. So domains with a wildcard, a port or a path are left to the application,
    and hosts that with some port, or with the path of the files, lead somewhere else: to a site that is open or not.
    """
    domains = [
        (info.site.id, parse(domain.host, underscores=True), domain.kind) for info in infos for domain in info.domains
    ]
    divided = {
        domain.name
        for _, domain, _ in domains
        if domain.port is not None or f"{domain.path}/".startswith(f"/{FOLDER}/")
    }
    names: dict[int, list[str]] = {}
    for site_id, domain, kind in domains:
        alone = (
            domain == Domain(domain.name)
            and not domain.is_wildcard
            and divided.isdisjoint(candidate_names(domain.name))
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
class _Layout:
    target: Path
    compress: bool
    collected: CollectReport = field(default_factory=CollectReport)
    whole: dict[str, Path] = field(default_factory=dict)  # by digest, a file with that content in the layout
    packed: dict[str, bytes | None] = field(default_factory=dict)  # by digest, its compressed form if that is smaller
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def staging_dir(self) -> Path:
        """The folder of files that are being written, by this process: two may run at once."""
        return self.target / MARKER / str(os.getpid())

    def export(self, settings: Settings, site: Site, name: str) -> None:
        """Lay out one site in the folder `name`."""
        folder = self.target / name
        if folder.is_symlink():  # the site of an alias has become a site of its own
            self.remove(folder)
        assets = list_assets(settings, site)
        roots = list(static_roots(settings, site))
        wanted: set[Path] = set()
        for asset_name in assets:
            if not _is_form_of_another(asset_name, assets):
                wanted.update(self._export_file(folder, asset_name, roots))
        for parent, _folders, files in os.walk(folder, topdown=False):
            for file in files:
                if (path := Path(parent, file)) not in wanted:
                    self.remove(path)
            if not any(Path(parent).iterdir()):
                Path(parent).rmdir()
        self.collected.sites += 1

    def _export_file(self, folder: Path, name: str, roots: list[Path]) -> Iterator[Path]:
        """Lay out one file in its forms, and yield where."""
        asset = open_asset(roots, name.split("/"))
        if asset is None:
            # Removed or replaced while we ran: the application serves it until the next run, which comes after that.
            return
        with ExitStack() as files:
            digest = files.enter_context(asset).digest()
            forms: dict[str, OpenAsset | bytes] = {"": asset}
            for encoding, encoded in asset.encoded().items():
                forms[ENCODINGS[encoding]] = files.enter_context(encoded)
            if self.compress and ".gz" not in forms and content_type(name).startswith(_COMPRESSES):
                if digest not in self.packed:
                    self.packed[digest] = _compress(asset.file)
                if (packed := self.packed[digest]) is not None:
                    forms[".gz"] = packed
            for suffix, source in forms.items():
                for parent in (digest[:HASH_DIGITS], ""):
                    path = folder / parent / FOLDER / f"{name}{suffix}"
                    try:
                        self._put(path, source)
                    except _Changed:  # as above
                        return
                    self.collected.files += 1
                    yield path

    def _put(self, path: Path, source: OpenAsset | bytes) -> None:
        """Let `path` hold what `source` holds, as a link to the same content elsewhere where that can be.

        Raises `_Changed` if `source` was written to since its digest was taken.
        """
        digest = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else source.digest()
        if not path.is_file() or digest_of(path) != digest:
            self.staging_dir.mkdir(exist_ok=True)
            new = self.staging_dir / str(next(self.numbers))
            if not _link(new, self.whole.get(digest)):
                _copy(source, new)
                if digest_of(new) != digest:
                    raise _Changed
            path.parent.mkdir(parents=True, exist_ok=True)
            new.replace(path)
            self.collected.written += 1
        self.whole.setdefault(digest, path)

    def link(self, name: str, others: list[str]) -> list[str]:
        """Let the folders `others` be the one called `name`, and return them."""
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
        """Remove a file, a link, or a folder with all that is in it."""
        if path.is_dir() and not path.is_symlink():
            self.collected.removed += sum(len(files) for _, _, files in os.walk(path))
            shutil.rmtree(path)
        else:
            path.unlink()
            self.collected.removed += 1


class _Changed(Exception):
    """A file was written to while it was laid out."""


def _is_form_of_another(name: str, assets: dict[str, Asset]) -> bool:
    """Tell whether `name` is the compressed form of another file, with which it is laid out if it is not older."""
    return any(name.endswith(suffix) and name.removesuffix(suffix) in assets for suffix in ENCODINGS.values())


def _link(new: Path, known: Path | None) -> bool:
    """Make `new` another name of `known`, and return whether that could be done."""
    if known is None:
        return False
    try:
        new.hardlink_to(known)
    except OSError:  # a file system without links, or a file with as many of them as it takes
        return False
    return True


def _copy(source: OpenAsset | bytes, new: Path) -> None:
    if isinstance(source, bytes):
        new.write_bytes(source)
    else:
        with new.open("wb") as file:
            shutil.copyfileobj(source.file, file)


def _compress(file: BinaryIO) -> bytes | None:
    """Return the content of the file compressed, the same each time; None if that saves less than a tenth."""
    content = file.read()
    if len(content) < COMPRESSED_BYTES:
        return None
    packed = gzip.compress(content, mtime=0)
    return packed if len(packed) < 0.9 * len(content) else None
