"""A command of the command line that takes hosts, for click; below the commands, since `multisite.content` has one."""

from __future__ import annotations

from difflib import get_close_matches

import click

__all__ = ["HostCommand"]


class HostCommand(click.Command):
    """A command that takes hosts: `-a.example` is a bad host (exit 1) and not an option (exit 2).

    What begins with two hyphens is a misspelt option unless it stands behind `--`.
    """

    ignore_unknown_options = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = {
            name: parameter
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option)
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        rest = iter(args)
        for arg in rest:
            if arg == "--":
                break
            name, equals, _value = arg.partition("=")
            if name in options:
                if not equals and not options[name].is_flag:
                    next(rest, None)
            elif arg.startswith("--"):
                raise click.NoSuchOption(name, possibilities=get_close_matches(name, options, n=1), ctx=ctx)
        return super().parse_args(ctx, args)
