"""The overlay: which file a template's name stands for, for one site.

The first layer that has the file wins: the site's own folder, the folder of its theme, the shared templates, further
shared folders, and for an asset spec the package's own file. Nothing is opened here, and no file is found that lies
outside of its layer: the themes lie among the shared templates, but no name reaches them there.

Templates are code: who may write into a layer runs Python in the process. What is refused here keeps names (which
may hold what a visitor typed) and stray links from reaching other files; it is no wall against a template's author.
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

from multisite.errors import escape_for_message
from multisite.real_file import RealFile, open_real_file
from multisite.settings import STATIC_FOLDER, THEMES_FOLDER
from multisite.site import Site
from multisite.templates import names

__all__ = ["Layer", "Overlay", "PackageFileFinder", "ResolvedTemplate", "find_package_file"]

PackageFileFinder = Callable[[str, str], "Path | None"]
"""Takes a package's name and a path in it, and returns the absolute path of the file, which need not exist.

None means that there is no such package. It must not import the package, since names may hold what a visitor typed.
"""

TEMPLATE_SUFFIXES = (".mako", ".mak")
"""What files are taken for templates where all of them are listed, beside those with further suffixes of an overlay.

A name may be that of any other file, too. A package's files are templates if they end like this or lie in a folder
`templates`: the rest is its code.
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """One folder of the overlay; `root` is a real path.

    `kind` is `site`, `theme`, `shared`, for the further shared folders `shared2` and so on, or `package`. Files in the
    `foreign` folders belong to layers of other kinds, even if they lie below `root`.
    """

    kind: str
    root: Path
    foreign: tuple[Path, ...] = ()

    def contains(self, path: Path) -> bool:
        """Return whether the real path `path` belongs to this layer and is not hidden in it."""
        inside = path.is_relative_to(self.root) and not any(
            step.startswith(".") for step in path.relative_to(self.root).parts
        )
        return inside and not any(map(path.is_relative_to, self.foreign))


@dataclass(frozen=True, slots=True)
class ResolvedTemplate:
    """The file that a name stands for.

    `path` is its real path in `layer`. `signature` changes when the file does: one
    replaced by an older file differs in its times, one replaced within a tick of the clock in its inode. `changed_ns`
    is when file or entry last changed, in nanoseconds since 1970.
    """

    path: Path
    layer: Layer
    signature: tuple[int, ...]
    changed_ns: int

    @property
    def kind(self) -> str:
        """The kind of its layer."""
        return self.layer.kind

    def open(self) -> RealFile:
        """Open the file. Read it with this and not by its path, which a link may have taken since it was looked at.

        Raises `OSError` if it is gone or cannot be read, `TemplateLookupException` if the path by now leads out of
        the layer.
        """
        opened = open_real_file(self.path)
        try:
            if not self.layer.contains(opened.path):
                raise _outside(self.path, self.layer)
        except BaseException:
            opened.file.close()
            raise
        return opened


