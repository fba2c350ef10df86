"""`multisite list-passkeys`, `rename-passkey` and `remove-passkey`: the passkeys of an operator of the console."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from multisite.cli.arguments import json_option
from multisite.cli.output import print_json_list
from multisite.core import program
from multisite.errors import MultisiteError
from multisite.sites.ini import read_ini

__all__ = ["list_passkeys", "remove_passkey", "rename_passkey"]

_id = click.argument("passkey_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _check_found(is_found: bool, login: str, passkey_id: int) -> None:
    if not is_found:
        listed = program.command(f"list-passkeys {login}")
        raise MultisiteError(f"{login} has no passkey {passkey_id}; list them: {listed}")


@click.command("list-passkeys")
@click.argument("login")
@json_option
@click.pass_obj
def list_passkeys(ini_uri: str, login: str, *, as_json: bool) -> None:
    """List the passkeys of an operator."""
    from multisite.console import operators, passkeys

    engine = read_ini(ini_uri).open_engine()
    found = passkeys.list_passkeys(engine, operators.get_operator(engine, login))
    if as_json:
        print_json_list(
            {
                "id": each.id,
                "name": each.name,
                "created": _time(each.created),
                "used": None if each.used is None else _time(each.used),
            }
            for each in found
        )
        return
    for each in found:
        used = "not used yet" if each.used is None else f"last used {_time(each.used)[:10]}"
        click.echo(f"{each.id:<5} {each.name:30} added {_time(each.created)[:10]}, {used}")


@click.command("rename-passkey")
@click.argument("login")
@_id
@click.argument("name")
@click.pass_obj
def rename_passkey(ini_uri: str, login: str, passkey_id: int, name: str) -> None:
    """Rename a passkey of an operator."""
    from multisite.console import operators, passkeys

    engine = read_ini(ini_uri).open_engine()
    operator = operators.get_operator(engine, login)
    _check_found(passkeys.rename_passkey(engine, operator, passkey_id, name), operator.login, passkey_id)
    click.echo(f"Renamed passkey {passkey_id} of {operator.login} to {name}.")


@click.command("remove-passkey")
@click.argument("login")
@_id
@click.pass_obj
def remove_passkey(ini_uri: str, login: str, passkey_id: int) -> None:
    """Remove a passkey of an operator."""
    from multisite.console import operators, passkeys

    engine = read_ini(ini_uri).open_engine()
    operator = operators.get_operator(engine, login)
    _check_found(passkeys.remove_passkey(engine, operator, passkey_id), operator.login, passkey_id)
    click.echo(f"Removed passkey {passkey_id} of {operator.login}.")
