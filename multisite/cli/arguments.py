"""Options that several commands share."""

from __future__ import annotations

import click

from multisite.cli.host_command import HostCommand

__all__ = ["HostCommand", "allow_mixed_option", "json_option"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

allow_mixed_option = click.option("--allow-mixed", is_flag=True, help="Allow host names that mix scripts.")
