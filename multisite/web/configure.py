"""The implementation of `config.include("multisite")`."""

from __future__ import annotations

from hashlib import sha256
from importlib import import_module

from pyramid.config import PHASE3_CONFIG, Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.registry import Registry
from sqlalchemy import Engine

from multisite import language
from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.core.settings import Settings, parse_settings
from multisite.directory import Directory, engine_from_settings
from multisite.language.translations import SiteTranslations
from multisite.scoping import tables
from multisite.scoping.row_security import all_sites_roles
from multisite.web import (
    dbsession,
    edge,
    error_pages,
    exception_views,
    introspection,
    maintenance,
    on_demand_tls,
    private_responses,
    renderer,
    request,
    request_class,
    site_archive,
    site_settings,
    site_user,
    subrequests,
    theme_preview,
    tween,
)
from multisite.web.credentials import check_credentials
from multisite.web.database_role import check_database_role
from multisite.web.site_settings import SITE_SETTINGS
from multisite.web.startup import on_app_created, on_startup

__all__ = ["configure", "set_multisite_engine"]

_LAST = PHASE3_CONFIG + 40
"""Order of the last configuration action of multisite."""


def configure(config: Configurator) -> None:
    """Set up multisite on `config`, as documented at `multisite.includeme`."""
    registry = config.registry
    settings = parse_settings(registry.settings)
    registry[SETTINGS] = settings
    _configure_scoping(settings)
    if settings.secret is not None or settings.previous_secrets:
        # Imported here, because only applications with a secret need the module.
        import_module("multisite.web.secrets").includeme(config)
    config.add_directive("set_multisite_engine", set_multisite_engine)
    site_settings.includeme(config)
    site_user.includeme(config)
    theme_preview.includeme(config)
    site_archive.includeme(config)

    if registry.settings.get("sqlalchemy.url"):
        engine = engine_from_settings(registry.settings)
    else:
        engine = registry.settings.get("shared.engine")  # Set by multisite.vhosts.
    if settings.database_url is not None:
        _set_directory(config, engine_from_settings({"sqlalchemy.url": settings.database_url}))
    elif engine is not None:
        _set_directory(config, engine)

    request.includeme(config)
    exception_views.includeme(config)
    edge.includeme(config)
    tween.includeme(config)
    subrequests.includeme(config)
    config.include("multisite.web.predicates")  # Included, since applications may include these two themselves.
    introspection.includeme(config, settings)
    on_demand_tls.includeme(config)
    dbsession.includeme(config, engine)
    config.include("multisite.web.renderer")
    language.includeme(config)
    if settings.traffic:
        # Imported here, because only applications that count their requests need the module.
        import_module("multisite.web.traffic").includeme(config)
    if settings.templates_store is not None:
        # Imported here, because only applications with a store of templates need the module.
        import_module("multisite.web.template_store").includeme(config)
    if settings.error_pages:
        error_pages.includeme(config)
    maintenance.includeme(config)
    private_responses.includeme(config)
    config.action(None, lambda: _connect_templates(config), order=PHASE3_CONFIG + 20)
    on_startup(registry, lambda _registry: check_database_role(registry, engine))
    config.action(None, lambda: _register_last_startup_calls(registry), order=_LAST)


def _configure_scoping(settings: Settings) -> None:
    # Process-wide, like the scoping layer: the compiler of a statement does not know its application.
    tables.global_tables.update(name.lower() for name in settings.global_tables)
    if settings.all_sites_role is not None:
        all_sites_roles.add(settings.all_sites_role)


def _register_last_startup_calls(registry: Registry) -> None:
    # After the calls of all other includes, which may add request methods or policies.
    on_startup(registry, check_credentials)
    on_startup(registry, request_class.prepare)
    on_app_created(registry, request_class.make_directly)


def set_multisite_engine(config: Configurator, engine: Engine) -> None:
    """Read the directory of sites through `engine`, overriding the settings. A Configurator directive."""
    _set_directory(config, engine)


def _set_directory(config: Configurator, engine: Engine) -> None:
    settings: Settings = config.registry[SETTINGS]
    config.registry[SITE_SETTINGS].database = _database_key(engine)
    config.registry[SITE_SETTINGS].themes_dir = settings.themes_dir
    directory = Directory(
        engine,
        refresh_seconds=settings.refresh_seconds,
        max_age_seconds=settings.max_age_seconds,
        directory_size=settings.directory_size,
        notify=settings.notify,
        snapshot=settings.snapshot,
        settings_provider=config.registry[SITE_SETTINGS],
    )
    directory.activate()
    config.registry[DIRECTORY] = directory


def _database_key(engine: Engine) -> str:
    """Return an identifier of the database of `engine`, independent of user and driver, for use in keys."""
    url = engine.url.set(drivername=engine.url.get_backend_name(), username=None, password=None)
    return sha256(url.render_as_string().encode()).hexdigest()[:16]


def _connect_templates(config: Configurator) -> None:
    """Connect the final templates to the directory, and the translations to the templates."""
    if DIRECTORY not in config.registry:
        raise ConfigurationError(
            "multisite does not know where its tables are: set sqlalchemy.url or multisite.database_url, or call "
            "config.set_multisite_engine(engine)"
        )
    templates = config.registry[renderer.TEMPLATES]
    templates.shared_generation = config.registry[DIRECTORY].template_generation
    config.registry[language.TRANSLATIONS] = SiteTranslations(templates)
