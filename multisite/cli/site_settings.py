"""`multisite set`, `unset` and `settings`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json
from multisite.errors import MultisiteError
from multisite.sites.ini import Ini, read_ini

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from multisite.core.site import Site
    from multisite.sites.each_site import SelectedSite
    from multisite.sites.settings import SettingsRegistry, SettingValue

__all__ = ["assigned_texts", "declared_settings", "set_settings", "settings", "unset_settings"]


READY = frozenset({"active", "maintenance", "disabled"})
"""Settings of sites with these statuses can be changed."""


def _several_sites_options(command: Callable[..., None]) -> Callable[..., None]:
    only = click.option(
        "--only", multiple=True, metavar="PATTERN", help="Change matching sites, such as '*.example.com', instead."
    )
    return only(click.option("--all", "everywhere", is_flag=True, help="Change all sites instead.")(command))


@click.command("set", cls=HostCommand)
@click.argument("words", metavar="[HOST] KEY=VALUE...", nargs=-1, required=True)
@_several_sites_options
@json_option
@click.pass_obj
def set_settings(ini_uri: str, words: tuple[str, ...], only: tuple[str, ...], everywhere: bool, as_json: bool) -> None:
    """Change settings of a site or of several, all of them or none.

    HOST is any domain of the site; leave it out with --only or --all. KEY is a setting that the application declares,
    or locale or timezone.
    """
    from multisite.sites.settings import values

    host, assignments = _host_and_rest(words, only, everywhere, "KEY=VALUE...")
    texts = assigned_texts(assignments)
    with declared_settings(ini_uri) as (ini, engine, declared):
        done = f"Set {', '.join(texts)}"
        if host is None:
            chosen = _select(engine, only)
            changed = values.set_settings_of_sites(engine, _ready(chosen), texts, declared=declared)
            _report_several(done, ini, chosen, changed, as_json=as_json)
        else:
            site = values.set_settings(engine, host, texts, declared=declared).site
            _report(done, ini, site, declared, as_json=as_json)


def assigned_texts(assignments: Iterable[str]) -> dict[str, str]:
    """Return the values of arguments `KEY=VALUE` by key. Raises `click.UsageError` if one is not like that."""
    texts: dict[str, str] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise click.UsageError(f"'{assignment}' is not an assignment: expected KEY=VALUE.")
        if key in texts:
            raise click.UsageError(f"{key} is set twice.")
        texts[key] = text
    return texts


@click.command("unset", cls=HostCommand)
@click.argument("words", metavar="[HOST] KEY...", nargs=-1, required=True)
@_several_sites_options
@json_option
@click.pass_obj
def unset_settings(
    ini_uri: str, words: tuple[str, ...], only: tuple[str, ...], everywhere: bool, as_json: bool
) -> None:
    """Reset settings to their defaults.

    HOST is any domain of the site; leave it out with --only or --all. KEY is a setting that a site overrides.
    """
    from multisite.sites.settings import values

    host, keys = _host_and_rest(words, only, everywhere, "KEY...")
    with declared_settings(ini_uri) as (ini, engine, declared):
        done = f"Unset {', '.join(dict.fromkeys(keys))}"
        if host is None:
            chosen = _select(engine, only)
            changed = values.unset_settings_of_sites(engine, _ready(chosen), keys, declared=declared)
            _report_several(done, ini, chosen, changed, as_json=as_json)
        else:
            site = values.unset_settings(engine, host, keys, declared=declared).site
            _report(done, ini, site, declared, as_json=as_json)


def _host_and_rest(
    words: tuple[str, ...], only: tuple[str, ...], everywhere: bool, missing: str
) -> tuple[str | None, tuple[str, ...]]:
    """Return the host, None for several sites, and the other arguments, of which `missing` is the name."""
    if only and everywhere:
        raise click.UsageError("Pass --only or --all, not both.")
    if only or everywhere:
        return None, words
    if len(words) < 2:
        raise click.UsageError(f"Missing argument '{missing}'.")
    return words[0], words[1:]


def _select(engine: Engine, only: tuple[str, ...]) -> list[SelectedSite]:
    from multisite.directory.records import list_sites
    from multisite.sites.each_site import select_sites

    sites = ((record.site, record.status) for record in list_sites(engine))
    return select_sites(sites, only=only, statuses=READY)


def _ready(chosen: Iterable[SelectedSite]) -> list[int]:
    return [each.site.id for each in chosen if each.left_out is None]


@click.command("settings", cls=HostCommand)
@click.argument("host")
@json_option
@click.pass_obj
def settings(ini_uri: str, host: str, as_json: bool) -> None:
    """Show a site's settings and where each value comes from.

    HOST is any domain of the site.
    """
    from multisite.directory.records import get_site

    with declared_settings(ini_uri) as (_ini, engine, declared):
        found = _described(get_site(engine, host).site, declared)
    if as_json:
        print_json([_as_dict(each) for each in found])
        return
    for each in found:
        text = "(none)" if each.text is None else each.text
        click.echo(_on_one_line(f"{each.name} = {text} ({each.source})"))
        expected = each.doc if each.fault is None else f"expected {each.fault}: the site answers 503"
        click.echo(f"    {_on_one_line(expected)}")


@contextmanager
def declared_settings(ini_uri: str) -> Iterator[tuple[Ini, Engine, SettingsRegistry]]:
    """Yield the ini, an engine and the declared settings. Loads the application, which declares them."""
    from multisite.core.keys import DIRECTORY
    from multisite.web.loading import load
    from multisite.web.site_settings import SITE_SETTINGS

    ini = read_ini(ini_uri)
    registry = load(ini_uri).registry
    if SITE_SETTINGS not in registry:
        raise MultisiteError('this application does not include multisite: config.include("multisite") is missing')
    engine = ini.open_engine()
    try:
        yield ini, engine, registry[SITE_SETTINGS]
    finally:
        registry[DIRECTORY].engine.dispose()


def _report(done: str, ini: Ini, site: Site, declared: SettingsRegistry, *, as_json: bool) -> None:
    """Report a change and when running servers use it; as JSON, print the settings after the change."""
    if as_json:
        print_json([_as_dict(each) for each in _described(site, declared)])
        return
    seconds = ini.settings.refresh_seconds
    click.echo(f"{done} of {site}. Running servers use it within {seconds:g} second{'s' * (seconds != 1)}.")


def _report_several(done: str, ini: Ini, chosen: list[SelectedSite], changed: set[int], *, as_json: bool) -> None:
    """Report a change of several sites, and which of them were left out."""
    if as_json:
        results = [(each, "done" if each.site.id in changed else "left out") for each in chosen]
        print_json(
            [
                {"id": each.site.id, "domain": each.site.domain, "result": result, "reason": each.left_out}
                for each, result in results
            ]
        )
        return
    for each in chosen:
        if each.site.id not in changed:
            click.echo(f"{each.site} left out: {each.left_out or 'it was changed meanwhile'}")
    sites, seconds = len(changed), ini.settings.refresh_seconds
    click.echo(
        f"{done} of {sites} site{'s' * (sites != 1)}. Running servers use it within {seconds:g} "
        f"second{'s' * (seconds != 1)}."
    )


def _described(site: Site, declared: SettingsRegistry) -> list[SettingValue]:
    """Return the settings of a site for display, beginning with the columns that every site has."""
    from multisite.sites.settings import SettingValue

    locale, zone = site.locale, site.timezone
    own = [
        SettingValue("locale", "locale", locale, locale, "site", None, "The language of the site, such as de-AT."),
        SettingValue(
            "timezone", "time zone", zone, zone, "site", None, "The time zone of the site, such as Europe/Berlin."
        ),
    ]
    return own + declared.describe(site)


def _as_dict(each: SettingValue) -> dict[str, Any]:
    found = dataclasses.asdict(each)
    return {**found, "value": _json_value(each.value), "default": _json_value(each.default)}


def _json_value(value: Any) -> Any:
    """Return `value` if JSON can represent it, else its text."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return str(value)
    return value


def _on_one_line(text: str) -> str:
    """Return `text` in one line without control characters, which a site's administrator may have put into a value."""
    line = " ".join(text.split("\n"))
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)