class Overlay:
    """The layers of all sites.

    `sites_dir` holds one folder for each site; `shared` lists the folders that all sites share, first one first, with
    the themes in a folder of that first one. None has to exist yet. `find_package_file` finds files of packages.
    `suffixes` are those of the files that are listed as templates; the set may grow until that is done.
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
        """Return the layers for `site`, None for those that all share, the winning one first; without packages.

        Raises `TemplateLookupException` if the site's folder or theme is not the name of a folder.
        """
        sites, themes = self._shared_layers()
        layers = []
        if site is not None:
            # Not resolved any further: a folder that is itself a link leads out, maybe to another site.
            layers.append(Layer("site", sites / _folder_name(site, "folder", site.folder), (themes,)))
            if site.theme is not None:
                layers.append(Layer("theme", themes / _folder_name(site, "theme", site.theme), (sites,)))
        for number, shared in enumerate(self.shared, 1):
            layers.append(Layer("shared" if number == 1 else f"shared{number}", shared.resolve(), (sites, themes)))
        return layers

    def _shared_layers(self) -> tuple[Path, Path]:
        return self.sites_dir.resolve(), self.themes_dir.resolve()

    def themes(self) -> list[Layer]:
        """Return the layers of all themes that there are, by name."""
        sites, themes = self._shared_layers()
        folders = sorted(path for path in themes.iterdir() if path.is_dir()) if themes.is_dir() else []
        return [Layer("theme", folder, (sites,)) for folder in folders if not folder.name.startswith(".")]

    def names(self, layer: Layer) -> Iterator[str]:
        """Yield the canonical names of the templates in `layer`: of the files with one of the `suffixes`.

        Folders behind links are left out, since they may lead in a circle.
        """
        for folder, folders, files in os.walk(layer.root):
            here = Path(folder).relative_to(layer.root)
            folders.sort()
            if layer.kind == "shared" and not here.parts:
                folders[:] = [name for name in folders if name.casefold() != THEMES_FOLDER]
            for file in sorted(files):
                if self.is_listed(here / file):
                    with suppress(TopLevelLookupException):  # a dot file, or something else that no name can name
                        yield names.canonical(f"/{(here / file).as_posix()}")

    def is_listed(self, path: Path) -> bool:
        """Return whether a file at `path` below the root of a layer is taken for a template where all are listed."""
        # An application may render `.html`, which is also what static files are called.
        return any(
            path.name.endswith(suffix) and (suffix in TEMPLATE_SUFFIXES or path.parts[0] != STATIC_FOLDER)
            for suffix in self.suffixes
        )

    def find(self, name: str, site: Site | None) -> ResolvedTemplate:
        """Return the file that the canonical `name` stands for, for `site` (None: no site).

        Raises `TopLevelLookupException` if there is none, `TemplateLookupException` if the first one there is may
        not be used, because a link leads out of its layer.
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
        """Yield each layer in which the canonical `name` is looked for, with the place there, the winning one first.

        Raises `TopLevelLookupException` for the asset spec of a package that is not imported.
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
            # On some file systems THEMES is the same folder.
            if layer.kind != "shared" or path.partition("/")[0].casefold() != THEMES_FOLDER
        ]
        if asset is not None and self._is_template(asset_path):
            layers.append((Layer("package", _asset_root(asset, asset_path), self._shared_layers()), asset))
        for layer, candidate in layers:
            if below is None or _rank(layer.kind) > _rank(below):
                yield layer, candidate

    def _is_template(self, path: str) -> bool:
        return path.endswith((*TEMPLATE_SUFFIXES, *self.suffixes)) or names.TEMPLATES_FOLDER in path.split("/")[:-1]

    def asset(self, name: str) -> Path | None:
        """Return where the package of the asset spec `name` has, or would have, that file; None without package."""
        package, path = names.split(name)
        return None if package is None else self._find_package_file(package, path)

    def overlay_name(self, name: str) -> str:
        """Return the name that `name` has in the overlay: an asset that lies in a shared folder has a shorter one.

        So `app:templates/page.mako` and `/page.mako` are one template, compiled once, where `templates` of `app` is
        the folder of the shared templates.
        """
        asset = self.asset(name)
        if asset is not None:
            for folder in self.shared:
                if asset.is_relative_to(folder):
                    return names.canonical("/" + asset.relative_to(folder).as_posix())
        return name

    def stat_candidate(self, layer: Layer, candidate: Path) -> ResolvedTemplate | None:
        """Return what is at the place `candidate` of `layer`, None if there is nothing.

        Raises `TemplateLookupException` if it may not be used, is no file, or cannot be looked at: what a site has put
        there is not silently passed over.
        """
        try:
            status = candidate.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise TemplateLookupException(f"cannot look at the template {candidate}: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):
            raise TemplateLookupException(f"the template {candidate} is not a file")
        path = candidate.resolve()
        if not layer.contains(path):
            raise _outside(candidate, layer)
        signature = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)
        return ResolvedTemplate(path, layer, signature, max(status.st_mtime_ns, status.st_ctime_ns))


def _outside(path: Path, layer: Layer) -> TemplateLookupException:
    return TemplateLookupException(f"the template {path} is not used: it lies outside of {layer.root}")


def _folder_name(site: Site, what: str, name: str) -> str:
    if not name or name.startswith(".") or not names.FORBIDDEN.isdisjoint(name) or "/" in name:
        raise TemplateLookupException(f"the {what} of site {site.host} is not a name: '{escape_for_message(name)}'")
    return name


def _rank(kind: str) -> tuple[int, int]:
    """Return the place of a kind of layer in the order of the layers."""
    word = kind.rstrip("0123456789")
    number = kind.removeprefix(word)
    return ("site", "theme", "shared", "package").index(word), int(number) if number else 1


def _asset_root(asset: Path, path: str) -> Path:
    """Return the folder that `path` began at to arrive at `asset`: the package's, unless the asset is overridden."""
    steps = Path(path).parts
    if asset.parts[-len(steps) :] == steps:
        return Path(*asset.parts[: -len(steps)]).resolve()
    return asset.parent.resolve()


def find_package_file(package: str, path: str) -> Path | None:
    """Find a file of a package that has been imported; None if it has not, or has no folder."""
    module: ModuleType | None = sys.modules.get(package)
    file = getattr(module, "__file__", None)
    return Path(file).parent.absolute() / path if file else None
