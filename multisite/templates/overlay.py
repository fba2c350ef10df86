"""The overlay: which file a template's name stands for, for one site.

The first layer that has the file wins: the site's own folder, the shared templates, further shared folders, and for
an asset spec the package's own file. Nothing is opened here, and no file is found that lies outside of its layer.

Templates are code: who may write into a layer runs Python in the process. What is refused here keeps names (which
may hold what a visitor typed) and stray links from reaching other files; it is no wall against a template's author.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mako.exceptions import TemplateLookupException, TopLevelLookupException

from multisite.templates import names

__all__ = ["FindAsset", "Found", "Layer", "Overlay", "find_asset"]

FindAsset = Callable[[str, str], "Path | None"]
"""Takes a package's name and a path in it, and returns the absolute path of the file, which need not exist.

None means that there is no such package. It must not import the package, since names may hold what a visitor typed.
"""

PACKAGE_SUFFIXES = (".mako", ".mak")
"""A package's files are templates if they end like this or lie in a folder `templates`: the rest is its code."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One folder of the overlay. `kind` is `site`, `shared` or `package`; `root` is a real path."""

    kind: str
    root: Path


@dataclass(frozen=True, slots=True)
class Found:
    """The file that a name stands for.

    `path` is its real path and `kind` that of its layer. `signature` changes when the file does: one
    replaced by an older file differs in its times, one replaced within a tick of the clock in its inode. `changed_ns`
    is when file or entry last changed, in nanoseconds since 1970.
    """

    path: Path
    kind: str
    signature: tuple[int, ...]
    changed_ns: int


class Overlay:
    """The layers of all sites.

    `sites_dir` holds one folder for each site; `shared` lists the folders that all sites share, first one first.
    Neither has to exist yet. `find_asset` finds files of packages.
    """

    def __init__(self, sites_dir: Path, shared: tuple[Path, ...], find_asset: FindAsset) -> None:
        self.sites_dir = sites_dir
        self.shared = shared
        self._find_asset = find_asset

    def find(self, name: str, folder: str | None) -> Found:
        """Return the file that the canonical `name` stands for, for the site with `folder` (None: no site).

        Raises `TopLevelLookupException` if there is none, `TemplateLookupException` if the first one there is may
        not be used, because a link leads out of its layer.
        """
        package, asset_path = names.split(name)
        asset = self.asset(name)
        if package is not None and asset is None:
            raise TopLevelLookupException(f"no template '{name}': the package {package} is not imported")
        path = names.layer_path(name)
        sites_root = self.sites_dir.resolve()
        looked: list[Path] = []
        for layer in self._layers(folder, sites_root):
            candidate = layer.root / path
            looked.append(candidate)
            found = _look(layer, candidate, sites_root)
            if found is not None:
                return found
        if asset is not None and _is_template(asset_path):
            looked.append(asset)
            found = _look(Layer("package", _asset_root(asset, asset_path)), asset, sites_root)
            if found is not None:
                return found
        raise TopLevelLookupException(f"no template '{name}': looked for {', '.join(map(str, looked))}")

    def asset(self, name: str) -> Path | None:
        """Return where the package of the asset spec `name` has, or would have, that file; None without package."""
        package, path = names.split(name)
        return None if package is None else self._find_asset(package, path)

    def plain_name(self, name: str) -> str:
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

    def _layers(self, folder: str | None, sites_root: Path) -> Iterator[Layer]:
        if folder is not None:
            # Not resolved any further: a site's folder that is itself a link leads out, maybe to another site.
            yield Layer("site", sites_root / folder)
        for shared in self.shared:
            yield Layer("shared", shared.resolve())


def _look(layer: Layer, candidate: Path, sites_root: Path) -> Found | None:
    try:
        status = candidate.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise TemplateLookupException(f"cannot look at the template {candidate}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        return None
    path = candidate.resolve()
    inside = path.is_relative_to(layer.root) and not any(
        step.startswith(".") for step in path.relative_to(layer.root).parts
    )
    if not inside or (layer.kind != "site" and path.is_relative_to(sites_root)):
        raise TemplateLookupException(f"the template {candidate} is not used: it lies outside of {layer.root}")
    signature = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)
    return Found(path, layer.kind, signature, max(status.st_mtime_ns, status.st_ctime_ns))


def _is_template(path: str) -> bool:
    return path.endswith(PACKAGE_SUFFIXES) or names.TEMPLATES_FOLDER in path.split("/")[:-1]


def _asset_root(asset: Path, path: str) -> Path:
    """Return the folder that `path` began at to arrive at `asset`: the package's, unless the asset is overridden."""
    steps = Path(path).parts
    if asset.parts[-len(steps) :] == steps:
        return Path(*asset.parts[: -len(steps)]).resolve()
    return asset.parent.resolve()


def find_asset(package: str, path: str) -> Path | None:
    """Find a file of a package that has been imported; None if it has not, or has no folder."""
    module: ModuleType | None = sys.modules.get(package)
    file = getattr(module, "__file__", None)
    return Path(file).parent.absolute() / path if file else None
