"""The people of a site, for its owners: invite somebody, change roles, make a new link, remove somebody."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request

from multisite.content.editor.login_pages import send_link_later
from multisite.content.editor.pages import N_, add_page, logged_in, translate, variables
from multisite.content.users import LINK_PATH, User
from multisite.core.keys import SETTINGS
from multisite.core.settings import Settings
from multisite.errors import MultisiteError
from multisite.people import (
    ROLES,
    LastOwner,
    add_member,
    find_member,
    list_members,
    remove_member,
    reset_password,
    set_role,
)
from multisite.private_pages import field

__all__ = ["ROLE_TEXTS", "includeme"]

ROLE_TEXTS = {"owner": N_("Owner"), "editor": N_("Editor (all entries)"), "author": N_("Author (own entries)")}
"""The texts of the roles."""


def people(request: Request) -> Any:
    """The people of the site, and what a POST does to one of them."""
    texts: dict[str, str | None] = {"error": None, "done": None, "link": None}
    if request.method == "POST":
        try:
            texts |= _change(request)
        except LastOwner:
            texts["error"] = translate(request, "This is the last owner of the site: make another user an owner first.")
        except MultisiteError:
            texts["error"] = translate(
                request, "Nothing was changed: the login is taken or unknown, or a value is not valid."
            )
        if texts["error"] is not None:
            request.response.status_int = 400
    members = list_members(request.dbsession, User)
    own = logged_in(request).user
    return variables(request, members=members, own=own, roles=ROLES, role_texts=ROLE_TEXTS, **texts)


def _change(request: Request) -> dict[str, str | None]:
    session, site = request.dbsession, request.site
    action, login, role = field(request, "action"), field(request, "login").strip(), field(request, "role")
    if action == "invite":
        email = field(request, "email").strip() or None
        member, token = add_member(session, User, site, login, role=role, email=email)
        return _link(request, member, token)
    if action == "reset":
        return _link(request, *reset_password(session, User, site, login))
    if action == "role":
        set_role(session, User, site, login, role)
    elif action == "remove" and field(request, "sure"):
        remove_member(session, User, site, find_member(session, User, site, login).login)
    else:
        return {"error": translate(request, "Nothing was changed: tick the box to confirm.")}
    return {"done": translate(request, "Done.")}


def _link(request: Request, member: User, token: str) -> dict[str, str | None]:
    """Send the link to choose a password, or return it to be shown once."""
    link = request.site_url(request.site, LINK_PATH.replace("{token}", token))
    settings: Settings = request.registry[SETTINGS]
    if member.email is not None and settings.mail is not None:
        send_link_later(request, settings, member.email, link)
        return {"done": translate(request, "A link is on its way to {address}.", address=member.email)}
    done = translate(request, "Give {login} this link to choose a password. It works once:", login=member.login)
    return {"done": done, "link": link}


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "people", "/edit/people", people, "people", role="owner")
