"""The command `multisite`.

A command parses its arguments, calls one function of the Python API and prints a few lines. The module of a command
is imported when the command is invoked, and imports only click at its top, so that `multisite --help` is instant.

Exit codes: 0 for success, 1 for failure (one line on stderr names the thing, the reason and the next command), 2 for
wrong usage.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from importlib import import_module
from typing import Any

import click

from multisite.cli.commands import COMMANDS

__all__ = ["main"]


class _LazyGroup(click.Group):
    """A group that imports a command when it is invoked, and reports an expected error in one line."""

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
            # Imported here because only a misspelled command needs it.
            near = import_module("difflib").get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"No such command '{args[0]}'." + (f" Did you mean '{near[0]}'?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in COMMANDS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        # Not in invoke(), which `--help` does not reach. click itself ignores a closed pipe.
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if not _was_writing(error):
                raise
            _discard_output()
            click.echo(f"Error: the output cannot be written: {error.strerror}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            # This imports SQLAlchemy and alembic, which have been imported if one of them raised the error.
            explain = import_module("multisite.cli.errors").explain
            message = explain(error)
            if message is None:
                raise
            raise click.ClickException(message) from error


def _was_writing(error: OSError) -> bool:
    """Return whether click raised `error` while printing."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__") == click.utils.__name__


def _discard_output() -> None:
    """Redirect stdout to the null device: at exit, Python would try to flush it again and report the error."""
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
    """Manage the sites of a Pyramid application that includes multisite."""
    # Commands receive it through click.pass_obj, and read the file after parsing their own arguments.
    ctx.obj = ini
    # Not at the top, because `--help` does not need them.
    actor = import_module("multisite.core.actor")
    ctx.with_resource(actor.acting_as(f"{actor.system_user()} (command)"))
    # Pyramid 2.1 imports pkg_resources, and setuptools >= 80.9 then prints a warning that users cannot act on. An
    # application's env.py imports Pyramid, so that any command that runs one can trigger it.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated as an API", UserWarning)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Characters that the terminal cannot encode, as in the name of a site, are escaped instead of raising.
        sys.stdout.reconfigure(errors="backslashreplace")
