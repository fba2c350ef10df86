"""Request header fields: those that nobody can read are taken out before anything parses them; pure.

WebOb, by which Pyramid parses requests, raises for some of them while the response is already being sent, where no
tween and no exception view is around it, and takes quadratic time for others, in which no other thread runs. What is
done here instead follows the RFCs:

- A date or a range that is not one is ignored, as if the client had not sent it (RFC 9110 sections 13.1.3, 13.1.4 and
  14.2). With an `If-Range` that cannot be read the condition is not true, and then there is no `Range` (13.1.5).
- Of a long `Cookie` only the pairs of a name and a value are left, which are all that WebOb reads in it.
- A field that is longer than anybody needs is for a 431 (RFC 9110 section 5.4: ignoring it would be unsafe; RFC 6585
  section 5).

Fields that WebOb reads in linear time and without an error, whatever they hold, are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from datetime import UTC, datetime
from email.utils import mktime_tz, parsedate_tz
from typing import Any

__all__ = [
    "MAX_CONTENT_TYPE_CHARACTERS",
    "MAX_COOKIE_CHARACTERS",
    "MAX_CREDENTIALS_CHARACTERS",
    "SHORT_COOKIE_CHARACTERS",
    "clean",
    "readable_cookies",
]

MAX_COOKIE_CHARACTERS = 65_536
"""The longest `Cookie`: sixteen of the longest cookies that every browser must keep (RFC 6265 section 6.1)."""

MAX_CONTENT_TYPE_CHARACTERS = 1_000
"""The longest `Content-Type`: its longest parameter, the boundary of a form, has 70 characters (RFC 2046)."""

MAX_CREDENTIALS_CHARACTERS = 2_000
"""The longest `Authorization` with parameters. Tokens, as of Bearer and Negotiate, are not parsed and may be longer."""

SHORT_COOKIE_CHARACTERS = 500
"""A `Cookie` up to this length takes WebOb a few milliseconds at worst."""

_MAX_DATE_CHARACTERS = 100
_MAX_RANGE_CHARACTERS = 1_000

_RANGE = re.compile(r"bytes=[ \t]*(?:[0-9]{1,18}-(?:[0-9]{1,18})?|-[0-9]{1,18})(?=[ \t]*(?:,|\Z))", re.IGNORECASE)
"""The beginning of a list of ranges (RFC 9110 section 14.1.1), of which WebOb reads the first."""

_DATE = re.compile(
    "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    " (?:19|20)[0-9]{2} [0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT"
)
"""What all clients of today send (RFC 9110 section 5.6.7), and what can always be read."""

_LEGAL = r"[\w~!@#$%^&*()+=\-`.?|:/{}<>']"
"""The characters that WebOb takes for those of a name or of a value without quotes; `=` is one of them."""

_PLAIN = re.compile(r"(?:[\w~!@#$%^&*()+\-`.?|:/{}<>']{1,100}=[\w~!@#$%^&*()+=\-`.?|:/{}<>']*(?:; ?|\Z))*", re.ASCII)
"""The cookies that browsers send for most applications, in which WebOb finds one after the other."""

_VALUE = rf'"(?:\\"|.)*?"|\w{{3}},\s[\w\d-]{{9,11}}\s[\d:]{{8}}\sGMT|(?:{_LEGAL}|\\(?:[0-3][0-7][0-7]|.))*'

_COOKIE = re.compile(rf"({_LEGAL}+?)\s*=\s*({_VALUE})|{_LEGAL}+", re.ASCII)
"""A cookie as WebOb reads it, or else a run of characters in which none begins, as a whole.

WebOb looks for a cookie at each character of such a run once more, always up to its end.
"""

_SCHEMES_WITH_PARAMETERS = ("Basic", "Digest", "WSSE", "HMACDigest", "GoogleLogin", "Cookie", "OpenID")
"""The schemes whose parameters WebOb parses (`request.authorization`)."""

Environ = MutableMapping[str, Any]


def clean(environ: Environ) -> str | None:
    """Take out of a WSGI environ the header fields that cannot be read.

    Returns the name of a field that is longer than anybody needs, which is then still there; None if there is none.
    """
    for key in ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE"):
        if key in environ and not _is_date(environ[key]):
            del environ[key]
    if "HTTP_RANGE" in environ and not (_is_range(environ["HTTP_RANGE"]) and _is_condition(environ)):
        del environ["HTTP_RANGE"]
        # Without a Range it says nothing (RFC 9110 section 13.1.5).
        environ.pop("HTTP_IF_RANGE", None)
    # The root of Pyramid's traversal, which reads it wherever it looks for a page that no route fits.
    if "HTTP_X_VHM_ROOT" in environ and not _is_utf8(environ["HTTP_X_VHM_ROOT"]):
        del environ["HTTP_X_VHM_ROOT"]
    cookie = environ.get("HTTP_COOKIE", "")
    if len(cookie) > MAX_COOKIE_CHARACTERS:
        return "Cookie"
    if len(cookie) > SHORT_COOKIE_CHARACTERS:
        environ["HTTP_COOKIE"] = readable_cookies(cookie)
    if len(environ.get("CONTENT_TYPE", "")) > MAX_CONTENT_TYPE_CHARACTERS:
        return "Content-Type"
    credentials = environ.get("HTTP_AUTHORIZATION", "")
    if len(credentials) > MAX_CREDENTIALS_CHARACTERS and credentials.startswith(_SCHEMES_WITH_PARAMETERS):
        return "Authorization"
    return None


def readable_cookies(header: str) -> str:
    """Return a `Cookie` header of the cookies that WebOb reads in `header`, which it then reads in linear time."""
    if _PLAIN.fullmatch(header):
        return header
    return "; ".join(f"{match[1]}={match[2]}" for match in _COOKIE.finditer(header) if match[1])


def _is_date(text: str) -> bool:
    """Tell whether `text` is a date that Python can represent, in any of the forms that RFC 9110 admits."""
    if _DATE.fullmatch(text):
        return True
    if len(text) > _MAX_DATE_CHARACTERS:
        return False
    try:
        parsed = parsedate_tz(text)
        if parsed is None:
            return False
        datetime.fromtimestamp(mktime_tz((*parsed[:9], parsed[9] or 0)), UTC)
    except (ValueError, OverflowError, OSError, TypeError, IndexError):
        # The parser is for mail, and lets through years, months and offsets that no calendar has.
        return False
    return True


def _is_utf8(text: str) -> bool:
    try:
        text.encode("latin-1").decode()
    except UnicodeError:
        return False
    return True


def _is_range(text: str) -> bool:
    return len(text) <= _MAX_RANGE_CHARACTERS and _RANGE.match(text) is not None


def _is_condition(environ: Environ) -> bool:
    """Tell whether `If-Range` is not there, or is an entity tag or a date."""
    text = environ.get("HTTP_IF_RANGE")
    # WebOb tells a date by its end.
    return text is None or ('"' in text and not text.endswith(" GMT")) or _is_date(text)
