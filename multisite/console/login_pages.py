"""Log in, log out, enter password and code again, and choose a password by a link.

Login, password and code are sent together, and the response to a wrong one does not tell which it was: so nobody learns
which operators there are, or tries passwords without a code.
"""

from __future__ import annotations

import logging
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response

from multisite.console.codes import qr_code, setup_uri
from multisite.console.log_ins import (
    confirm_log_in,
    count_login_attempt,
    end_log_in,
    forget_cookie,
    reset_login_attempts,
    start_log_in,
)
from multisite.console.operators import Operator, check_password_and_code, find_by_link, use_link
from multisite.console.pages import add_page, login_form, translate, variables
from multisite.core.actor import acting_as
from multisite.private_pages import field, has_password_length
from multisite.sites.operator_log import record_now
from multisite.users import Account, TooManyAttempts
from multisite.users.passwords import MAX_PASSWORD_CHARACTERS

__all__ = ["enter", "includeme", "own_path", "password_fault", "too_many"]

log = logging.getLogger(__name__)


def log_in(request: Request) -> Any:
    """The form to log in, and the log-in itself."""
    if request.method != "POST":
        return HTTPSeeOther("/") if request.log_in is not None else login_form(request)
    login = field(request, "login")
    found = _check(request, login)
    if not isinstance(found, Operator):
        return login_form(request, status=found[0], error=found[1], login=login)
    return enter(request, found)


def _check(request: Request, login: str) -> Operator | tuple[int, str]:
    """Return the operator with the login, password and code that were sent, or a status and why there is none."""
    try:
        count_login_attempt(request, login)
    except TooManyAttempts as error:
        return 429, too_many(request, error)
    engine = request.console.engine
    found = check_password_and_code(engine, login, field(request, "password"), _code(request))
    if found is None:
        return 403, translate(request, "The login, the password or the code is wrong. A code is good once.")
    reset_login_attempts(request, login)
    return found


def too_many(request: Request, error: TooManyAttempts) -> str:
    """Log that there were too many attempts, and return a sentence that says so."""
    log.warning("too many attempts to log in to the console from %s", request.remote_addr)
    minutes = -(-error.retry_after_seconds // 60)
    return translate(request, "Too many attempts: try again in {minutes} min.", minutes=minutes)


def _code(request: Request) -> str | None:
    """Return the code that was sent; None if the console has no second factor."""
    return field(request, "code") if request.console.settings.console_second_factor else None


def enter(request: Request, operator: Operator) -> Response:
    """Log an operator in, and return the redirect to the page that was requested."""
    response = HTTPSeeOther(own_path(field(request, "next")))
    start_log_in(request, response, operator)
    with acting_as(f"{operator.login} (console)", address=request.remote_addr):
        record_now(request.console.engine, "log-in")
    return response


def own_path(text: str) -> str:
    """Return `text` if it is the path of a page of the console, else that of the first page."""
    is_own = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_own and "\\" not in text else "/"


def confirm(request: Request) -> Any:
    """Ask for the password and a code again, before what cannot be undone."""
    after = own_path(request.GET.get("next", "") if request.method != "POST" else field(request, "next"))
    error = None
    if request.method == "POST":
        operator = request.log_in.operator
        found = _check(request, operator.login)
        if isinstance(found, Operator):
            confirm_log_in(request)
            return HTTPSeeOther(after)
        request.response.status_int, error = found
    return variables(request, error=error, login=request.log_in.operator.login, after=after, is_again=True)


def log_out(request: Request) -> Any:
    """The button to log out, and the end of the log-in."""
    if request.method != "POST":
        return variables(request)
    end_log_in(request, request.log_in.operator, request.log_in.id)
    response = HTTPSeeOther(request.route_path("login"))
    forget_cookie(request, response)
    return response


def choose_password(request: Request) -> Any:
    """The page on which an operator chooses a password and sets up the second factor, by a link that works once."""
    token, engine = request.matchdict["token"], request.console.engine
    operator = find_by_link(engine, token)
    if operator is None:
        raise HTTPNotFound
    error = None
    if request.method == "POST":
        error = password_fault(request)
        if error is None:
            found = use_link(engine, token, field(request, "password"), _code(request))
            if found is not None:
                return enter(request, found)
            error = translate(request, "The code is wrong. Check the clock of your phone.")
        request.response.status_int = 400
    uri = setup_uri(operator.code_secret, operator.login, request.console.settings.console_host)
    return variables(
        request,
        new_operator=operator,
        minimum=Account.min_password_characters,
        qr=qr_code(uri),
        secret=" ".join(operator.code_secret[i : i + 4] for i in range(0, len(operator.code_secret), 4)),
        error=error,
    )


def password_fault(request: Request) -> str | None:
    """Return why the new password of a form, which is in the field `repeated` again, cannot be used; None if it can."""
    password = field(request, "password")
    if not has_password_length(password):
        limits = {"minimum": Account.min_password_characters, "maximum": MAX_PASSWORD_CHARACTERS}
        return translate(request, "A password has {minimum} to {maximum} characters.", **limits)
    return None if password == field(request, "repeated") else translate(request, "The two passwords are not the same.")


def includeme(config: Configurator) -> None:
    """Add the pages."""
    config.include("multisite.console.pages")
    add_page(config, "login", "/login", log_in, role=None)
    add_page(config, "logout", "/logout", log_out, "logout", role="look")
    add_page(config, "confirm", "/confirm", confirm, "login", role="look")
    add_page(config, "link", r"/login/{token:[\w-]{43}}", choose_password, "link", role=None)
