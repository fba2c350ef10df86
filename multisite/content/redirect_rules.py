"""Redirect rules: which addresses of a site lead to which target. Everything here works on text.

A rule has a path, which is matched without its trailing slash: `/2012/old.html`; `/?p=123` with a query; or `/blog/*`
for every address at and below `/blog`. Its target is a path of the same site or an http(s) URL; if path and target both
end in `/*`, the rest of the address is appended. A rule with status 410 has no target: the page is gone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from multisite import hosts
from multisite.content.errors import quote_value
from multisite.content.limits import PATH_LENGTH, TARGET_LENGTH
from multisite.errors import InvalidHost

__all__ = [
    "STATUSES",
    "InvalidRedirect",
    "Rule",
    "candidates",
    "is_target",
    "location",
    "parse_path",
    "parse_rule",
    "path_key",
]

STATUSES = (301, 302, 410)
"""The statuses of a rule: moved permanently, moved for now, gone."""

MAX_PARAMETERS = 10
"""Parameters of a requested query that are looked up one by one."""

MAX_SEGMENTS = 30
"""Segments of a requested path for which a rule `/…/*` is looked up."""

_UNESCAPED = "/:@!$&'()*+,;=-._~?#[]%"
_INDEX = "/index.html"


class InvalidRedirect(ValueError):
    """A rule that is not valid; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A redirect of one site, in normal form (`parse_rule`). `target` is None only for the status 410."""

    path: str
    target: str | None
    status: int = 301

    def __str__(self) -> str:
        return f"{self.path} is gone (410)" if self.target is None else f"{self.path} to {self.target} ({self.status})"


def parse_rule(path: str, target: str | None, status: int = 301, own_hosts: Collection[str] = ()) -> Rule:
    """Return the rule in normal form.

    Args:
        path: The old address, escaped or not: `/old`, `/?p=123`, `/blog/*`.
        target: A path of the site, an http(s) URL, or None for 410.
        status: One of `STATUSES`.
        own_hosts: The hosts of the site; URLs with one of these must be written as paths, so that loops are found.

    Raises:
        InvalidRedirect: The rule is not valid.
    """
    key = parse_path(path)
    if status not in STATUSES:
        raise InvalidRedirect(f"status {status} is not one of {', '.join(map(str, STATUSES))}")
    if status == 410:
        if target:
            raise InvalidRedirect("status 410 means that the page is gone: it has no target")
        return Rule(key, None, status)
    if not target:
        raise InvalidRedirect("no target: give a path like /entries/new or a URL, or the status 410")
    target = _parse_target(target.strip(), own_hosts)
    if target.endswith("/*") and not key.endswith("/*"):
        raise InvalidRedirect(f"the target {quote_value(target)} ends in /*, but the path does not")
    return Rule(key, target, status)


def parse_path(text: str) -> str:
    """Return the path of a rule in normal form: unescaped, without a trailing slash and `index.html`, query sorted.

    Raises:
        InvalidRedirect: `text` is not a path of a site.
    """
    text = text.strip()
    if not text.startswith("/") or text.startswith("//"):
        raise InvalidRedirect(f"{quote_value(text)} is not a path: it must start with one slash, like /2012/old.html")
    if "#" in text:
        raise InvalidRedirect(f"{quote_value(text)} contains #, but browsers do not send what follows it")
    escaped, mark, query = text.partition("?")
    try:
        path = unquote(escaped, errors="strict")
    except UnicodeDecodeError:
        raise InvalidRedirect(f"{quote_value(text)} is not UTF-8 after its % signs are decoded") from None
    if "*" in path.removesuffix("/*") or ("*" in path and (mark or not escaped.endswith("/*"))):
        raise InvalidRedirect(f"{quote_value(text)}: * is possible only at the end, as in /blog/*")
    key = path_key(path) + (f"?{_sorted_query(query)}" if query else "")
    if not key.isprintable() or "\\" in key:
        raise InvalidRedirect(f"{quote_value(text)} contains a character that is not allowed")
    if len(key) > PATH_LENGTH:
        raise InvalidRedirect(f"{quote_value(text)} has more than {PATH_LENGTH} characters")
    return key


def path_key(path: str) -> str:
    """Return an unescaped path without trailing slashes and without `index.html` at its end."""
    return path.rstrip("/").removesuffix(_INDEX).rstrip("/") or "/"


def _sorted_query(query: str) -> str:
    return urlencode(sorted(parse_qsl(query, keep_blank_values=True)))


def _parse_target(text: str, own_hosts: Collection[str]) -> str:
    if not text.isprintable() or "\\" in text or " " in text:
        raise InvalidRedirect(f"the target {quote_value(text)} contains a character that must be escaped with %")
    target = quote(text, safe=_UNESCAPED)
    if len(target) > TARGET_LENGTH:
        raise InvalidRedirect(f"the target {quote_value(text)} has more than {TARGET_LENGTH} characters")
    if "*" in target.removesuffix("/*"):
        raise InvalidRedirect(f"the target {quote_value(text)}: * is possible only at the end, as in /entries/*")
    if text.startswith("/") and not text.startswith("//"):
        return target
    host = _host_of(text)
    if host in own_hosts:
        raise InvalidRedirect(f"the target {quote_value(text)} is on this site: write it as a path")
    return target


def is_target(text: str) -> bool:
    """Return whether `text` is a target in normal form. That of a row which an archive contains may be anything."""
    try:
        return _parse_target(text, ()) == text
    except InvalidRedirect:
        return False


def _host_of(url: str) -> str:
    """Return the host of an http(s) URL. Raises `InvalidRedirect` for anything else."""
    try:
        scheme, netloc, *_ = urlsplit(url)
        if scheme not in ("http", "https") or "@" in netloc:
            raise ValueError(scheme)
        return hosts.parse(netloc, underscores=True).name
    except (ValueError, InvalidHost):
        raise InvalidRedirect(
            f"the target {quote_value(url)} is neither a path that starts with one slash nor a http(s) URL"
        ) from None


def candidates(path: str, query: str = "") -> list[str]:
    """Return the paths of the rules that match an address, the best match first.

    Args:
        path: The requested path, unescaped.
        query: The requested query, escaped.
    """
    key = path_key(path)
    found = []
    if query:
        pairs = sorted(parse_qsl(query, keep_blank_values=True, errors="replace"))
        found.append(f"{key}?{urlencode(pairs)}")
        # Other parameters, such as those of campaigns, are added to old addresses.
        found += [f"{key}?{urlencode([pair])}" for pair in pairs[:MAX_PARAMETERS]]
    found.append(key)
    segments = key.split("/")[1 : MAX_SEGMENTS + 1] if key != "/" else []
    found += ["/".join(["", *segments[:end], "*"]) for end in range(len(segments), -1, -1)]
    # No rule has another path, and PostgreSQL rejects NUL in parameters.
    return [each for each in dict.fromkeys(found) if len(each) <= PATH_LENGTH and each.isprintable()]


def location(rule: Rule, path: str, query: str = "") -> str:
    """Return where `rule` leads from a requested address: an escaped path of the same site, or a URL.

    The query is kept, unless the rule's path or target has one of its own.
    """
    target = rule.target or "/"
    if target.endswith("/*") and rule.path.endswith("/*"):
        rest = path_key(path)[len(rule.path) - 2 :]
        target = target[:-2] + quote(rest, safe="/:@!$&'()*+,;=-._~") or "/"
        if target.startswith("/"):  # Two slashes would make the rest a host, and the visitor would choose it.
            target = f"/{target.lstrip('/')}"
    parts = urlsplit(target)
    if query and not parts.query and "?" not in rule.path:
        parts = parts._replace(query=quote(query, safe=_UNESCAPED.replace("#", "")))
    return urlunsplit(parts)
