"""Precompile all templates, so that no request has to wait for the compiler."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mako.exceptions import TemplateLookupException

from multisite.core.site import Site
from multisite.templates import names
from multisite.templates.lookup import SiteTemplates
from multisite.templates.overlay import Layer, Overlay

__all__ = ["CompileResult", "compile_all", "prune"]

_COMPILED = re.compile(r"([0-9a-f]{32})(\.[a-z0-9.-]+)?\.pyc?")
"""A compiled template in `module_directory`, or its bytecode."""


class CompileResult(NamedTuple):
    """A file and the name that it was compiled under; `error` is None if that succeeded.

    `digest` is the name of the compiled file in `module_directory`, None if compiling failed.
    """

    path: Path
    name: str
    error: Exception | None
    digest: str | None = None


def compile_all(templates: SiteTemplates, sites: Iterable[Site], used: Iterable[str] = ()) -> Iterator[CompileResult]:
    """Compile each template of each layer once, and yield the results.

    This fills `module_directory`; the compiled templates are not kept in memory. The overlay decides which files are
    templates.

    Args:
        templates: The templates of the application.
        sites: The sites whose layers are compiled.
        used: Template names that the application renders. For an asset spec, the templates beside it in the package are
            compiled too, and the files that override them under these names.
    """
    done: set[tuple[Path, str]] = set()
    for layer, place, name in _places(templates.overlay, sites, list(_packaged(templates.overlay, used))):
        try:
            found = templates.overlay.stat_candidate(layer, place)
            if found is None or (found.path, name) in done:
                continue
            done.add((found.path, name))
            view = templates.compile(found, name)
        except Exception as error:  # A template runs code at this, which may raise anything.
            yield CompileResult(place, name, error)
        else:
            yield CompileResult(found.path, name, None, view.compiled.digest)


def prune(folder: Path, kept: Container[str]) -> int:
    """Remove the compiled templates whose digests are not in `kept` from `folder`, and return their number.

    A pruned template is recompiled on demand; running servers keep their in-memory copy.
    """
    removed = 0
    for place in (folder, folder / "__pycache__"):
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            match = _COMPILED.fullmatch(file.name)
            if match is not None and match[1] not in kept:
                file.unlink(missing_ok=True)
                removed += file.suffix == ".py"
    return removed


def _places(overlay: Overlay, sites: Iterable[Site], assets: list[str]) -> Iterator[tuple[Layer, Path, str]]:
    for layer in _layers(overlay, sites):
        for name in overlay.names(layer):
            yield layer, layer.root / names.layer_path(name), name
        for name in assets:
            yield layer, layer.root / names.layer_path(name), name
    for name in assets:
        for layer, place in overlay.candidates(name, None):
            if layer.kind == "package":
                yield layer, place, name


def _layers(overlay: Overlay, sites: Iterable[Site]) -> Iterator[Layer]:
    yield from overlay.layers(None)
    yield from overlay.themes()
    for site in sites:
        # A site whose folder name was made invalid in the tables has no templates.
        with suppress(TemplateLookupException):
            yield overlay.layers(site)[0]


def _packaged(overlay: Overlay, used: Iterable[str]) -> Iterator[str]:
    """Yield the asset specs in `used`, and those of the templates beside them, that are not in a shared folder."""
    folders: dict[str, Path] = {}
    for name in sorted(used):
        asset = overlay.asset(name)
        if asset is None or overlay.overlay_name(name) != name:
            continue
        below = names.layer_path(name)
        if not name.endswith(f"/{below}"):  # Not in a folder `templates`: the files beside it may be code.
            yield name
            continue
        folders[name.removesuffix(below)] = Path(*asset.parts[: -len(below.split("/"))])
    for prefix, folder in folders.items():
        for name in overlay.names(Layer("package", folder)):
            yield prefix + name[1:]
