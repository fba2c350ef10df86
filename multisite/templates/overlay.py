"""Resolve a template name to a file for one site, through the layers of the overlay.

The first layer that has the file wins: the site's own folder, the folder of its theme, the shared templates, further
shared folders, and for an asset spec the file in the package. Files are not opened here, and a file outside its layer
is never found: the themes are inside the shared templates, but no name reaches them there.

Templates are code: anyone who may write to a layer can run Python in the process. The checks here keep names (which may
contain visitors' input) and stray links from reaching other files; they do not protect against a template's author.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mako.exceptions import TemplateLookupException, TopLevelLookupException

from multisite.core.settings import STATIC_FOLDER, THEMES_FOLDER
from multisite.core.site import Site
from multisite.errors import escape_for_message
from multisite.templates import names
from multisite.templates.real_file import RealFile, open_real_file

__all__ = ["Layer", "Overlay", "PackageFileFinder", "ResolvedTemplate", "find_package_file"]

PackageFileFinder = Callable[[str, str], "Path | None"]
"""Takes a package name and a path in it, and returns the absolute path of the file, which need not exist.

Returns None if there is no such package. Must not import the package, because names may contain visitors' input.
"""

TEMPLATE_SUFFIXES = (".mako", ".mak")
"""The suffixes of files that are listed as templates, in addition to those of an overlay.

A name may refer to files with any suffix. Files of a package are templates if they have one of these suffixes or are in
a folder `templates`; all others are its code.
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """One folder of the overlay; `root` is a real path.

    `kind` is `site`, `theme`, `shared`, `shared2` and so on for further shared folders, or `package`. Files in the
    `foreign` folders belong to other layers, even if these folders are below `root`.
    """

    kind: str
    root: Path
    foreign: tuple[Path, ...] = ()

    def contains(self, path: Path) -> bool:
        """Return whether the real path `path` is in this layer and not hidden."""
        inside = path.is_relative_to(self.root) and not any(
            segment.startswith(".") for segment in path.relative_to(self.root).parts
        )
        return inside and not any(map(path.is_relative_to, self.foreign))


@dataclass(frozen=True, slots=True)
class ResolvedTemplate:
    """The file that a name resolves to.

    `path` is its real path in `layer`. `signature` changes with the file: a replacement by an older file changes the
    times, one within a clock tick changes the inode. `changed_ns` is the time of the last change of the file or its
    inode, in nanoseconds since 1970.
    """

    path: Path
    layer: Layer
    signature: tuple[int, ...]
    changed_ns: int

    @property
    def kind(self) -> str:
        """The kind of the layer."""
        return self.layer.kind

    def open(self) -> RealFile:
        """Open the file and check that it is still in its layer; `path` may have been replaced by a link.

        Returns:
            The open file.

        Raises:
            OSError: The file is missing or cannot be read.
            TemplateLookupException: The path now leads out of the layer.
        """
        # Twice, because the layer can be replaced by a new version after the file in it was opened.
        for _ in range(2):
            opened, is_inside = open_real_file(self.path), False
            try:
                is_inside = self.layer.contains(opened.path)
            finally:
                if not is_inside:
                    opened.file.close()
            if is_inside:
                return opened
        raise TemplateLookupException(_outside(self.path, self.layer))


