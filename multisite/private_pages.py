"""What pages for people who are logged in have in common: their headers, and how their forms are read and checked.

The editor of the reference application and the operator's console use it.
"""

from __future__ import annotations

import hmac
import unicodedata

from pyramid.httpexceptions import (
    HTTPBadRequest,
    HTTPLengthRequired,
    HTTPMethodNotAllowed,
    HTTPRequestEntityTooLarge,
    HTTPUnsupportedMediaType,
)
from pyramid.request import Request
from pyramid.response import Response

from multisite.users import Account
from multisite.users.passwords import MAX_PASSWORD_CHARACTERS

__all__ = [
    "HEADERS",
    "check_method",
    "check_token",
    "csrf_token",
    "field",
    "has_password_length",
    "has_token",
    "printable",
    "protect",
    "read_form",
]

HEADERS = {
    # No inline script or style, nothing from elsewhere, and no other page around this one.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Not no-referrer, with which browsers send forms with the Origin null.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}
"""Headers of every such page."""

METHODS = ("GET", "HEAD", "POST")

MAX_FORM_FIELDS = 1000
"""Fields of a form. Anybody may send one to the log-in, and of twenty megabytes it could have ten million."""

FORM_TYPE = "application/x-www-form-urlencoded"
"""The media type of all forms. The fields of other types are not counted before they are parsed."""


def protect(response: Response) -> Response:
    """Add the headers to a response."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def check_method(request: Request) -> None:
    """Raise `HTTPMethodNotAllowed` unless the method is GET, HEAD or POST."""
    if request.method not in METHODS:
        raise HTTPMethodNotAllowed(headers={"Allow": ", ".join(METHODS)})


def read_form(request: Request, max_bytes: int) -> None:
    """Read the form into memory. WebOb would write a long one to a file, and leave closing it to the collector.

    Raises:
        HTTPLengthRequired: The request does not say how long the form is.
        HTTPRequestEntityTooLarge: It is longer than `max_bytes`, or has more fields than any form.
        HTTPUnsupportedMediaType: It is not sent as the forms of these pages are.
    """
    if request.content_length is None:
        raise HTTPLengthRequired
    if request.content_length > max_bytes:
        raise HTTPRequestEntityTooLarge
    body = request.body_file.read(request.content_length)
    if body and request.content_type != FORM_TYPE:
        raise HTTPUnsupportedMediaType
    if body.count(b"&") >= MAX_FORM_FIELDS:
        raise HTTPRequestEntityTooLarge
    request.body = body


def field(request: Request, name: str) -> str:
    """Return a field of the form; empty if it is missing, or was sent as a file."""
    value = request.POST.get(name)
    return value if isinstance(value, str) else ""


def csrf_token(token: str) -> str:
    """Return the token that the forms of the log-in with this random `token` contain."""
    return hmac.new(token.encode("utf-8", "replace"), b"csrf", "sha256").hexdigest()


def check_token(request: Request, expected: str) -> None:
    """Raise `HTTPBadRequest` unless the form contains the token of its log-in."""
    if not has_token(field(request, "csrf_token"), expected):
        raise HTTPBadRequest("The form has no valid csrf_token.")


def has_token(sent: str, expected: str) -> bool:
    """Return whether the token of a form is that of its log-in."""
    return hmac.compare_digest(sent.encode("utf-8", "replace"), expected.encode())


def has_password_length(password: str) -> bool:
    """Return whether a new password is neither too short nor too long."""
    # Counted as `new_password_hash` does; the length first, since normalizing takes quadratic time.
    text = unicodedata.normalize("NFKC", password) if len(password) <= MAX_PASSWORD_CHARACTERS else ""
    return Account.min_password_characters <= len(text) <= MAX_PASSWORD_CHARACTERS


def printable(text: str, length: int) -> str:
    """Return the beginning of a text that a browser has sent, such as its own name, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)[:length]
