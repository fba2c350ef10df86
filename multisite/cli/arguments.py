"""What several commands take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["HOST_COMMAND", "allow_mixed_option", "host_argument", "json_option"]

HOST_COMMAND = {"ignore_unknown_options": True}
"""Context settings of a command that takes hosts: `-a.example` is a bad host (exit 1) and not an option (exit 2)."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

allow_mixed_option = click.option("--allow-mixed", is_flag=True, help="Take hosts that mix letters of several scripts.")


def host_argument(name: str, *, required: bool = True) -> Callable[[Any], Any]:
    """Return the decorator for an argument that is a host. What begins with two hyphens is a misspelt option."""
    return click.argument(name, required=required, callback=_refuse_options)


def _refuse_options(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and value.startswith("--"):
        raise click.NoSuchOption(value, ctx=ctx)
    return value
