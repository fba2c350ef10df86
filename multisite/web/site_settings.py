"""`config.add_site_setting`, and the response of a site whose settings are not valid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.request import Request
from pyramid.response import Response
from pyramid.settings import asbool

from multisite.core.settings import site_defaults
from multisite.errors import SiteSettingError
from multisite.sites.settings.registry import SettingsRegistry
from multisite.sites.settings.setting import make_setting
from multisite.web.startup import on_startup

__all__ = ["SITE_SETTINGS", "add_site_setting", "includeme"]

SITE_SETTINGS = "multisite.site_settings"
"""Registry key of the `SettingsRegistry`."""

CATEGORY = "multisite site settings"
"""The category of the introspectables; each setting has one."""


def add_site_setting(
    config: Configurator,
    name: str,
    kind: Any,
    *,
    default: Any,
    doc: str,
    check: Callable[[Any], object] | None = None,
    owner: bool = False,
    label: str | None = None,
) -> None:
    """Declare a setting that sites can override: `request.site.settings[name]`. A directive of the Configurator.

    Two declarations of the same name conflict, as usual in Pyramid.

    Args:
        config: The Configurator.
        name: The name of the setting.
        kind: `str`, `int`, `float`, `bool`, `Decimal`, `list[str]` (its values are tuples), a tuple of strings to
            choose from, or a callable that takes a text and returns a value. All threads share the value, so it must
            not be changed.
        default: A value of this kind, or None.
        doc: One sentence that describes the setting.
        check: Called with a value. Returns False, or raises `ValueError("what was expected")`, to reject it.
        owner: Whether an owner of a site may change the setting, in an editor; an operator always may.
        label: A name for people, such as "Entries per page", which forms show with `doc` as a hint; None for `doc`
            itself.

    Raises:
        ConfigurationError: The setting cannot be declared.
    """
    try:
        setting = make_setting(name, kind, default=default, doc=doc, check=check, owner=owner, label=label)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(str(error)) from error
    introspectable = config.introspectable(CATEGORY, name, name, "site setting")
    introspectable.update(name=name, kind=setting.kind.name, default=setting.default, doc=setting.doc, check=check)
    introspectable["owner"] = owner
    config.action(
        (SITE_SETTINGS, name), lambda: config.registry[SITE_SETTINGS].add(setting), introspectables=(introspectable,)
    )


def bad_setting_view(error: SiteSettingError, request: Request) -> Response:
    """Return a 503 for a site whose settings are not valid; in development with the reason."""
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
    # At startup, when all settings are declared. In an action, Pyramid would wrap the error.
    on_startup(config.registry, lambda _registry: declared.check_ini())
