"""The commands for the operators of the console: `add-operator`, `list-operators`, `set-operator-role` and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from multisite.cli.arguments import json_option
from multisite.cli.output import print_json, print_json_list
from multisite.errors import MultisiteError
from multisite.sites.ini import Ini, read_ini

if TYPE_CHECKING:
    from urllib.parse import SplitResult

__all__ = ["add_operator", "list_operators", "remove_operator", "reset_operator", "set_operator_role"]

_role = click.Choice(["look", "run", "everything"])

_url_option = click.option(
    "--url", metavar="URL", help="The address of the console for the link, such as https://console.example.com."
)


def _link(ini: Ini, token: str, url: str | None) -> str:
    """Return the link with `token`, at `url` or the address of the server on this machine."""
    return (_address(ini) if url is None else url.rstrip("/")) + f"/login/{token}"


def _address(ini: Ini) -> str:
    return f"http://{ini.settings.console_host}{'' if ini.server_port == 80 else f':{ini.server_port}'}"


def _check(ini: Ini, url: str | None) -> None:
    """Check the setting and `url`, before anything is changed. Raises `MultisiteError`."""
    from urllib.parse import urlsplit

    if ini.settings.console_host is None:
        raise MultisiteError(f"{ini.path} has no console: set multisite.console_host, and include multisite.console")
    try:
        parts: SplitResult | None = None if url is None else urlsplit(url)
        is_own = parts is None or (parts.scheme in {"http", "https"} and parts.hostname == ini.settings.console_host)
    except ValueError:
        is_own = False
    if not is_own or (parts is not None and (parts.path.strip("/") or parts.query or parts.fragment)):
        raise MultisiteError(f"'{url}' is not an address of the console, such as https://{ini.settings.console_host}")


def _report(done: str, link: str, *, as_json: bool) -> None:
    from multisite.console.operators import LINK_DAYS

    if as_json:
        print_json({"link": link})
        return
    click.echo(done)
    click.echo(f"Give them this link to choose a password. It works once, for {LINK_DAYS} days: {link}")


@click.command("add-operator")
@click.argument("login")
@click.option("--role", default="look", show_default=True, type=_role, help="What the operator may do.")
@_url_option
@json_option
@click.pass_obj
def add_operator(ini_uri: str, login: str, *, role: str, url: str | None, as_json: bool) -> None:
    """Add an operator of the console, with a link to choose a password."""
    from multisite.console import operators

    ini = read_ini(ini_uri)
    _check(ini, url)
    token = operators.add_operator(ini.open_engine(), login, role)
    _report(f"Added the operator {login}, who may {role}.", _link(ini, token, url), as_json=as_json)


@click.command("list-operators")
@json_option
@click.pass_obj
def list_operators(ini_uri: str, *, as_json: bool) -> None:
    """List the operators of the console."""
    from multisite.console import operators

    found = operators.list_operators(read_ini(ini_uri).open_engine())
    if as_json:
        print_json_list({"login": each.login, "role": each.role, "has_password": each.has_password} for each in found)
        return
    for each in found:
        waiting = "" if each.has_password else "  (has not chosen a password)"
        click.echo(f"{each.login:30} {each.role:10}{waiting}".rstrip())


@click.command("set-operator-role")
@click.argument("login")
@click.argument("role", type=_role)
@click.pass_obj
def set_operator_role(ini_uri: str, login: str, role: str) -> None:
    """Change the role of an operator."""
    from multisite.console import operators

    operators.set_operator_role(read_ini(ini_uri).open_engine(), login, role)
    click.echo(f"{login} may now {role}.")


@click.command("reset-operator")
@click.argument("login")
@_url_option
@json_option
@click.pass_obj
def reset_operator(ini_uri: str, login: str, *, url: str | None, as_json: bool) -> None:
    """Remove an operator's password, second factor and passkeys, end their log-ins, and make a link for new ones."""
    from multisite.console import operators

    ini = read_ini(ini_uri)
    _check(ini, url)
    token = operators.reset_operator(ini.open_engine(), login)
    _report(f"Removed the password of the operator {login}.", _link(ini, token, url), as_json=as_json)


@click.command("remove-operator")
@click.argument("login")
@click.pass_obj
def remove_operator(ini_uri: str, login: str) -> None:
    """Remove an operator, and end their log-ins."""
    from multisite.console import operators

    operators.remove_operator(read_ini(ini_uri).open_engine(), login)
    click.echo(f"Removed the operator {login}.")
