"""Log in, log out, choose a password by a link, and ask for a link after forgetting the password."""

from __future__ import annotations

import logging
import threading
from email.message import EmailMessage
from typing import Any

import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import Response

from multisite.content.editor.attempts import count_attempt, login_key, reset_attempts
from multisite.content.editor.log_ins import end_log_in, forget_cookie, start_log_in
from multisite.content.editor.pages import (
    TEMPLATES,
    add_page,
    kept_fields,
    logged_in,
    login_form,
    translate,
    variables,
)
from multisite.content.users import LINK_PATH, User
from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.core.settings import Settings
from multisite.errors import MultisiteError
from multisite.mail import make_message, send
from multisite.origins import is_local_url
from multisite.people import LINK_DAYS
from multisite.private_pages import field, has_password_length
from multisite.sites.sign_ins import use_sign_in
from multisite.users import TooManyAttempts
from multisite.users.passwords import MAX_PASSWORD_CHARACTERS

__all__ = ["FORGOTTEN_LIMIT", "SENDER_LIMIT", "includeme", "password_error", "send_link_later"]

log = logging.getLogger(__name__)

FORGOTTEN_LIMIT = 3
"""Links for one login within the pause."""

SENDER_LIMIT = 20
"""Links that one network address may ask for within the pause."""


def log_in(request: Request) -> Any:
    """The form to log in, and the log-in itself."""
    if request.method != "POST":
        if request.log_in is not None:
            return HTTPSeeOther(request.route_path("editor_home"))
        return login_form(request)
    login = field(request, "login")
    key = login_key("log-in", login)
    try:
        count_attempt(request, key)
    except TooManyAttempts as error:
        return _too_many(request, error, login_form(request, status=429, error=_pause(request, error), login=login))
    user = User.log_in(request.dbsession, login, field(request, "password"))
    if user is None:
        return login_form(
            request, status=403, error=translate(request, "The login or the password is wrong."), login=login
        )
    reset_attempts(request, key)
    return _enter(request, user, field(request, "next"))


