"""Making the composite: everything in the ini file that can be checked is checked before an application is loaded."""

from __future__ import annotations

import configparser
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from threading import RLock
from typing import Any

from multisite.vhosts import failures, folders, pastedeploy
from multisite.vhosts.answers import WSGIApplication
from multisite.vhosts.applications import Application
from multisite.vhosts.composite import Vhosts
from multisite.vhosts.ini import Place, Places, VhostError
from multisite.vhosts.options import PREFIX, Options, read_options
from multisite.vhosts.shared import SECTION, Shared, read_shared
from multisite.vhosts.table import Route, Table, read_routes

__all__ = ["make", "run_once"]

_outer: ContextVar[tuple[Place, ...]] = ContextVar("multisite_vhosts", default=())
"""The composites that the code which is being loaded is in, outermost first."""


def make(loader: Any, global_conf: Mapping[str, str], settings: Mapping[str, str]) -> tuple[Vhosts, Options, Places]:
    """Return the composite that `settings` describe, its options, and the places of its lines; load nothing.

    Raises `VhostError` for the first thing that cannot be meant.
    """
    places = Places(global_conf.get("__file__"), settings)
    here = Place(places.file, places.section)
    options, lines = read_options(settings, places)
    routes = read_routes(lines, places, allow_mixed=options.allow_mixed, allow_underscores=options.allow_underscores)
    if not routes:
        raise VhostError(here, "no line says which application answers, such as 'domain example.com / = mainapp'")
    if here.section is not None and here in _outer.get():
        raise VhostError(here, "this section is one of the applications in it")
    titles = _titles(loader, routes, places)
    own = {name: folders.own_folders(options.root, name) for name in titles}
    _refuse_clashes(loader, titles, own, places)
    shared = _shared(loader, places)

    applications: dict[str, Application] = {}

    def failed(application: Application, error: BaseException) -> str:
        failures.watch_files(error)
        return failures.reason(application, error, applications.values())

    inner = (*_outer.get(), here)
    for name, title in titles.items():
        load = partial(_load, loader, name, dict(global_conf), own[name], shared, inner)
        applications[name] = Application(name, title, load, retry_seconds=options.retry_seconds, failed=failed)
    vhosts = Vhosts(
        Table(routes), applications, max_requests=options.max_requests, allow_underscores=options.allow_underscores
    )
    return vhosts, options, places


def _titles(loader: Any, routes: Iterable[Route], places: Places) -> dict[str, str]:
    """Return what errors call each application: its section in brackets, or its name where that has a scheme."""
    titles: dict[str, str] = {}
    for route in routes:
        if route.application in titles:
            continue
        try:
            section = pastedeploy.section_of(loader, route.application)
        except LookupError as error:
            raise VhostError(route.place, f"'{route}' names no application: {_one_line(error)}") from None
        if section is not None and section == places.section:
            raise VhostError(route.place, f"'{route}' leads back to [{section}] itself")
        titles[route.application] = route.application if section is None else f"[{section}]"
    return titles


def _refuse_clashes(
    loader: Any, titles: Mapping[str, str], own: Mapping[str, Mapping[str, str]], places: Places
) -> None:
    """Raise `VhostError` if two applications are set to write into the same folder."""
    common = _common_folders(loader)
    claims = [
        claim
        for name in titles
        for claim in folders.claims_of(name, {**common, **own[name], **pastedeploy.settings_of(loader, name)})
    ]
    clash = folders.first_clash(claims)
    if clash is None:
        return
    one, other = (f"{titles[claim.application]} by '{claim.key} = {claim.value}'" for claim in clash)
    place = places.of_section(titles[clash[1].application].strip("[]"), clash[1].key)
    how = "are set to the same folder" if clash[0].path == clash[1].path else "are set to a folder and one within it"
    raise VhostError(
        place, f"{one} and {other} {how}: give each application one of its own, or set {PREFIX}root for all of them"
    )


def _common_folders(loader: Any) -> Mapping[str, str]:
    """Return the folders that [DEFAULT] gives to every application; their own lines for them are ignored then."""
    if not pastedeploy.has_sections(loader):
        return {}
    try:
        defaults: Mapping[str, str] = loader.parser.defaults()
    except configparser.Error:
        return {}
    return {key: value for key, value in defaults.items() if key in folders.GIVEN}


def _shared(loader: Any, places: Places) -> Shared:
    if not pastedeploy.has_sections(loader) or not loader.parser.has_section(SECTION):
        return read_shared({}, places)
    parser = loader.parser
    try:
        defaults = parser.defaults()
        settings = {key: parser.get(SECTION, key) for key in parser.options(SECTION) if key not in defaults}
    except configparser.Error as error:
        raise VhostError(places.of_section(SECTION), _one_line(error)) from None
    return read_shared(settings, places)


def _load(
    loader: Any,
    name: str,
    global_conf: Mapping[str, str],
    own_folders: Mapping[str, str],
    shared: Shared,
    inner: tuple[Place, ...],
) -> WSGIApplication:
    def settings() -> dict[str, Any]:
        for folder in own_folders.values():
            Path(folder).mkdir(parents=True, exist_ok=True)
        return {**own_folders, **shared.settings()}

    token = _outer.set(inner)
    try:
        return pastedeploy.load_application(loader, name, global_conf, settings)
    finally:
        _outer.reset(token)


_done: set[Callable[..., object]] = set()
_running: list[Callable[..., object]] = []
_init_lock = RLock()


def run_once(names: Iterable[str], global_conf: Mapping[str, str], places: Places) -> None:
    """Call each of the functions by these dotted names with `global_conf`, unless this process has done so before.

    Raises `VhostError` for one that is not there or fails, or that loads an ini file which calls it.
    """
    with _init_lock:
        for name in names:
            try:
                _run(resolve_name(name), global_conf)
            except VhostError:
                raise  # That of an ini file which the hook loads says more.
            except Exception as error:
                raise VhostError(
                    places.of(f"{PREFIX}init"), f"{PREFIX}init: '{name}' fails ({type(error).__name__}: {error})"
                ) from error


def _run(hook: Callable[..., object], global_conf: Mapping[str, str]) -> None:
    if hook in _done:
        return
    if hook in _running:
        raise RuntimeError("it loads an ini file that calls it again: a hook runs before any application is loaded")
    _running.append(hook)
    try:
        hook(global_conf)
    finally:
        _running.remove(hook)
    _done.add(hook)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())
