"""`config.add_site_setting`, and the answer of a site whose own settings cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.request import Request
from pyramid.response import Response
from pyramid.settings import asbool

from multisite.errors import SiteSettingError
from multisite.settings import site_defaults
from multisite.site_settings.declared import SettingsRegistry
from multisite.site_settings.setting import make_setting
from multisite.start import on_startup

__all__ = ["SITE_SETTINGS", "add_site_setting", "includeme"]

SITE_SETTINGS = "multisite.site_settings"
"""The key of the `SettingsRegistry` settings in the registry."""

CATEGORY = "multisite site settings"
"""The category of the introspectables, one for each setting."""


def add_site_setting(
    config: Configurator,
    name: str,
    kind: Any,
    *,
    default: Any,
    doc: str,
    check: Callable[[Any], object] | None = None,
) -> None:
    """Declare a setting that each site may have: `request.site.settings[name]`. A directive of the Configurator.

    `kind` is `str`, `int`, `float`, `bool`, `Decimal`, `list[str]` (which gives a tuple), a tuple of words to choose
    from, or a callable that takes a text and returns a value that is never changed, since all threads get the same.
    `default` is such a value, or None; `doc` is a sentence for people. `check` is called with a value: False, or
    `ValueError("what was expected")`, refuses it. Two declarations of one name conflict, as everything in Pyramid does.
    Raises `ConfigurationError` for what cannot be declared.
    """
    try:
        setting = make_setting(name, kind, default=default, doc=doc, check=check)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(str(error)) from error
    introspectable = config.introspectable(CATEGORY, name, name, "site setting")
    introspectable.update(name=name, kind=setting.kind.name, default=setting.default, doc=setting.doc, check=check)
    config.action(
        (SITE_SETTINGS, name), lambda: config.registry[SITE_SETTINGS].add(setting), introspectables=(introspectable,)
    )


def bad_setting_view(error: SiteSettingError, request: Request) -> Response:
    """Answer for a site whose own settings cannot be used: 503; in development with the reason."""
    text = "Service Unavailable: please try again later.\n"
    if asbool(request.registry.settings.get("pyramid.reload_templates")):
        text += f"\n{error}\n"
    response = Response(text, status=503, content_type="text/plain", charset="utf-8")
    response.headers.update({"Cache-Control": "no-store", "Retry-After": "60"})
    return response


def includeme(config: Configurator) -> None:
    """Add the directive, and the view for `SiteSettingError`."""
    declared = SettingsRegistry(site_defaults(config.registry.settings))
    config.registry[SITE_SETTINGS] = declared
    config.add_directive("add_site_setting", add_site_setting)
    config.add_exception_view(bad_setting_view, context=SiteSettingError)
    # Only then is it known what there is; and in an action Pyramid would wrap the error beyond recognition.
    on_startup(config.registry, lambda _registry: declared.check_ini())
