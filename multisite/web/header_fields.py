"""Remove unreadable header fields from a request before anything parses them.

WebOb, with which Pyramid parses requests, raises errors for some fields while the response is being sent, outside of
all tweens and exception views, and takes quadratic time for others, while holding the GIL. This module follows the
RFCs instead:

- An invalid date or range is ignored (RFC 9110 sections 13.1.3, 13.1.4 and 14.2). If `If-Range` is invalid, its
  condition is false, and `Range` is ignored (section 13.1.5).
- A long `Cookie` is reduced to its name-value pairs, which are all that WebOb reads.
- A field that is too long causes a 431 (RFC 6585 section 5): ignoring it would be unsafe (RFC 9110 section 5.4).

Fields that WebOb parses in linear time without errors are not checked.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from datetime import UTC, datetime
from email.utils import mktime_tz, parsedate_tz
from typing import Any

from multisite.core.lazy import lazy_pattern

__all__ = [
    "MAX_CONTENT_TYPE_CHARACTERS",
    "MAX_COOKIE_CHARACTERS",
    "MAX_CREDENTIALS_CHARACTERS",
    "SHORT_COOKIE_CHARACTERS",
    "clean",
    "readable_cookies",
]

MAX_COOKIE_CHARACTERS = 65_536
"""Maximum length of `Cookie`: sixteen cookies of the size that every browser supports (RFC 6265 section 6.1)."""

MAX_CONTENT_TYPE_CHARACTERS = 1_000
"""Maximum length of `Content-Type`: its longest parameter, a form boundary, has 70 characters (RFC 2046)."""

MAX_CREDENTIALS_CHARACTERS = 2_000
"""Maximum length of `Authorization` with parameters. Bearer and Negotiate tokens, not parsed, may be longer."""

SHORT_COOKIE_CHARACTERS = 500
"""Up to this length, parsing a `Cookie` takes WebOb a few milliseconds at worst."""

_MAX_DATE_CHARACTERS = 100
_MAX_RANGE_CHARACTERS = 1_000

_RANGE = lazy_pattern(r"bytes=[ \t]*(?:[0-9]{1,18}-(?:[0-9]{1,18})?|-[0-9]{1,18})(?=[ \t]*(?:,|\Z))", re.IGNORECASE)
"""The start of a list of ranges (RFC 9110 section 14.1.1), of which WebOb reads the first."""

_DATE = lazy_pattern(
    "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    " (?:19|20)[0-9]{2} [0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT"
)
"""The preferred date format (RFC 9110 section 5.6.7), which can always be parsed."""

_LEGAL = r"[\w~!@#$%^&*()+=\-`.?|:/{}<>']"
"""The characters that WebOb accepts in names and unquoted values, `=` included."""

_PLAIN = lazy_pattern(r"(?:[\w~!@#$%^&*()+\-`.?|:/{}<>']{1,100}=[\w~!@#$%^&*()+=\-`.?|:/{}<>']*(?:; ?|\Z))*", re.ASCII)
"""Cookies as browsers send them for most applications, which WebOb parses in linear time."""

_VALUE = rf'"(?:\\"|.)*?"|\w{{3}},\s[\w\d-]{{9,11}}\s[\d:]{{8}}\sGMT|(?:{_LEGAL}|\\(?:[0-3][0-7][0-7]|.))*'

_COOKIE = lazy_pattern(rf"({_LEGAL}+?)\s*=\s*({_VALUE})|{_LEGAL}+", re.ASCII)
"""A cookie as WebOb parses it, or a whole run of characters in which no cookie starts.

WebOb scans such a run to its end again from each of its characters.
"""

_SCHEMES_WITH_PARAMETERS = ("Basic", "Digest", "WSSE", "HMACDigest", "GoogleLogin", "Cookie", "OpenID")
"""The schemes whose parameters WebOb parses (`request.authorization`)."""

Environ = MutableMapping[str, Any]


def clean(environ: Environ) -> str | None:
    """Remove unreadable header fields from `environ`.

    Returns:
        The name of a field that is too long, which is not removed; None if there is none.
    """
    for key in ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE"):
        if key in environ and not _is_valid_date(environ[key]):
            del environ[key]
    if "HTTP_RANGE" in environ and not (_is_valid_range(environ["HTTP_RANGE"]) and _is_valid_if_range(environ)):
        del environ["HTTP_RANGE"]
        # Without a Range it is ignored (RFC 9110 section 13.1.5).
        environ.pop("HTTP_IF_RANGE", None)
    # Pyramid's traversal reads this field of requests that match no route.
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
    """Return `header` with only the cookies that WebOb parses, so that parsing takes linear time."""
    if _PLAIN.fullmatch(header):
        return header
    return "; ".join(f"{match[1]}={match[2]}" for match in _COOKIE.finditer(header) if match[1])


def _is_valid_date(text: str) -> bool:
    """Return whether `text` is a date in one of the formats of RFC 9110 that Python can represent."""
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
        # The e-mail date parser accepts impossible years, months and offsets.
        return False
    return True


def _is_utf8(text: str) -> bool:
    try:
        text.encode("latin-1").decode()
    except UnicodeError:
        return False
    return True


def _is_valid_range(text: str) -> bool:
    return len(text) <= _MAX_RANGE_CHARACTERS and _RANGE.match(text) is not None


def _is_valid_if_range(environ: Environ) -> bool:
    """Return whether `If-Range` is absent, an entity tag or a date."""
    text = environ.get("HTTP_IF_RANGE")
    # WebOb recognizes a date by its end.
    return text is None or ('"' in text and not text.endswith(" GMT")) or _is_valid_date(text)
