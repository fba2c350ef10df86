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
    """Compile each template of each layer once.

    This fills `module_directory`; the compiled templates are not kept in memory. The overlay decides which files are
    templates.

    Args:
        templates: The templates of the application.
        sites: The sites whose layers are compiled.
        used: Template names that the application renders. For an asset spec, the templates beside it in the package are
            compiled too, and the files that override them under these names.

    Yields:
        The result for each file, successful or not.
    """
    done: set[tuple[Path, str]] = set()
    for layer, candidate, name in _candidates(templates.overlay, sites, list(_package_specs(templates.overlay, used))):
        try:
            found = templates.overlay.stat_candidate(layer, candidate)
            if found is None or (found.path, name) in done:
                continue
            done.add((found.path, name))
            compiled = templates.compile(found, name)
        except Exception as error:  # Compiling imports the template, and its module-level code may raise anything.
            yield CompileResult(candidate, name, error)
        else:
            yield CompileResult(found.path, name, None, compiled.digest)


def prune(folder: Path, kept: Container[str]) -> int:
    """Remove from `folder` the compiled templates whose digests are not in `kept`.

    A pruned template is recompiled on demand; running servers keep their in-memory copy.

    Returns:
        How many compiled templates were removed.
    """
    removed = 0
    for place in (folder, folder / "__pycache__"):
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            match = _COMPILED.fullmatch(file.name)
            if match is not None and match[1] not in kept:
                file.unlink(missing_ok=True)
                removed += file.suffix == ".py"
    return removed


def _candidates(overlay: Overlay, sites: Iterable[Site], assets: list[str]) -> Iterator[tuple[Layer, Path, str]]:
    """Yield each layer, a path in it where a template may be, and the canonical name of that template."""
    for layer in _layers(overlay, sites):
        for name in overlay.names(layer):
            yield layer, layer.root / names.layer_path(name), name
        for name in assets:
            yield layer, layer.root / names.layer_path(name), name
    for name in assets:
        for layer, candidate in overlay.candidates(name, None):
            if layer.kind == "package":
                yield layer, candidate, name


def _layers(overlay: Overlay, sites: Iterable[Site]) -> Iterator[Layer]:
    yield from overlay.layers(None)
    yield from overlay.themes()
    for site in sites:
        # A site whose folder name was made invalid in the tables has no templates.
        with suppress(TemplateLookupException):
            yield overlay.layers(site)[0]


def _package_specs(overlay: Overlay, used: Iterable[str]) -> Iterator[str]:
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
