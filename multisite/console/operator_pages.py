"""The operators: add one, change one, remove one."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request

from multisite.console.operators import (
    LINK_DAYS,
    ROLES,
    add_operator,
    list_operators,
    remove_operator,
    reset_operator,
    set_operator_role,
)
from multisite.console.pages import N_, add_page, translate, variables
from multisite.console.site_list_pages import explain
from multisite.errors import MultisiteError
from multisite.private_pages import field

__all__ = ["includeme"]

ROLE_TEXTS = {
    "look": N_("Look: see everything, change nothing"),
    "run": N_("Run: change and add sites"),
    "everything": N_("Everything: also remove sites, manage users and operators"),
}
"""The texts of the roles."""


def operators(request: Request) -> Any:
    """The operators, and what a POST does to one of them. A link is shown once."""
    error, done, link = None, None, None
    if request.method == "POST":
        try:
            token = _change(request)
            done = translate(request, "Saved.")
            link = None if token is None else request.route_url("link", token=token)
        except MultisiteError as refused:
            error = explain(request, refused)
            request.response.status_int = 400
    found = list_operators(request.console.engine)
    return variables(
        request, operators=found, roles=ROLE_TEXTS, days=LINK_DAYS, link=link, done=done, error=error, known=ROLES
    )


def _change(request: Request) -> str | None:
    """Make the change, and return the token of the link to choose a password, if there is a new one."""
    engine, action, login = request.console.engine, field(request, "action"), field(request, "login").strip()
    is_own = login == request.log_in.operator.login
    if action == "add":
        return add_operator(engine, login, field(request, "role"))
    if is_own:
        raise MultisiteError(translate(request, "only another operator can do this to you"))
    if action == "reset":
        return reset_operator(engine, login)
    if action == "role":
        set_operator_role(engine, login, field(request, "role"))
    elif action == "remove" and field(request, "sure"):
        remove_operator(engine, login)
    else:
        raise MultisiteError(translate(request, "tick the box to confirm"))
    return None


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "operators", "/operators", operators, "operators", role="everything", is_dangerous=True)
