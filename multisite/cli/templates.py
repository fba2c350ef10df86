"""`multisite set-theme`, `new-theme`, `which`, `reload-templates` and `compile-templates`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_hidden_files, print_json, record_as_dict
from multisite.cli.progress import Progress
from multisite.core import program
from multisite.errors import MultisiteError
from multisite.sites.ini import read_ini, with_distribution

if TYPE_CHECKING:
    from multisite.templates import SiteTemplates
    from multisite.templates.overlay import Layer
    from multisite.templates.precompile import CompileResult

__all__ = ["compile_templates", "new_theme", "reload_templates", "set_theme", "which"]


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("name", required=False)
@click.option("--none", "no_theme", is_flag=True, help="Clear the theme.")
@click.option(
    "--set-aside", "sets_aside", is_flag=True, help="Rename the site's files that override those of the theme."
)
@json_option
@click.pass_obj
def set_theme(ini_uri: str, host: str, name: str | None, no_theme: bool, sets_aside: bool, as_json: bool) -> None:
    """Set or clear a site's theme.

    HOST is any domain of the site, NAME a theme created by new-theme.
    """
    from multisite.sites import updates
    from multisite.sites.template_store.changes import push_folder, refresh_folder
    from multisite.sites.themes import hidden_files, set_aside

    if no_theme == (name is not None):
        raise click.UsageError("Pass the NAME of a theme, or --none.")
    ini = read_ini(ini_uri)
    if sets_aside and no_theme:
        raise click.UsageError("--set-aside needs the NAME of a theme.")
    engine = ini.open_engine()
    record = updates.set_theme(engine, host, name, settings=ini.settings)
    refresh_folder(ini.settings, record.site.folder)
    renamed = set_aside(hidden_files(ini.settings, record.site)) if sets_aside else []
    if renamed:
        push_folder(ini.settings, record.site.folder)
        updates.reload_templates(engine, host)
    if as_json:
        print_json(record_as_dict(record, ini))
    else:
        state = "has no theme" if name is None else f"has the theme {name}"
        hidden = hidden_files(ini.settings, record.site)
        within = _within(ini.settings.refresh_seconds)
        but = ", except for files that the site overrides" if hidden else ""
        click.echo(f"{record.site} now {state}. Running servers use it {within}{but}.")
        for path in renamed:
            click.echo(f"Renamed a file of the site to {path}")
        print_hidden_files(hidden)
        if hidden:
            click.echo(f"Or rename them all: {program.command(f'set-theme {host} {name} --set-aside')}")


@click.command()
@click.argument("name")
@json_option
@click.pass_obj
def new_theme(ini_uri: str, name: str, as_json: bool) -> None:
    """Create a theme: a folder of templates that several sites share.

    NAME becomes the name of its folder: lowercase letters, digits, hyphens and underscores.
    """
    from multisite.sites.operator_log import record_now
    from multisite.sites.template_store.changes import publish_shared
    from multisite.sites.themes import create_theme

    ini = read_ini(ini_uri)
    engine = ini.open_engine()
    folder = create_theme(ini.settings, name)
    publish_shared(ini.settings)
    record_now(engine, "new-theme", after={"theme": name})
    if as_json:
        print_json({"name": name, "path": str(folder)})
    else:
        click.echo(f"Created the theme {name}.")
        click.echo(f"Edit its layout in {folder}")
        click.echo(f"Use it for a site: {program.command(f'set-theme HOST {name}')}")


@click.command(cls=HostCommand)
@click.argument("host")
@click.argument("name")
@json_option
@click.pass_obj
def which(ini_uri: str, host: str, name: str, as_json: bool) -> None:
    """Show which file a template name resolves to for a site.

    HOST is any domain of the site, NAME a template name as in a view or a template: layout.mako, or
    app:templates/page.mako.
    """
    from multisite.directory.records import get_site

    ini = read_ini(ini_uri)
    site = get_site(ini.open_engine(), host).site
    templates = _templates_for(_load(ini_uri), name)
    layers = _explain(templates, site, name)
    winner = next((path for _layer, path, state in layers if state == "has it"), None)
    if as_json:
        listed = [{"layer": layer.kind, "path": str(path), "state": state} for layer, path, state in layers]
        print_json({"host": site.host, "name": name, "winner": winner and str(winner), "layers": listed})
    if winner is None:
        raise MultisiteError(
            f"no layer of {site} has a template '{name}'; looked for "
            + ", ".join(str(path) for _layer, path, _state in layers)
        )
    if not as_json:
        for layer, path, state in layers:
            mark = "*" if path == winner else " "
            click.echo(f"{mark} {layer.kind:8} {path}" + ("" if state == "has it" else f" ({state})"))


def _explain(templates: SiteTemplates, site: Any, name: str) -> list[tuple[Layer, Path, str]]:
    """Return each layer, in order of precedence, with the path in it and whether a usable file is there."""
    from mako.exceptions import TemplateLookupException

    from multisite.templates import names

    overlay = templates.overlay
    found = []
    try:
        for layer, place in overlay.candidates(overlay.overlay_name(names.canonical(name)), site):
            try:
                state = "has none" if overlay.stat_candidate(layer, place) is None else "has it"
            except TemplateLookupException as error:
                state = str(error)
            found.append((layer, place, state))
    except TemplateLookupException as error:
        raise MultisiteError(str(error)) from error
    return found


@click.command(cls=HostCommand)
@click.argument("host", required=False)
@click.pass_obj
def reload_templates(ini_uri: str, host: str | None) -> None:
    """Tell running servers to reload changed templates.

    HOST is any domain of the site whose templates changed; without it, the templates of all sites are reloaded.
    Their cached blocks are discarded.
    """
    from multisite.sites import updates

    ini = read_ini(ini_uri)
    updates.reload_templates(ini.open_engine(), host)
    what = "of all sites" if host is None else f"of {host}"
    click.echo(f"Running servers reload the templates {what} {_within(ini.settings.refresh_seconds)}.")


def _within(seconds: float) -> str:
    return f"within {seconds:g} " + ("second" if seconds == 1 else "seconds")


@click.command()
@click.option("--prune", "does_prune", is_flag=True, help="Remove compiled templates that are no longer used.")
@click.pass_context
def compile_templates(ctx: click.Context, does_prune: bool) -> None:
    """Precompile all templates into mako.module_directory.

    Loads the application without serving it, and compiles the templates of all sites and themes, the shared ones, and
    those of the packages that views name. Servers that start later need not compile them.
    """
    from multisite.directory.records import list_sites
    from multisite.templates.precompile import compile_all, prune
    from multisite.web.renderer import all_templates

    engine = read_ini(ctx.obj).open_engine()
    kept = [(templates, used) for templates, used in all_templates(_load(ctx.obj)) if templates.module_directory]
    if not kept:
        raise MultisiteError(
            "no folder for compiled templates: set mako.module_directory in the ini, as in %(here)s/var/templates"
        )
    sites = [record.site for record in list_sites(engine)]
    run, progress = _CompileRun(), Progress(interval_seconds=1, delay_seconds=2)
    for templates, used in kept:
        for result in compile_all(templates, sites, used):
            run.add(result)
            progress.show(f"{run.count} templates so far, now at {result.path}")
    folders = sorted({str(templates.module_directory) for templates, _used in kept})
    for path, message in run.failures:
        click.echo(f"{path}: {message}", err=True)
    done = f"Compiled {run.count - len(run.failures)} templates into {' and '.join(folders)}."
    click.echo(done + (f" {len(run.failures)} could not be compiled." if run.failures else ""))
    if does_prune:
        removed = sum(prune(Path(folder), run.digests) for folder in folders)
        click.echo(f"Removed {removed} unused compiled template{'s' * (removed != 1)}.")
    if run.failures:
        ctx.exit(1)


class _CompileRun:
    """Counts the results of one run, and keeps the failures for its end."""

    def __init__(self) -> None:
        self.count = 0
        self.failures: list[tuple[Path, str]] = []
        self.digests: set[str] = set()

    def add(self, result: CompileResult) -> None:
        self.count += 1
        if result.digest is not None:
            self.digests.add(result.digest)
        if result.error is not None:
            self.failures.append((result.path, " ".join(str(result.error).split()) or type(result.error).__name__))


def _load(uri: str) -> Any:
    """Load the application and return its registry, which knows its templates, settings and packages."""
    from pyramid.config import global_registries
    from pyramid.paster import get_app

    from multisite.web.renderer import TEMPLATES

    app = get_app(with_distribution(uri))
    # Middleware around the application, such as a pipeline, has no registry.
    registry = getattr(app, "registry", None) or global_registries.last
    if TEMPLATES not in registry:
        raise MultisiteError('this application does not include multisite: config.include("multisite") is missing')
    return registry


def _templates_for(registry: Any, name: str) -> SiteTemplates:
    """Return the templates that `name` belongs to: a file extension may have settings, and so folders, of its own."""
    from multisite.web.renderer import FACTORIES, TEMPLATES

    factory = registry[FACTORIES].get(Path(name).suffix)
    templates: SiteTemplates = registry[TEMPLATES] if factory is None else factory.templates
    return templates
