"""Compile every template ahead of the first request that needs it."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mako.exceptions import TemplateLookupException

from multisite.site import Site
from multisite.templates import names
from multisite.templates.lookup import SiteTemplates
from multisite.templates.overlay import Layer, Overlay

__all__ = ["CompileResult", "compile_all", "prune"]

_COMPILED = re.compile(r"([0-9a-f]{32})(\.[a-z0-9.-]+)?\.pyc?")
"""A file in `module_directory` that holds a compiled template, or what Python made of that."""


class CompileResult(NamedTuple):
    """A file, the name that it was compiled under, and why it could not be, None if it was.

    `digest` is what its file in `module_directory` is called, None if it could not be compiled.
    """

    path: Path
    name: str
    error: Exception | None
    digest: str | None = None


def compile_all(templates: SiteTemplates, sites: Iterable[Site], used: Iterable[str] = ()) -> Iterator[CompileResult]:
    """Compile every template of every layer once, and yield each with what came of it.

    `used` are names that an application renders: where they are asset specs, the templates beside them in the package
    are compiled too, and what overrides them under these names, since what they call is found in the package. The
    overlay says which files are templates. They are not held: this fills `module_directory`.
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
    """Remove from `folder`, a `module_directory`, the compiled templates whose digests are not in `kept`.

    Returns how many. Whoever needs one of them makes it again, and a server that has it in memory does not miss it.
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
        # One whose folder is not a name, by a change of the tables, has no templates at all.
        with suppress(TemplateLookupException):
            yield overlay.layers(site)[0]


def _packaged(overlay: Overlay, used: Iterable[str]) -> Iterator[str]:
    """Yield the asset specs of `used`, and of the templates beside them, that do not lie in a shared folder."""
    folders: dict[str, Path] = {}
    for name in sorted(used):
        asset = overlay.asset(name)
        if asset is None or overlay.overlay_name(name) != name:
            continue
        below = names.layer_path(name)
        if not name.endswith(f"/{below}"):  # It lies in no folder of templates: everything beside it may be code.
            yield name
            continue
        folders[name.removesuffix(below)] = Path(*asset.parts[: -len(below.split("/"))])
    for prefix, folder in folders.items():
        for name in overlay.names(Layer("package", folder)):
            yield prefix + name[1:]
