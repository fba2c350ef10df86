"""Parse the `mako.*` settings into arguments of `SiteTemplates` and Mako."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from pyramid.asset import abspath_from_asset_spec
from pyramid.settings import asbool, aslist

from multisite.templates.block_cache import DOGPILE
from multisite.templates.dogpile import region_from_settings

__all__ = ["parse_mako_options"]

CACHE_PREFIX = "mako.cache."
"""The prefix of settings that are arguments of the cache backend in `mako.cache_impl`."""


def parse_mako_options(
    settings: Mapping[str, Any], resolve: Callable[[str], Any], prefix: str = "mako."
) -> dict[str, Any]:
    """Return keyword arguments for `SiteTemplates` from the `mako.*` settings, which mean what pyramid_mako documents.

    `mako.directories` become shared layers below the shared templates. `mako.output_encoding` applies only to templates
    that are rendered by hand, because Pyramid's response encodes the pages.

    Args:
        settings: The settings of the application.
        resolve: Turns a dotted name into an object.
        prefix: The prefix of the settings to read.
    """

    def get(name: str, default: Any = None) -> Any:
        return settings.get(f"{prefix}{name}", default)

    def listed(name: str, *, flatten: bool = True) -> list[str] | None:
        value = get(name)
        return None if value is None else aslist(value, flatten=flatten) if isinstance(value, str) else list(value)

    filters = listed("default_filters")
    reload = get("reload_templates")
    module_directory = get("module_directory")
    options: dict[str, Any] = {
        "directories": [Path(abspath_from_asset_spec(folder)) for folder in listed("directories") or ()],
        "reload": asbool(settings.get("pyramid.reload_templates") if reload is None else reload),
        "module_directory": None if module_directory is None else Path(abspath_from_asset_spec(module_directory)),
        "input_encoding": get("input_encoding", "utf-8"),
        "output_encoding": get("output_encoding"),
        "error_handler": resolve(get("error_handler")),
        "default_filters": ["h"] if filters is None else filters,
        "imports": listed("imports", flatten=False),
        "future_imports": listed("future_imports"),
        "strict_undefined": asbool(get("strict_undefined", False)),
        "preprocessor": resolve(get("preprocessor")),
    }
    options |= _cache_options(settings)
    if options["preprocessor"] is not None and asbool(get("preprocessor_wants_settings")):
        options["preprocessor"] = _with_settings(options["preprocessor"], settings)
    return options


def _cache_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for `cached="True"`, which pyramid_mako lacks. Mako's defaults apply if nothing is set."""
    options: dict[str, Any] = {}
    if "mako.cache_enabled" in settings:
        options["cache_enabled"] = asbool(settings["mako.cache_enabled"])
    implementation = settings.get("mako.cache_impl")
    if implementation == DOGPILE:
        options["cache_args"] = {"region": region_from_settings(settings, CACHE_PREFIX)}
    else:
        arguments = {key.removeprefix(CACHE_PREFIX): settings[key] for key in settings if key.startswith(CACHE_PREFIX)}
        if arguments:
            options["cache_args"] = arguments
    if implementation is not None:
        options["cache_impl"] = implementation
    return options


def _with_settings(preprocess: Callable[..., str], settings: Mapping[str, Any]) -> Callable[[str], str]:
    @wraps(preprocess)  # Its name is part of the digest of compiled files.
    def preprocess_with_settings(text: str) -> str:
        return preprocess(text, settings)

    return preprocess_with_settings
