"""The commands for the users of a site: `add-user`, `list-users`, `set-role`, `reset-password` and so on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json, print_json_list
from multisite.cli.site_url import checked_url
from multisite.errors import MultisiteError
from multisite.sites.ini import Ini, read_ini

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.orm import Session

    from multisite.core.site import Site
    from multisite.web.site_user import SiteUserClass

__all__ = ["add_user", "export_user", "list_users", "remove_user", "reset_password", "set_role"]

_role = click.Choice(["owner", "editor", "author"])

_url_option = click.option(
    "--url", metavar="URL", help="The address of the site for the link, such as https://garden.example."
)


@dataclass(frozen=True)
class _People:
    """A site, the class of its users, and a session that is pinned to the site."""

    ini: Ini
    directory: Engine
    site: Site
    users: SiteUserClass
    session: Session

    @property
    def model(self) -> Any:
        return self.users.model

    def record(self, what: str, member: Any, **values: Any) -> None:
        """Record an action on a user by their number: the log keeps no name of a user who may be removed."""
        from multisite.sites.operator_log import record_in

        self.session.flush()
        record_in(self.session, self.directory, what, self.site, after={"user": member.id, **values})


@contextmanager
def _people(ini_uri: str, host: str) -> Iterator[_People]:
    """Yield the people of a site, and commit at the end. Loads the application, which names the class of its users."""
    from pyramid.scripting import prepare
    from sqlalchemy.orm import Session

    from multisite.core import domains
    from multisite.core.keys import DIRECTORY
    from multisite.directory.tables import AS_MULTISITE
    from multisite.sites.transaction import read_ready_site
    from multisite.web.loading import load
    from multisite.web.site_settings import SITE_SETTINGS
    from multisite.web.site_user import site_user_class

    ini = read_ini(ini_uri)
    registry = load(ini_uri).registry
    if DIRECTORY not in registry:
        raise MultisiteError('this application does not include multisite: config.include("multisite") is missing')
    directory = registry[DIRECTORY].engine
    try:
        users = site_user_class(registry)
        with directory.connect().execution_options(**AS_MULTISITE) as connection:
            site = read_ready_site(connection, domains.existing(host)).site
        site = dataclasses.replace(site, settings_provider=registry[SITE_SETTINGS])
        env = prepare(registry=registry)
        try:
            engine = env["request"].dbsession.get_bind(users.model)
            # Not the request's own session, which an application may have configured to commit elsewhere.
            with Session(engine, info={"site": site}) as session, session.begin():
                yield _People(ini, directory, site, users, session)
        finally:
            env["closer"]()
            engine.dispose()
    finally:
        directory.dispose()


def _link(people: _People, token: str, url: str | None) -> str:
    """Return the link with `token`, at `url` or the address that `add-site` prints. Raises `MultisiteError`."""
    path = people.users.link_path.replace("{token}", token)
    if url is None:
        return people.ini.address(people.site).rstrip("/") + path
    return checked_url(people.directory, people.site, url) + path


def _send_link(ini: Ini, site: Site, email: str | None, link: str, subject: str) -> str:
    """Send a link, and return a sentence about it; without an address or a mail server, the sentence has the link."""
    from multisite.mail import MailError, make_message, send
    from multisite.people import LINK_DAYS

    sentence = f"It works once, for {LINK_DAYS} days: {link}"
    if email is None or ini.settings.mail is None:
        return f"Give them this link to choose a password. {sentence}"
    text = f"{subject}\n\nChoose your password here. The link works once, for {LINK_DAYS} days:\n\n{link}\n"
    try:
        send(ini.settings, make_message(site, to=email, subject=subject, text=text))
    except MailError as error:
        click.echo(f"Error: {error}", err=True)
        return f"The mail was not sent: give them this link to choose a password. {sentence}"
    return f"Sent a link to choose a password to {email}."


@click.command("add-user", cls=HostCommand)
@click.argument("host")
@click.argument("login")
@click.option("--email", metavar="ADDRESS", help="The address to which the link is sent.")
@click.option("--role", required=True, type=_role, help="What the user may do.")
@_url_option
@json_option
@click.pass_obj
def add_user(
    ini_uri: str, host: str, login: str, *, email: str | None, role: str, url: str | None, as_json: bool
) -> None:
    """Add a user to a site, with a link to choose a password.

    HOST is any domain of the site. The link is sent if --email and multisite.mail are set, else printed.
    """
    from multisite.people import add_member

    with _people(ini_uri, host) as people:
        member, token = add_member(people.session, people.model, people.site, login, role=role, email=email)
        people.record("add-user", member, role=role)
        link = _link(people, token, url)
    _report(people, f"Added {login} to {people.site} as {role}.", email, link, as_json=as_json)


@click.command("list-users", cls=HostCommand)
@click.argument("host")
@json_option
@click.pass_obj
def list_users(ini_uri: str, host: str, *, as_json: bool) -> None:
    """List the users of a site.

    HOST is any domain of the site.
    """
    from multisite.people import list_members

    with _people(ini_uri, host) as people:
        found = [
            {"login": each.login, "role": each.role, "email": each.email, "has_password": bool(each.password_hash)}
            for each in list_members(people.session, people.model)
        ]
    if as_json:
        print_json_list(found)
        return
    for each in found:
        waiting = "" if each["has_password"] else "  (has not chosen a password)"
        click.echo(f"{each['login']:30} {each['role']:8} {each['email'] or ''}{waiting}".rstrip())


@click.command("set-role", cls=HostCommand)
@click.argument("host")
@click.argument("login")
@click.argument("role", type=_role)
@click.pass_obj
def set_role(ini_uri: str, host: str, login: str, role: str) -> None:
    """Change the role of a user.

    HOST is any domain of the site. The last owner keeps the role.
    """
    from multisite.people import set_role

    with _people(ini_uri, host) as people:
        member = set_role(people.session, people.model, people.site, login, role)
        people.record("set-role", member, role=role)
        click.echo(f"{member.login} is now {role} of {people.site}.")


@click.command("reset-password", cls=HostCommand)
@click.argument("host")
@click.argument("login")
@_url_option
@json_option
@click.pass_obj
def reset_password(ini_uri: str, host: str, login: str, *, url: str | None, as_json: bool) -> None:
    """Remove a user's password, end their log-ins, and make a link to choose a new one.

    HOST is any domain of the site. The link is sent if the user has an address and multisite.mail is set, else printed.
    """
    from multisite.people import reset_password

    with _people(ini_uri, host) as people:
        member, token = reset_password(people.session, people.model, people.site, login)
        link, email = _link(people, token, url), member.email
        people.record("reset-password", member)
    _report(people, f"Removed the password of {login} at {people.site}.", email, link, as_json=as_json)


def _report(people: _People, done: str, email: str | None, link: str, *, as_json: bool) -> None:
    """Report a change after its commit, and send the link; as JSON, print the link without sending it."""
    if as_json:
        print_json({"link": link})
        return
    click.echo(done)
    click.echo(_send_link(people.ini, people.site, email, link, f"Your access to {people.site.name}"))


@click.command("export-user", cls=HostCommand)
@click.argument("host")
@click.argument("login")
@click.pass_obj
def export_user(ini_uri: str, host: str, login: str) -> None:
    """Print the data stored about a user, as JSON.

    HOST is any domain of the site.
    """
    from multisite.people import find_member

    with _people(ini_uri, host) as people:
        member = find_member(people.session, people.model, people.site, login)
        people.record("export-user", member)
        print_json(member.export(people.session))


@click.command("remove-user", cls=HostCommand)
@click.argument("host")
@click.argument("login")
@click.pass_obj
def remove_user(ini_uri: str, host: str, login: str) -> None:
    """Remove a user and the data stored about them.

    HOST is any domain of the site. The last owner cannot be removed.
    """
    from multisite.people import find_member, remove_member

    with _people(ini_uri, host) as people:
        people.record("remove-user", find_member(people.session, people.model, people.site, login))
        remove_member(people.session, people.model, people.site, login)
        click.echo(f"Removed {login} from {people.site}.")
