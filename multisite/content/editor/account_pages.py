"""The user's own account: password and log-ins."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.request import Request

from multisite.content.editor.attempts import count_attempt, login_key, reset_attempts
from multisite.content.editor.log_ins import end_log_in, list_log_ins, start_log_in
from multisite.content.editor.login_pages import password_error
from multisite.content.editor.pages import add_page, logged_in, translate, variables
from multisite.content.users import User
from multisite.people.browsers import find_browser
from multisite.private_pages import field
from multisite.users import TooManyAttempts

__all__ = ["includeme"]


def account(request: Request) -> Any:
    """The user's own account; a POST changes the password."""
    error = _change_password(request) if request.method == "POST" else None
    if request.method == "POST" and error is None:
        response = HTTPSeeOther(request.route_path("editor_account", _query={"done": "password"}))
        start_log_in(request, response, logged_in(request).user)
        return response
    if error is not None:
        request.response.status_int = 400
    found = logged_in(request)
    done = translate(request, "The password is changed.") if request.GET.get("done") == "password" else None
    return variables(
        request,
        log_ins=list_log_ins(request, found.user),
        own=found.log_in.id,
        browser_name=lambda agent: _browser_name(request, agent),
        when=lambda seconds: request.format.datetime(datetime.fromtimestamp(seconds, UTC)),
        minimum=User.min_password_characters,
        error=error,
        done=done,
    )


def _browser_name(request: Request, agent: str) -> str:
    """Return the browser and the system of a header User-Agent for people; the header, if they are not known."""
    found = find_browser(agent)
    if found is None:
        return agent or translate(request, "Unknown browser")
    return translate(request, "{browser} on {system}", browser=found.name, system=found.system)


def _change_password(request: Request) -> str | None:
    """Change the password, and end all log-ins of the user. Return why it was not changed, else None."""
    user, password = logged_in(request).user, field(request, "password")
    error = password_error(request, password)
    if error is not None:
        return error
    # A person who finds an open browser must not be able to guess the password there.
    key = login_key("log-in", user.login)
    try:
        count_attempt(request, key)
    except TooManyAttempts:
        return translate(request, "Too many attempts: try again in {minutes} min.", minutes=15)
    if not user.check_password(field(request, "current")):
        return translate(request, "The current password is wrong.")
    reset_attempts(request, key)
    user.set_password(password)
    user.end_log_ins()
    return None


def end(request: Request) -> Any:
    """End one of the user's log-ins; a GET shows nothing."""
    if request.method != "POST":
        raise HTTPNotFound
    if not end_log_in(request, logged_in(request).user, int(request.matchdict["id"])):
        raise HTTPNotFound
    return HTTPSeeOther(request.route_path("editor_account"))


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "account", "/edit/account", account, "account", role="author")
    add_page(config, "end_log_in", r"/edit/log-ins/{id:[1-9]\d{0,17}}", end, role="author")
