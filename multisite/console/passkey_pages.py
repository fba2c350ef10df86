"""Log in by a passkey, enter one again before what cannot be undone, and add or remove one's own.

The script `passkeys.js` asks for options, hands them to the browser, and sends the browser's answer in a form.
"""

from __future__ import annotations

import logging
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response

from multisite.console.account_pages import account_page
from multisite.console.log_ins import confirm_log_in, count_login_attempt
from multisite.console.login_pages import enter, own_path, too_many
from multisite.console.operators import Operator
from multisite.console.pages import add_page, done, login_form, translate
from multisite.console.passkeys import (
    MAX_NAME_CHARACTERS,
    RelyingParty,
    add_passkey,
    check_passkey,
    log_in_options,
    registration_options,
    remove_passkey,
    rename_passkey,
)
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.users import TooManyAttempts

__all__ = ["includeme"]

log = logging.getLogger(__name__)


def _party(request: Request) -> RelyingParty:
    # The host was compared with the setting before the request came here, and the browser signs its own origin.
    return RelyingParty(request.console.settings.console_host, f"{request.scheme}://{request.host}".lower())


def _json(text: str, status: int = 200) -> Response:
    return Response(text, status=status, content_type="application/json", charset="utf-8")


def log_in_challenge(request: Request) -> Response:
    """The options for a log-in; a GET shows nothing."""
    if request.method != "POST":
        raise HTTPNotFound
    try:
        count_login_attempt(request, None)
    except TooManyAttempts as error:
        return Response(too_many(request, error), status=429, content_type="text/plain")
    return _json(log_in_options(request.console.engine, _party(request)))


def _check(request: Request) -> Operator | None:
    if request.method != "POST":
        raise HTTPNotFound
    return check_passkey(request.console.engine, field(request, "credential"), _party(request))


def log_in(request: Request) -> Response:
    """Log in by what the browser has answered."""
    found = _check(request)
    if found is None:
        return login_form(request, status=403, error=translate(request, "This passkey does not log in here."))
    return enter(request, found)


def confirm(request: Request) -> Response:
    """Accept a passkey in place of password and code, before what cannot be undone."""
    found = _check(request)
    if found is None or found.id != request.log_in.operator.id:
        error = translate(request, "This passkey does not log in here.")
        return login_form(request, status=403, error=error, is_again=True)
    confirm_log_in(request)
    return HTTPSeeOther(own_path(field(request, "next")))


def challenge(request: Request) -> Response:
    """The options with which the browser makes a passkey; a GET shows nothing."""
    if request.method != "POST":
        raise HTTPNotFound
    try:
        return _json(registration_options(request.console.engine, request.log_in.operator, _party(request)))
    except MultisiteError as error:
        return Response(translate(request, str(error)), status=400, content_type="text/plain", charset="utf-8")


def add(request: Request) -> Any:
    """Add the passkey that the browser has made."""
    if request.method != "POST":
        raise HTTPNotFound
    engine, operator = request.console.engine, request.log_in.operator
    try:
        add_passkey(engine, operator, field(request, "credential"), field(request, "name"), _party(request))
    except MultisiteError as error:
        return account_page(request, translate(request, str(error)))
    return done(request, "passkey", "account")


def rename(request: Request) -> Any:
    """Rename one of the operator's passkeys; a GET shows nothing."""
    engine, operator = request.console.engine, request.log_in.operator
    try:
        is_renamed = request.method == "POST" and rename_passkey(
            engine, operator, int(request.matchdict["id"]), field(request, "name")
        )
    except MultisiteError:
        return account_page(
            request, translate(request, "A name has 1 to {number} characters.", number=MAX_NAME_CHARACTERS)
        )
    if not is_renamed:
        raise HTTPNotFound
    return done(request, "saved", "account")


def remove(request: Request) -> Any:
    """Remove one of the operator's passkeys; a GET shows nothing."""
    is_removed = request.method == "POST" and remove_passkey(
        request.console.engine, request.log_in.operator, int(request.matchdict["id"])
    )
    if not is_removed:
        raise HTTPNotFound
    return done(request, "saved", "account")


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "passkey_challenge", "/login/passkey/challenge", log_in_challenge, role=None)
    add_page(config, "passkey_log_in", "/login/passkey", log_in, role=None)
    add_page(config, "passkey_confirm", "/confirm/passkey", confirm, role="look")
    add_page(config, "new_passkey", "/account/passkeys/challenge", challenge, role="look", is_dangerous=True)
    add_page(config, "passkeys", "/account/passkeys", add, "account", role="look", is_dangerous=True)
    one = r"/account/passkeys/{id:[1-9]\d{0,17}}"
    add_page(config, "rename_passkey", f"{one}/rename", rename, "account", role="look", is_dangerous=True)
    add_page(config, "remove_passkey", f"{one}/remove", remove, role="look", is_dangerous=True)