class Overlay:
    """The layers of all sites.

    Args:
        sites_dir: Holds a folder for each site.
        shared: The folders that all sites share, in order of precedence; the first one holds the themes. They need not
            exist.
        find_package_file: Finds files of packages.
        suffixes: The suffixes of files that are listed as templates, None for TEMPLATE_SUFFIXES. The collection may
            grow before `names` is called.
    """

    def __init__(
        self,
        sites_dir: Path,
        shared: tuple[Path, ...],
        find_package_file: PackageFileFinder,
        suffixes: Collection[str] | None = None,
    ) -> None:
        self.sites_dir = sites_dir
        self.shared = shared
        self.suffixes = frozenset(TEMPLATE_SUFFIXES) if suffixes is None else suffixes
        self.themes_dir = shared[0] / THEMES_FOLDER
        self._find_package_file = find_package_file

    def layers(self, site: Site | None) -> list[Layer]:
        """Return the layers for `site` in order of precedence, without packages; for None, the shared layers.

        Raises:
            TemplateLookupException: The site's folder or theme is not a valid folder name.
        """
        sites, themes = self._foreign_folders()
        layers = []
        if site is not None:
            # The site's folder is not resolved: if it is a link, it may lead to the folder of another site.
            layers.append(Layer("site", sites / _folder_name(site, "folder", site.folder), (themes,)))
            if site.theme is not None:
                layers.append(Layer("theme", themes / _folder_name(site, "theme", site.theme), (sites,)))
        for number, shared in enumerate(self.shared, 1):
            layers.append(Layer("shared" if number == 1 else f"shared{number}", shared.resolve(), (sites, themes)))
        return layers

    def _foreign_folders(self) -> tuple[Path, Path]:
        return self.sites_dir.resolve(), self.themes_dir.resolve()

    def themes(self) -> list[Layer]:
        """Return the layers of all themes, sorted by name."""
        sites, themes = self._foreign_folders()
        folders = sorted(path for path in themes.iterdir() if path.is_dir()) if themes.is_dir() else []
        return [Layer("theme", folder, (sites,)) for folder in folders if not folder.name.startswith(".")]

    def names(self, layer: Layer) -> Iterator[str]:
        """Yield the canonical names of the templates in `layer`: its files with one of the `suffixes`.

        Links to folders are not followed, because they may form a loop.
        """
        for folder, folders, files in os.walk(layer.root):
            here = Path(folder).relative_to(layer.root)
            folders.sort()
            if layer.kind == "shared" and not here.parts:
                folders[:] = [name for name in folders if name.casefold() != THEMES_FOLDER]
            for file in sorted(files):
                if self.is_listed(here / file):
                    with suppress(TopLevelLookupException):  # a dot file, or another invalid name
                        yield names.canonical(f"/{(here / file).as_posix()}")

    def is_listed(self, path: Path) -> bool:
        """Return whether a file at `path` below the root of a layer is listed as a template."""
        # An application may render `.html`, which static files may be as well.
        return any(
            path.name.endswith(suffix) and (suffix in TEMPLATE_SUFFIXES or path.parts[0] != STATIC_FOLDER)
            for suffix in self.suffixes
        )

    def find(self, name: str, site: Site | None) -> ResolvedTemplate:
        """Return the file that the canonical `name` resolves to for `site` (None: no site).

        Raises:
            TopLevelLookupException: No layer has the file.
            TemplateLookupException: The first file found may not be used, because a link leads out of its layer.
        """
        looked: list[Path] = []
        for layer, candidate in self.candidates(name, site):
            looked.append(candidate)
            found = self.stat_candidate(layer, candidate)
            if found is not None:
                return found
        below, plain = names.split_below(name)
        if below is not None and not looked:
            raise TopLevelLookupException(f"no parent '{plain}': below the layer '{below}' there is none")
        what = f"no template '{plain}'" if below is None else f"no parent '{plain}' below the layer '{below}'"
        raise TopLevelLookupException(f"{what}: looked for {', '.join(map(str, looked)) or 'nothing of that name'}")

    def candidates(self, name: str, site: Site | None) -> Iterator[tuple[Layer, Path]]:
        """Yield each layer that is searched for the canonical `name` and the path in it, in order of precedence.

        Raises:
            TopLevelLookupException: The name is an asset spec of a package that is not imported.
        """
        below, plain = names.split_below(name)
        package, asset_path = names.split(plain)
        asset = self.asset(plain)
        if package is not None and asset is None:
            raise TopLevelLookupException(f"no template '{plain}': the package {package} is not imported")
        path = names.layer_path(plain)
        layers = [
            (layer, layer.root / path)
            for layer in self.layers(site)
            # Some file systems ignore case: there, THEMES is the same folder.
            if layer.kind != "shared" or path.partition("/")[0].casefold() != THEMES_FOLDER
        ]
        if asset is not None and self._is_template(asset_path):
            layers.append((Layer("package", _asset_root(asset, asset_path), self._foreign_folders()), asset))
        for layer, candidate in layers:
            if below is None or _rank(layer.kind) > _rank(below):
                yield layer, candidate

    def _is_template(self, path: str) -> bool:
        return path.endswith((*TEMPLATE_SUFFIXES, *self.suffixes)) or names.TEMPLATES_FOLDER in path.split("/")[:-1]

    def asset(self, name: str) -> Path | None:
        """Return the path of the file that the asset spec `name` refers to, which need not exist.

        Returns:
            None if `name` is no asset spec, or if there is no such package.
        """
        package, path = names.split(name)
        return None if package is None else self._find_package_file(package, path)

    def overlay_name(self, name: str) -> str:
        """Return the path from the root of the overlay for an asset spec of a file in a shared folder, else `name`.

        If the folder `templates` of the package `app` holds the shared templates, `app:templates/page.mako` and
        `/page.mako` are one template, compiled once.
        """
        asset = self.asset(name)
        if asset is not None:
            for folder in self.shared:
                if asset.is_relative_to(folder):
                    return names.canonical("/" + asset.relative_to(folder).as_posix())
        return name

    def stat_candidate(self, layer: Layer, candidate: Path) -> ResolvedTemplate | None:
        """Return the file at the path `candidate` in `layer`; None if there is none.

        Raises:
            TemplateLookupException: The file may not be used, is not a regular file, or is not accessible. Such a file
                is not skipped silently in favor of the next layer.
        """
        try:
            status = candidate.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise TemplateLookupException(f"cannot access the template {candidate}: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):
            raise TemplateLookupException(f"the template {candidate} is not a file")
        path = candidate.resolve()
        if not layer.contains(path):
            raise TemplateLookupException(_outside(candidate, layer))
        signature = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)
        return ResolvedTemplate(path, layer, signature, max(status.st_mtime_ns, status.st_ctime_ns))


def _outside(path: Path, layer: Layer) -> str:
    return f"the template {path} is not used: it lies outside of {layer.root}"


def _folder_name(site: Site, what: str, name: str) -> str:
    if not name or name.startswith(".") or not names.FORBIDDEN.isdisjoint(name) or "/" in name:
        raise TemplateLookupException(
            f"the {what} of site {site.host} is not a valid name: '{escape_for_message(name)}'"
        )
    return name


def _rank(kind: str) -> tuple[int, int]:
    """Return the position of a kind of layer in the order of the search: the lowest is searched first."""
    name = kind.rstrip("0123456789")
    number = kind.removeprefix(name)
    return ("site", "theme", "shared", "package").index(name), int(number) if number else 1


def _asset_root(asset: Path, path: str) -> Path:
    """Return the folder that `path` is relative to: the package's, unless the asset is overridden."""
    segments = Path(path).parts
    if asset.parts[-len(segments) :] == segments:
        return Path(*asset.parts[: -len(segments)]).resolve()
    return asset.parent.resolve()


def find_package_file(package: str, path: str) -> Path | None:
    """Return the path of a file in an imported package; None if it is not imported or has no folder."""
    module: ModuleType | None = sys.modules.get(package)
    file = getattr(module, "__file__", None)
    return Path(file).parent.absolute() / path if file else None