def _pause(request: Request, error: TooManyAttempts) -> str:
    minutes = -(-error.retry_after_seconds // 60)
    return translate(request, "Too many attempts: try again in {minutes} min.", minutes=minutes)


def _too_many(request: Request, error: TooManyAttempts, response: Response) -> Response:
    log.warning("too many attempts at %s from %s", request.site, request.remote_addr)
    response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def _enter(request: Request, user: User, after: str = "") -> Response:
    """Log `user` in, and go to the page `after`, if it is one of the editor."""
    home = request.route_path("editor_home")
    is_editors = after.startswith(home) and is_local_url(request, after)
    kept = kept_fields(request) if is_editors else {}
    if kept:
        return _go_on(request, user, after, kept)
    response = HTTPSeeOther(after if is_editors else home)
    start_log_in(request, response, user)
    return response


def _go_on(request: Request, user: User, after: str, kept: dict[str, str]) -> Response:
    """Log `user` in, and return a page with the text that was sent to the page `after` when the log-in had ended."""
    token = start_log_in(request, request.response, user)
    values = variables(request, user=user, csrf_token=token, after=after, kept=kept)
    return render_to_response(f"{TEMPLATES}go_on.mako", values, request=request, response=request.response)


def log_out(request: Request) -> Any:
    """The button to log out, and the end of the log-in."""
    if request.method != "POST":
        return variables(request)
    found = logged_in(request)
    end_log_in(request, found.user, found.log_in.id)
    response = HTTPSeeOther(request.route_path("editor_login"))
    forget_cookie(request, response)
    return response


def choose_password(request: Request) -> Any:
    """The page on which a user chooses a password, by a link that works once."""
    token, site, session = request.matchdict["token"], request.site, request.dbsession
    user = User.find_by_link(session, site, token)
    if user is None:
        return HTTPNotFound()  # Not raised: the address would be counted as missing, with the token in it.
    error = None
    if request.method == "POST":
        password = field(request, "password")
        error = password_error(request, password)
        if error is None:
            user = User.use_link(session, site, token, password)
            if user is None:
                return HTTPNotFound()
            return _enter(request, user)
    if error is not None:
        request.response.status_int = 400
    return variables(request, new_user=user, minimum=User.min_password_characters, error=error)


def sign_in_as_user(request: Request) -> Any:
    """Sign an operator in as a user, by a link of the console that works once, for a minute."""
    found = use_sign_in(request.registry[DIRECTORY].engine, request.site, request.matchdict["token"])
    user = None if found is None else request.dbsession.get(User, found.user_id)
    if found is None or user is None:
        return HTTPNotFound()  # Not raised: the address would be counted as missing, with the token in it.
    response = HTTPSeeOther(request.route_path("editor_home"))
    start_log_in(request, response, user, operator=found.operator)
    return response


def password_error(request: Request, password: str) -> str | None:
    """Return why a new password, which is in the field `repeated` again, cannot be used; None if it can."""
    if not has_password_length(password):
        return translate(
            request,
            "A password has {minimum} to {maximum} characters.",
            minimum=User.min_password_characters,
            maximum=MAX_PASSWORD_CHARACTERS,
        )
    return None if password == field(request, "repeated") else translate(request, "The two passwords are not the same.")


def forgotten(request: Request) -> Any:
    """The form to ask for a link. The response does not tell whether there is such a user."""
    settings: Settings = request.registry[SETTINGS]
    can_send = settings.mail is not None
    if request.method != "POST" or not can_send:
        return variables(request, can_send=can_send)
    login = field(request, "login")
    try:
        count_attempt(request, f"sender {request.remote_addr}", SENDER_LIMIT)
        count_attempt(request, login_key("forgotten", login), FORGOTTEN_LIMIT)
    except TooManyAttempts as error:
        request.response.status_int = 429
        _too_many(request, error, request.response)
        return variables(request, can_send=can_send, error=_pause(request, error))
    user = _find_by_login_or_address(request, login)
    if user is not None and user.email is not None:
        link = request.site_url(request.site, LINK_PATH.replace("{token}", user.make_link(request.site)))
        send_link_later(request, settings, user.email, link)
    done = translate(request, "If there is a user with this login and an e-mail address, a link is on its way.")
    return variables(request, can_send=can_send, done=done)


def _find_by_login_or_address(request: Request, login: str) -> User | None:
    user = User.find(request.dbsession, login)
    if user is not None or "\0" in login:  # PostgreSQL rejects it in parameters.
        return user
    found = request.dbsession.scalars(sa.select(User).where(User.email == login.strip()).limit(2)).all()
    return found[0] if len(found) == 1 else None


def send_link_later(request: Request, settings: Settings, address: str, link: str) -> None:
    """Send a link after the commit, in a thread: the time of the response does not tell whether anything is sent."""
    subject = translate(request, "Your password at {site}", site=request.site.name)
    text = translate(request, "Choose a new password here. The link works once, for {days} days:", days=LINK_DAYS)
    message = make_message(request.site, to=address, subject=subject, text=f"{text}\n\n{link}\n")

    def begin(committed: bool) -> None:
        if committed:
            threading.Thread(target=_send, args=(settings, message), name="multisite-mail").start()

    request.tm.get().addAfterCommitHook(begin)


def _send(settings: Settings, message: EmailMessage) -> None:
    try:
        send(settings, message)
    except MultisiteError as error:
        log.error("a link for a forgotten password was not sent: %s", error)


def includeme(config: Configurator) -> None:
    """Add the pages."""
    config.include("multisite.content.editor.pages")
    add_page(config, "login", "/login", log_in, role=None)
    add_page(config, "logout", "/logout", log_out, "logout", role="author")
    add_page(config, "forgotten", "/login/forgotten", forgotten, "forgotten", role=None)
    add_page(config, "sign_in", r"/login/operator/{token:[\w-]{43}}", sign_in_as_user, role=None)
    add_page(config, "link", r"/login/{token:[\w-]{43}}", choose_password, "link", role=None)
