"""Build the composite: check everything in the ini file that can be checked before an application is loaded."""

from __future__ import annotations

import configparser
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from threading import RLock
from typing import Any

from multisite.vhosts import folders, load_errors, pastedeploy
from multisite.vhosts.application import LazyApplication
from multisite.vhosts.dispatcher import Vhosts
from multisite.vhosts.ini import IniPosition, IniPositions, VhostError
from multisite.vhosts.options import PREFIX, VhostOptions, read_options
from multisite.vhosts.responses import WSGIApplication
from multisite.vhosts.routes import Route, RouteTable, read_routes
from multisite.vhosts.shared import SECTION, Shared, read_shared

__all__ = ["build", "run_once"]

_loading: ContextVar[tuple[IniPosition, ...]] = ContextVar("multisite_vhosts", default=())
"""Stack of the composites being loaded, outermost first."""


def build(
    loader: Any, global_conf: Mapping[str, str], settings: Mapping[str, str]
) -> tuple[Vhosts, VhostOptions, IniPositions]:
    """Return the composite that `settings` define, its options and the positions of its lines; load nothing.

    Raises:
        VhostError: A line is not valid; this is the first such line.
    """
    positions = IniPositions(global_conf.get("__file__"), settings)
    here = IniPosition(positions.file, positions.section)
    options, lines = read_options(settings, positions)
    routes = read_routes(lines, positions, allow_mixed=options.allow_mixed, allow_underscores=options.allow_underscores)
    if not routes:
        raise VhostError(here, "no line names an application; add one such as 'domain example.com / = mainapp'")
    if here.section is not None and here in _loading.get():
        raise VhostError(here, "this section is one of its own applications")
    titles = _titles(loader, routes, positions)
    own = {name: folders.own_folders(options.root, name) for name in titles}
    _check_folders(loader, titles, own, positions)
    shared = _shared(loader, positions)

    applications: dict[str, LazyApplication] = {}

    def failed(application: LazyApplication, error: BaseException) -> str:
        load_errors.watch_files(error)
        return load_errors.describe_load_error(application, error, applications.values())

    inner = (*_loading.get(), here)
    for name, title in titles.items():
        load = partial(_load, loader, name, dict(global_conf), own[name], shared, inner)
        applications[name] = LazyApplication(name, title, load, retry_seconds=options.retry_seconds, failed=failed)
    vhosts = Vhosts(
        RouteTable(routes), applications, max_requests=options.max_requests, allow_underscores=options.allow_underscores
    )
    return vhosts, options, positions


def _titles(loader: Any, routes: Iterable[Route], positions: IniPositions) -> dict[str, str]:
    """Return the title of each application for error messages: its section in brackets, or a name with a scheme."""
    titles: dict[str, str] = {}
    for route in routes:
        if route.application in titles:
            continue
        try:
            section = pastedeploy.section_of(loader, route.application)
        except LookupError as error:
            raise VhostError(route.position, f"'{route}' names no application: {_one_line(error)}") from None
        if section is not None and section == positions.section:
            raise VhostError(route.position, f"'{route}' leads back to [{section}] itself")
        titles[route.application] = route.application if section is None else f"[{section}]"
    return titles


def _check_folders(
    loader: Any, titles: Mapping[str, str], own: Mapping[str, Mapping[str, str]], positions: IniPositions
) -> None:
    """Raise `VhostError` if two applications write into the same folder."""
    common = _common_folders(loader)
    written = [
        folder
        for name in titles
        for folder in folders.writable_folders(name, {**common, **own[name], **pastedeploy.settings_of(loader, name)})
    ]
    clash = folders.first_clash(written)
    if clash is None:
        return
    one, other = (f"{titles[folder.application]} by '{folder.key} = {folder.value}'" for folder in clash)
    position = positions.in_section(titles[clash[1].application].strip("[]"), clash[1].key)
    how = "are set to the same folder" if clash[0].path == clash[1].path else "are set to a folder and one within it"
    raise VhostError(
        position, f"{one} and {other} {how}: give each application one of its own, or set {PREFIX}root for all of them"
    )


def _common_folders(loader: Any) -> Mapping[str, str]:
    """Return the folders that [DEFAULT] sets for every application, which override those of its section."""
    if not pastedeploy.has_sections(loader):
        return {}
    try:
        defaults: Mapping[str, str] = loader.parser.defaults()
    except configparser.Error:
        return {}
    return {key: value for key, value in defaults.items() if key in folders.PROVIDED}


def _shared(loader: Any, positions: IniPositions) -> Shared:
    if not pastedeploy.has_sections(loader) or not loader.parser.has_section(SECTION):
        return read_shared({}, positions)
    parser = loader.parser
    try:
        defaults = parser.defaults()
        settings = {key: parser.get(SECTION, key) for key in parser.options(SECTION) if key not in defaults}
    except configparser.Error as error:
        raise VhostError(positions.in_section(SECTION), _one_line(error)) from None
    return read_shared(settings, positions)


def _load(
    loader: Any,
    name: str,
    global_conf: Mapping[str, str],
    own_folders: Mapping[str, str],
    shared: Shared,
    inner: tuple[IniPosition, ...],
) -> WSGIApplication:
    def settings() -> dict[str, Any]:
        for folder in own_folders.values():
            Path(folder).mkdir(parents=True, exist_ok=True)
        return {**own_folders, **shared.settings()}

    token = _loading.set(inner)
    try:
        return pastedeploy.load_application(loader, name, global_conf, settings)
    finally:
        _loading.reset(token)


_done: set[Callable[..., object]] = set()
_running: list[Callable[..., object]] = []
_init_lock = RLock()


def run_once(names: Iterable[str], global_conf: Mapping[str, str], positions: IniPositions) -> None:
    """Call the functions with these dotted names with `global_conf`, each once in the life of the process.

    Raises:
        VhostError: One does not exist or fails, or loads an ini file that calls it.
    """
    with _init_lock:
        for name in names:
            try:
                _run(resolve_name(name), global_conf)
            except VhostError:
                raise  # The error of an ini file that the hook loads is more specific.
            except Exception as error:
                raise VhostError(
                    positions.of(f"{PREFIX}init"), f"{PREFIX}init: '{name}' fails ({type(error).__name__}: {error})"
                ) from error


def _run(hook: Callable[..., object], global_conf: Mapping[str, str]) -> None:
    if hook in _done:
        return
    if hook in _running:
        raise RuntimeError("it loads an ini file that calls it again; hooks run before applications are loaded")
    _running.append(hook)
    try:
        hook(global_conf)
    finally:
        _running.remove(hook)
    _done.add(hook)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())
