"""`config.add_site_reference`, `config.add_site_text` and `config.add_site_export`: what archives of sites contain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.registry import Registry

from multisite.core.lazy import lazy_pattern
from multisite.sites.archive.contents import Key, SiteContents, SitePart, SiteReference

__all__ = ["add_site_export", "add_site_reference", "add_site_text", "includeme", "site_contents"]

SITE_CONTENTS = "multisite.site_contents"
"""Registry key of the `SiteContents`."""

_NAME = lazy_pattern(r"[a-z][a-z0-9_-]{0,63}")


def add_site_reference(
    config: Configurator,
    table: str,
    column: str,
    find: Callable[[Any], Iterable[Key]],
    replace: Callable[[Any, Mapping[Key, Any]], Any],
) -> None:
    """Declare that the values of a column contain keys of rows. A directive of the Configurator.

    Args:
        config: The Configurator.
        table: The table, with its schema if it has one.
        column: A column with text or JSON.
        find: Called with a value, yields a pair of a table and a key for each key in it.
        replace: Called with a value and a mapping of these pairs to new keys, returns the value with these.
    """
    reference = SiteReference(find, replace)
    config.action(
        ("multisite site reference", table, column),
        lambda: site_contents(config.registry).references.update({(table, column): reference}),
    )


def add_site_text(
    config: Configurator, table: str, column: str, rewrite: Callable[[Any, Callable[[str], str]], Any]
) -> None:
    """Declare how addresses in the values of a column are rewritten. A directive of the Configurator.

    Args:
        config: The Configurator.
        table: The table, with its schema if it has one.
        column: A column with text or JSON.
        rewrite: Called with a value and a function `url`, returns the value with each address `a` in it as `url(a)`.
    """
    config.action(
        ("multisite site text", table, column),
        lambda: site_contents(config.registry).texts.update({(table, column): rewrite}),
    )


def add_site_export(
    config: Configurator, name: str, export: Callable[..., object], import_: Callable[..., object]
) -> None:
    """Add a part to the archives of sites, such as files that are not in the site's folder. A directive.

    Args:
        config: The Configurator.
        name: The name of the part's folder in an archive.
        export: Called with the site, a connection to one state of the database, and an empty folder to fill.
        import_: Called with the new site, a connection in the transaction that inserts it, and the same folder, which
            is empty if an archive has none.

    Raises:
        ConfigurationError: The name cannot be that of a folder.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"add_site_export: {name!r} is not 1 to 64 lowercase letters, digits, - and _")
    part = SitePart(export, import_)
    config.action(("multisite site export", name), lambda: site_contents(config.registry).parts.update({name: part}))


def site_contents(registry: Registry) -> SiteContents:
    """Return the application's declarations about the data of its sites."""
    found: SiteContents = registry[SITE_CONTENTS]
    return found


def includeme(config: Configurator) -> None:
    """Add the directives."""
    config.registry[SITE_CONTENTS] = SiteContents()
    for directive in (add_site_reference, add_site_text, add_site_export):
        config.add_directive(directive.__name__, directive)
