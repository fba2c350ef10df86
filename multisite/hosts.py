"""Hosts: from the text of a Host header, or of a person, to the one form in which a host is stored and asked for.

Nothing below an application validates Host, so `parse` is pure, total and strict, and is used for storing and for
asking alike: two texts mean the same host exactly if they parse to equal values. `to_ascii` is for people who type
names on the command line, never for requests.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from multisite.errors import InvalidHost, shorten

__all__ = ["MAX_NAME_CHARACTERS", "Host", "parse", "to_ascii"]

MAX_NAME_CHARACTERS = 253
"""The longest name that DNS can carry, written without its trailing dot."""

_MAX_TEXT_CHARACTERS = MAX_NAME_CHARACTERS + len(".:65535")
_MAX_TYPED_CHARACTERS = 4 * MAX_NAME_CHARACTERS
"""What a person may type: UTS 46 can make a name shorter, but not by much, and must not be fed a megabyte."""

# The quantifiers are possessive, so that no text makes the pattern try a label twice: the time is linear.
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}+(?<!-)"
_PORT = r"(?::([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"  # 1 to 65535
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"

_LABELS = rf"(?:{_LABEL}\.(?=[A-Za-z0-9]))*+"  # all but the last; a dot at the very end is not theirs
_COMMON = re.compile(rf"({_LABELS}(?=[A-Za-z]){_LABEL})\.?{_PORT}")
"""What nearly every request has: a name whose last label begins with a letter, and so cannot be read as a number."""

_UNCOMMON = re.compile(rf"({_LABELS}({_LABEL}))\.?{_PORT}")
_QUAD = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}")
_NUMBER = re.compile(r"[0-9]+|0[Xx][0-9A-Fa-f]*")
_BRACKETED = re.compile(rf"(\[([0-9a-f:]{{2,39}})\]){_PORT}")


class Host(NamedTuple):
    """A host in its one canonical form. `str()` gives `name` or `name:port`, which parses to the same value.

    `name` is a lower-case ASCII name without trailing dot, a dotted quad, or an IPv6 address in brackets. `port` is
    None where the text had none; whether that means 80 or 443 is for the scheme to say.
    """

    name: str
    port: int | None = None

    def __str__(self) -> str:
        return self.name if self.port is None else f"{self.name}:{self.port}"


def parse(text: str) -> Host:
    """Return the `Host` that `text` spells, as it stands in a Host header.

    Raises `InvalidHost` for everything that is not exactly a host with an optional port; nothing else is raised,
    whatever is given.
    """
    if not isinstance(text, str):
        raise InvalidHost(f"<{type(text).__name__}>", "it is not a text")
    if len(text) > _MAX_TEXT_CHARACTERS:
        raise InvalidHost(text, f"it is longer than {MAX_NAME_CHARACTERS} characters")
    match = _COMMON.fullmatch(text)
    if match is None:
        return _parse_uncommon(text)
    name, port = match.groups()
    return _host(text, name.lower(), port)


def _host(text: str, name: str, port: str | None) -> Host:
    if len(name) > MAX_NAME_CHARACTERS:
        raise InvalidHost(text, f"it is longer than {MAX_NAME_CHARACTERS} characters")
    # The pattern has already limited the port to five ASCII digits, so int() can neither fail nor be slow.
    return Host(name, None if port is None else int(port))


def _parse_uncommon(text: str) -> Host:
    if text.startswith("["):
        return _parse_bracketed(text)
    match = _UNCOMMON.fullmatch(text)
    if match is None:
        raise InvalidHost(text, _why_not(text))
    name, last_label, port = match.groups()
    if _NUMBER.fullmatch(last_label) and not _QUAD.fullmatch(name):
        # Software reads such names as addresses in more ways than one: 127.1 is 127.0.0.1 to a browser.
        raise InvalidHost(text, "its last part is a number, but it is not an address of four numbers from 0 to 255")
    return _host(text, name.lower(), port)


def _parse_bracketed(text: str) -> Host:
    match = _BRACKETED.fullmatch(text)
    if match is None:
        raise InvalidHost(text, "it is not an IPv6 address in brackets, in lower-case hexadecimal")
    name, address, port = match.groups()
    try:
        normal = _normal_ipv6(ipaddress.IPv6Address(address))
    except ValueError:
        raise InvalidHost(text, "it is not an IPv6 address in brackets") from None
    if address != normal:
        raise InvalidHost(text, f"the normal form of this address is [{normal}]")
    return _host(text, name, port)


def _normal_ipv6(address: ipaddress.IPv6Address) -> str:
    """Return `address` in the form of RFC 5952, always in hexadecimal, as browsers send it.

    `str(address)` would not do: since Python 3.13 it writes addresses that hold an IPv4 address with dots.
    """
    groups = ":".join(f"{int.from_bytes(address.packed[i : i + 2]):x}" for i in range(0, 16, 2))
    longest = max(re.findall(r"(?<![0-9a-f])0(?::0)+(?![0-9a-f])", groups), key=len, default=None)
    if longest is None:
        return groups
    before, after = re.split(rf"(?<![0-9a-f]){longest}(?![0-9a-f])", groups, maxsplit=1)
    return f"{before.rstrip(':')}::{after.lstrip(':')}"


_FAULTS = (
    (r"^$", "it is empty"),
    (r"([^\x00-\x7f])", "'{}' is outside of ASCII (write such names in their xn-- form)"),
    (r"^[^:]*?([^A-Za-z0-9.:-])", "a host has letters, digits, hyphens and dots, but not '{}'"),
    (r"^\.|^:|^[^:]*\.\.", "a part between the dots is empty"),
    (r"^[^:]*?[^.:]{64}", "a part between the dots is longer than 63 characters"),
    (r"^-|^[^:]*?(?:\.-|-[.:]|-$)", "a part between the dots begins or ends with a hyphen"),
    (r"(:.*)", "'{}' is not a port: a number from 1 to 65535 without leading zeros"),
)
"""What can be wrong with a text of at most 260 characters, in the order in which it is told."""


def _why_not(text: str) -> str:
    """Return which rule is broken first by `text`, which is not a name with an optional port."""
    return _first_fault(_FAULTS, text) or "it is not a name with an optional port"


def _first_fault(faults: tuple[tuple[str, str], ...], text: str) -> str | None:
    for pattern, reason in faults:
        match = re.search(pattern, text, re.DOTALL)
        if match:
            return reason.format(*map(shorten, match.groups()))
    return None


def to_ascii(text: str, *, allow_mixed: bool = False) -> str:
    """Return the host name that a person means by `text`, as it is stored: `Bücher.example` is `xn--bcher-kva.example`.

    Names are mapped by UTS 46 and checked by IDNA 2008. Labels that mix scripts in a way no language does are refused
    unless `allow_mixed`, since they are how a name is made to look like another's. Raises `InvalidHost` with a reason
    that says what to change; a port is refused too.
    """
    if not isinstance(text, str):
        raise InvalidHost(f"<{type(text).__name__}>", "it is not a text")
    if len(text) > _MAX_TYPED_CHARACTERS:
        raise InvalidHost(text, f"it is longer than {MAX_NAME_CHARACTERS} characters")
    reason = _first_fault(_TYPED_FAULTS, text)
    if reason:
        raise InvalidHost(text, reason)
    if text.isascii() and "xn--" not in text.lower():
        return parse(text).name
    return _idna(text, allow_mixed)


_TYPED_FAULTS = (
    (r"^\s*$", "it is empty"),
    (r"^(.*?://)", "leave out {}, only the host is needed"),
    (r"\s", "leave out the white space"),
    (r"^([^/?#\\]*@)", "leave out {}, only the host is needed"),
    (r"([/?#\\].*)", "leave out the path {}, only the host is needed"),
    (r"\*", "a domain cannot hold a *, add each host that the site has"),
    (r"^(?:\[.*\]|[^:\[]*)(:[0-9]*)$", "leave out the port {}, a site answers on every port of its host"),
)
"""What people type where a host is meant, and what to leave out."""


def _idna(text: str, allow_mixed: bool) -> str:
    # Only the command line comes here, and idna's tables cost a tenth of a second to load.
    import idna

    try:
        name = parse(idna.encode(text, uts46=True).decode("ascii")).name
        labels = [idna.decode(label) for label in name.split(".")]
    except idna.IDNAError as error:
        raise InvalidHost(text, shorten(error)) from None
    except InvalidHost as error:
        raise InvalidHost(text, error.reason) from None
    for label in labels:
        scripts = _scripts(label)
        if not allow_mixed and not any(scripts <= usual for usual in (*_USUAL_MIXTURES, set(list(scripts)[:1]))):
            found = " and ".join(sorted(scripts))
            raise InvalidHost(text, f"'{shorten(label)}' mixes letters of {found}, as names do that imitate another")
    return name


_USUAL_MIXTURES: tuple[set[str], ...] = (
    {"LATIN", "CJK", "HIRAGANA", "KATAKANA"},
    {"LATIN", "CJK", "BOPOMOFO"},
    {"LATIN", "CJK", "HANGUL"},
)
"""What Japanese, Chinese and Korean mix in ordinary names: the highly restrictive level of UTS 39."""


def _scripts(label: str) -> set[str]:
    """Return the scripts of the letters in `label`, by the first word of their Unicode names.

    The standard library has no script property. The first word is the script for every letter that IDNA 2008 allows
    and that is in use today, but for those that several scripts share, which are left out.
    """
    import unicodedata

    words = {
        unicodedata.name(character, "UNNAMED").split()[0]
        for character in label
        if unicodedata.category(character).startswith("L")
    }
    shared = {"MODIFIER", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"}
    return words - shared
