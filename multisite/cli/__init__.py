"""The command `multisite`.

A command is: parse, one call to the function that the tests call too, a few lines out. Each module of commands is
imported when its command is named, and these modules import only click: `multisite --help` is instant.

Exit codes: 0 done, 1 could not (one line on stderr: the thing, the reason, the next command), 2 wrong usage.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from importlib import import_module
from typing import Any, NamedTuple

import click

__all__ = ["main"]


class _LazyCommand(NamedTuple):
    """Where a command is, as `module:attribute`, and its sentence in the list of commands."""

    location: str
    sentence: str


COMMANDS = {
    "migrate": _LazyCommand(
        "multisite.cli.migrate:migrate", "Bring the tables of multisite and of the application up to date."
    ),
    "add-site": _LazyCommand(
        "multisite.cli.sites:add_site", "Add a site: its rows, and a folder with a layout to edit."
    ),
    "list-sites": _LazyCommand("multisite.cli.sites:list_sites", "List the sites."),
    "show-site": _LazyCommand("multisite.cli.sites:get_site", "Show a site and all its domains."),
    "set-theme": _LazyCommand("multisite.cli.templates:set_theme", "Give a site a theme, or none."),
    "new-theme": _LazyCommand(
        "multisite.cli.templates:new_theme", "Make a theme: a folder of templates for several sites."
    ),
    "which": _LazyCommand("multisite.cli.templates:which", "Show which file a template's name stands for on a site."),
    "reload-templates": _LazyCommand(
        "multisite.cli.templates:reload_templates", "Let running servers look for changed templates."
    ),
    "compile-templates": _LazyCommand(
        "multisite.cli.templates:compile_templates", "Compile all templates ahead, into mako.module_directory."
    ),
    "collect-static": _LazyCommand(
        "multisite.cli.static:collect_static", "Lay out the static files of all sites for a web server or a CDN."
    ),
    "add-domain": _LazyCommand("multisite.cli.domains:add_domain", "Let another host lead to a site."),
    "remove-domain": _LazyCommand("multisite.cli.domains:remove_domain", "Let a host lead nowhere."),
    "move-domain": _LazyCommand("multisite.cli.domains:move_domain", "Let a host lead to another site."),
    "set-canonical": _LazyCommand(
        "multisite.cli.domains:set_canonical", "Let a site be known by another of its hosts."
    ),
    "rename-site": _LazyCommand("multisite.cli.sites:rename_site", "Give a site another name for people."),
    "rotate-secret": _LazyCommand(
        "multisite.cli.secrets:rotate_secret", "Void the sessions, log-ins and tokens of a site."
    ),
    "settings": _LazyCommand(
        "multisite.cli.site_settings:settings", "Show the settings of a site, and where each comes from."
    ),
    "set": _LazyCommand("multisite.cli.site_settings:set_settings", "Set settings of a site, all of them or none."),
    "unset": _LazyCommand("multisite.cli.site_settings:unset_settings", "Let a site have the defaults again."),
    "disable-site": _LazyCommand("multisite.cli.life:disable_site", "Let a site answer as if it were not there."),
    "enable-site": _LazyCommand("multisite.cli.life:enable_site", "Open a site that was disabled or in maintenance."),
    "maintain-site": _LazyCommand("multisite.cli.life:maintain_site", "Let a site tell its visitors to come back."),
    "remove-site": _LazyCommand(
        "multisite.cli.life:remove_site", "Remove a site: its rows, its folder and its domains."
    ),
    "refresh": _LazyCommand(
        "multisite.cli.life:refresh", "Let running servers read the tables again, after they were changed by hand."
    ),
    "shell": _LazyCommand("multisite.cli.shell:shell", "Open a Python shell with a request of a site."),
    "each-site": _LazyCommand("multisite.cli.each_site:each_site", "Run a command once for every site."),
    "check": _LazyCommand("multisite.cli.check:check", "Look for faults in the separation of sites."),
    "vhosts": _LazyCommand(
        "multisite.cli.vhosts:vhosts", "Show which application answers which domain, and load them all."
    ),
    "row-security": _LazyCommand(
        "multisite.cli.row_security:row_security", "Let PostgreSQL itself keep the sites apart, or no longer."
    ),
    "import-entries": _LazyCommand(
        "multisite.content.import_command:import_entries_command",
        "Import Markdown files into a site of multisite.content.",
    ),
}
"""Every command. A test compares the sentences with the commands' own."""


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are named, and whose expected errors are one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        module, _, attribute = lazy.location.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            # Imported here: only a misspelt command needs it.
            near = import_module("difflib").get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"No such command '{args[0]}'." + (f" Did you mean '{near[0]}'?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.sentence) for name, lazy in COMMANDS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        # Here and not in invoke(), which `--help` does not reach. click itself is quiet about a closed pipe.
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if not _was_writing(error):
                raise
            _forget_output()
            click.echo(f"Error: the output cannot be written: {error.strerror}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            # Explaining knows the errors of SQLAlchemy and alembic; where one of them was raised, they are imported.
            explain = import_module("multisite.cli.failure").explain
            sentence = explain(error)
            if sentence is None:
                raise
            raise click.ClickException(sentence) from error


def _was_writing(error: OSError) -> bool:
    """Tell whether it was click, at printing, that ran into `error`."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__") == click.utils.__name__


def _forget_output() -> None:
    """Let stdout lead nowhere: Python would try once more to write what is left in it, and complain, when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@click.group(cls=_LazyGroup)
@click.version_option(package_name="pyramid-multisite")
@click.option(
    "-c",
    "--config",
    "ini",
    metavar="INI",
    envvar="MULTISITE_CONFIG",
    show_envvar=True,
    default="development.ini",
    show_default=True,
    help="The ini file of the application.",
)
@click.pass_context
def main(ctx: click.Context, ini: str) -> None:
    """Look after the sites of a Pyramid application that includes multisite."""
    # Commands take it with click.pass_obj, and read it when they have parsed everything else.
    ctx.obj = ini
    # Pyramid 2.1 imports pkg_resources, at which setuptools >= 80.9 prints a warning that nobody here can heed. An
    # application's env.py imports Pyramid, so it can come up in any command that runs one.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated as an API", UserWarning)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show the name of a site gets it escaped, not a traceback.
        sys.stdout.reconfigure(errors="backslashreplace")
