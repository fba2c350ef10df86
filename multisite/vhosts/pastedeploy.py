"""Information from PasteDeploy's loader about the applications of an ini file, before and while they are loaded."""

from __future__ import annotations

import configparser
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from paste.deploy.loadwsgi import APP, ConfigLoader

from multisite.vhosts.responses import WSGIApplication

__all__ = ["has_sections", "load_application", "section_of", "settings_of"]

MAX_STEPS = 20
"""How many sections may extend each other; beyond that they are considered circular."""


def has_sections(loader: Any) -> bool:
    """Return whether `loader` reads an ini file, rather than only the entry points of a distribution."""
    return isinstance(loader, ConfigLoader)


def section_of(loader: Any, name: str) -> str | None:
    """Return the section of the application `name`, or None if it has a scheme (`egg:`, `config:`, `call:`).

    Raises:
        LookupError: There is no such section, or more than one.
    """
    if not has_sections(loader) or loader.absolute_name(name):
        return None
    section: str = loader.find_config_section(APP, name=name)
    return section


def settings_of(loader: Any, name: str) -> dict[str, str]:
    """Return the settings that the ini file passes to the application `name`, without importing anything.

    Includes those of the sections that it extends; for a pipeline they are those of its last element. Leaves out what
    cannot be read: the error is reported when the application is loaded.
    """
    try:
        return _settings_of(loader, name, MAX_STEPS)
    except (LookupError, OSError, configparser.Error, UnicodeDecodeError):
        return {}


def _settings_of(loader: Any, name: str, steps: int) -> dict[str, str]:
    if not steps:
        raise LookupError(f"{name} extends itself")
    scheme, _, rest = name.partition(":")
    if has_sections(loader) and loader.absolute_name(name):
        if scheme != "config":
            return {}
        file, _, name = rest.partition("#")
        loader = ConfigLoader(str(Path(loader.filename).parent / file))
        return _settings_of(loader, name or "main", steps - 1)
    section = section_of(loader, name)
    if section is None:
        return {}
    parser = loader.parser
    if inner := _inner(parser, section):
        return _settings_of(loader, inner, steps - 1)
    defaults = parser.defaults()
    settings = {}
    if parser.has_option(section, "use"):
        settings = _settings_of(loader, parser.get(section, "use"), steps - 1)
    for option in parser.options(section):
        if option.startswith("get "):
            settings[option[4:].strip()] = defaults[parser.get(section, option)]
        elif option != "use" and option not in defaults and not option.startswith("set "):
            settings[option] = parser.get(section, option)
    return settings


def _inner(parser: Any, section: str) -> str | None:
    """Return the name of the application behind `section` if that is a pipeline or a filter, else None."""
    kind = section.partition(":")[0]
    if kind == "pipeline":
        return str(parser.get(section, "pipeline").split()[-1])
    if kind == "filter-app":
        return str(parser.get(section, "next"))
    return None


def load_application(
    loader: Any, name: str, global_conf: Mapping[str, str], settings: Callable[[], Mapping[str, Any]]
) -> WSGIApplication:
    """Return the application `name`, loaded; `settings` returns defaults for its settings.

    An application gets those that its factory accepts, or all of them if it accepts any. `settings` is only called if
    some factory accepts settings.
    """
    context = loader.app_context(name, global_conf=dict(global_conf))
    for inner in _applications_in(context):
        parameters = _parameters(inner.object)
        if parameters is None or parameters:
            for key, value in settings().items():
                if parameters is None or key in parameters:
                    inner.local_conf.setdefault(key, value)
    wsgi: WSGIApplication = context.create()
    return wsgi


def _applications_in(context: Any) -> Iterator[Any]:
    """Yield the contexts of the applications behind `context`, which may wrap others.

    Excludes composites: their keys are names of their own, and they load the applications behind them.
    """
    kind = context.object_type.name
    if kind == "pipeline":
        yield from _applications_in(context.app_context)
    elif kind in {"filter_app", "filtered_with"}:
        yield from _applications_in(context.next_context)
    elif context.protocol == "paste.app_factory":
        yield context


def _parameters(factory: Any) -> frozenset[str] | None:
    """Return the names of the settings that `factory` accepts, or None if it accepts any."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # Implemented in C, without a signature.
        return frozenset()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    named = [each.name for each in parameters if each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY}]
    return frozenset(named[1:])  # The first is global_conf.
