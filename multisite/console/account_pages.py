"""The operator's own account: password and log-ins."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.request import Request

from multisite.console.log_ins import end_log_in, list_log_ins
from multisite.console.login_pages import password_fault
from multisite.console.operators import set_password
from multisite.console.pages import add_page, done, translate, variables
from multisite.console.passkeys import list_passkeys
from multisite.people.browsers import find_browser
from multisite.private_pages import field
from multisite.users import Account

__all__ = ["account_page", "includeme"]


def account(request: Request) -> Any:
    """The operator's own account; a POST changes the password, after the current one was entered on another page."""
    error = password_fault(request) if request.method == "POST" else None
    if request.method == "POST" and error is None:
        set_password(request.console.engine, request.log_in.operator, field(request, "password"), request.log_in.id)
        return done(request, "password", "account")
    return account_page(request, error)


def account_page(request: Request, error: str | None) -> dict[str, Any]:
    """Return the variables of the page, with the status 400 if there is an error to show."""
    if error is not None:
        request.response.status_int = 400
    operator = request.log_in.operator
    return variables(
        request,
        log_ins=list_log_ins(request, operator),
        passkeys=list_passkeys(request.console.engine, operator),
        own=request.log_in.id,
        browser_name=lambda agent: browser_name(request, agent),
        minimum=Account.min_password_characters,
        error=error,
    )


def browser_name(request: Request, agent: str) -> str:
    """Return the browser and the system of a header User-Agent for people; the header, if they are not known."""
    found = find_browser(agent)
    if found is None:
        return agent or translate(request, "Unknown browser")
    return translate(request, "{browser} on {system}", browser=found.name, system=found.system)


def end(request: Request) -> Any:
    """End one of the operator's log-ins; a GET shows nothing."""
    if request.method != "POST" or not end_log_in(request, request.log_in.operator, int(request.matchdict["id"])):
        raise HTTPNotFound
    return HTTPSeeOther(request.route_path("account"))


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "account", "/account", account, "account", role="look", is_dangerous=True)
    add_page(config, "end_log_in", r"/account/log-ins/{id:[1-9]\d{0,17}}", end, role="look")
