"""A click command that takes hosts."""

from __future__ import annotations

from difflib import get_close_matches

import click

__all__ = ["HostCommand"]


class HostCommand(click.Command):
    """A command that takes hosts: `-a.example` is an invalid host (exit code 1), not an option (exit code 2).

    An argument with two leading hyphens is a misspelled option, unless it follows `--`.
    """

    ignore_unknown_options = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return the arguments that are left, as click does.

        Raises:
            click.NoSuchOption: An argument with two leading hyphens is not an option of this command.
        """
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
