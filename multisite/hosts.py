"""Hosts: from the text of a Host header, or of a person, to the one form in which a host is stored and asked for.

Nothing below an application validates Host, so `parse` is pure, total and strict, and is used for storing and for
asking alike: two texts mean the same host exactly if they parse to equal values. `to_ascii` is for people who type
names on the command line, never for requests.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

from multisite.errors import InvalidHost, escape_for_message

__all__ = ["MAX_NAME_CHARACTERS", "Host", "parse", "to_ascii"]

MAX_NAME_CHARACTERS = 253
"""The longest name that DNS can carry, written without its trailing dot."""

_MAX_TEXT_CHARACTERS = MAX_NAME_CHARACTERS + len(".:65535")
_MAX_TYPED_CHARACTERS = 4 * MAX_NAME_CHARACTERS
"""What a person may type: UTS 46 can make a name shorter, but not by much, and must not be fed a megabyte."""

# No possessive quantifiers and no atomic groups: `re` of Python 3.11.2, which Debian 12 has, matches them wrongly
# inside groups. The time is linear in the length without them, because at each character of a text these patterns can
# go on in one way only. What a pattern would need lookarounds for is asked of the text itself.
_PORT = r"(?::([1-9][0-9]{0,4}))?"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"

_NAME = re.compile(rf"([A-Za-z0-9][A-Za-z0-9.-]*){_PORT}")
"""A name by its characters and its first one, and a port: `parse` checks the labels in the text itself."""

_UNDERSCORED_NAME = re.compile(rf"([A-Za-z0-9_][A-Za-z0-9._-]*){_PORT}")
"""The same where an underscore may stand wherever a letter may, as in labels of DNS (RFC 2181 section 11)."""

_match_name = _NAME.fullmatch  # Looked up once, for every request.

_QUAD = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_BRACKETED = re.compile(rf"\[([0-9A-Fa-f:.]{{2,45}})\]{_PORT}")
"""An IPv6 address by its characters and its greatest length, which is that of six groups and a dotted quad."""

_MAX_LABEL_CHARACTERS = 63
"""The longest part of a name between its dots (RFC 1035 section 2.3.4)."""

_MAX_PORT = 65535

_DIGITS = frozenset("0123456789")

_ENDS_OF_NUMBERS = frozenset("0123456789abcdefx")
"""What the last label of a name ends with if it can be read as a number: nearly all end with another letter."""


class Host(NamedTuple):
    """A host in its one canonical form. `str()` gives `name` or `name:port`, which parses to the same value.

    `name` is a lower-case ASCII name without trailing dot, a dotted quad, or an IPv6 address in brackets. `port` is
    None where the text had none; whether that means 80 or 443 is for the scheme to say.
    """

    name: str
    port: int | None = None

    def __str__(self) -> str:
        return self.name if self.port is None else f"{self.name}:{self.port}"


def parse(text: str, *, underscores: bool = False) -> Host:
    """Return the `Host` that `text` spells, as it stands in a Host header.

    With `underscores` an underscore counts as a letter: RFC 1123 section 2.1 has none in host names, but DNS can carry
    them, and they are in use. An IPv6 address may have any form that RFC 3986 section 3.2.2 allows, and gets the one of
    RFC 5952.

    Raises `InvalidHost` for everything that is not exactly a host with an optional port; nothing else is raised,
    whatever is given.
    """
    if not isinstance(text, str):
        raise InvalidHost(f"<{type(text).__name__}>", "it is not a text")
    if len(text) > _MAX_TEXT_CHARACTERS:
        raise InvalidHost(text, f"it is longer than {MAX_NAME_CHARACTERS} characters")
    match = _UNDERSCORED_NAME.fullmatch(text) if underscores else _match_name(text)
    if match is None:
        return _parse_bracketed(text, underscores)
    name, port = match.groups()
    name = name.lower()
    if name[-1] == ".":
        name = name[:-1]
    if ".." in name or name[-1] == "." or ("-" in name and _has_bad_edge(name)):
        raise InvalidHost(text, _why_not(text, underscores))
    if len(name) > _MAX_LABEL_CHARACTERS and not _fits(name):
        raise InvalidHost(text, _why_not(text, underscores))
    if name[-1] in _ENDS_OF_NUMBERS and not _is_quad_or_name(name):
        # Software reads such names as addresses in more ways than one: 127.1 is 127.0.0.1 to a browser.
        raise InvalidHost(text, "its last part is a number, but it is not an address of four numbers from 0 to 255")
    return Host(name, None if port is None else _port(text, port))


def _has_bad_edge(name: str) -> bool:
    """Return whether a label begins or ends with a hyphen; that the first does not is known."""
    return ".-" in name or "-." in name or name[-1] == "-"


def _fits(name: str) -> bool:
    return len(name) <= MAX_NAME_CHARACTERS and max(map(len, name.split("."))) <= _MAX_LABEL_CHARACTERS


def _is_quad_or_name(name: str) -> bool:
    """Return whether `name` is a dotted quad, or cannot be taken for an address (WHATWG URL, "ends in a number")."""
    last = name[name.rfind(".") + 1 :]
    return last[0] not in _DIGITS or _NUMBER.fullmatch(last) is None or _QUAD.fullmatch(name) is not None


def _port(text: str, digits: str) -> int:
    # The pattern has limited the port to five ASCII digits, so int() can neither fail nor be slow.
    port = int(digits)
    if port > _MAX_PORT:
        raise InvalidHost(text, _NOT_A_PORT.format(f":{digits}"))
    return port


def _parse_bracketed(text: str, underscores: bool) -> Host:
    if not text.startswith("["):
        raise InvalidHost(text, _why_not(text, underscores))
    match = _BRACKETED.fullmatch(text)
    if match is None:
        raise InvalidHost(text, "it is not an IPv6 address in brackets")
    address, port = match.groups()
    try:
        # The characters are known, so there is no zone identifier, which `IPv6Address` would take.
        name = f"[{_normal_ipv6(ipaddress.IPv6Address(address))}]"
    except ValueError:
        raise InvalidHost(text, "it is not an IPv6 address in brackets") from None
    return Host(name, None if port is None else _port(text, port))


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


_NOT_A_PORT = "'{}' is not a port: a number from 1 to 65535 without leading zeros"

_UNDERSCORE = (
    r"^[^:]*?(_)",
    "a host has letters, digits, hyphens and dots, but not '{}' (the setting allow_underscores permits it)",
)

_FAULTS = (
    (r"^$", "it is empty"),
    (r"([^\x00-\x7f])", "'{}' is outside of ASCII (write such names in their xn-- form)"),
    (r"^[^:]*?([^A-Za-z0-9_.:-])", "a host has letters, digits, hyphens and dots, but not '{}'"),
    _UNDERSCORE,
    (r"^\.|^:|^[^:]*\.\.", "a part between the dots is empty"),
    (r"^[^:]*?[^.:]{64}", "a part between the dots is longer than 63 characters"),
    (r"^-|^[^:]*?(?:\.-|-[.:]|-$)", "a part between the dots begins or ends with a hyphen"),
    (r"(:.*)", _NOT_A_PORT),
)
"""What can be wrong with a text of at most 260 characters, in the order in which it is told."""


def _why_not(text: str, underscores: bool) -> str:
    """Return which rule is broken first by `text`, which is not a name with an optional port."""
    faults = [fault for fault in _FAULTS if not (underscores and fault is _UNDERSCORE)]
    return _first_fault(faults, text) or f"it is longer than {MAX_NAME_CHARACTERS} characters"


def _first_fault(faults: Iterable[tuple[str, str]], text: str) -> str | None:
    for pattern, reason in faults:
        match = re.search(pattern, text, re.DOTALL)
        if match:
            return reason.format(*map(escape_for_message, match.groups()))
    return None


def to_ascii(text: str, *, allow_mixed: bool = False, underscores: bool = False) -> str:
    """Return the host name that a person means by `text`, as it is stored: `Bücher.example` is `xn--bcher-kva.example`.

    Names are mapped by UTS 46 and checked by IDNA 2008. Labels that mix scripts in a way no language does are refused
    unless `allow_mixed`, since they are how a name is made to look like another's. `underscores` is as for `parse`; a
    label that has one and letters outside of ASCII is refused all the same, as no A-label stands for it. Raises
    `InvalidHost` with a reason that says what to change; a port is refused too.
    """
    if not isinstance(text, str):
        raise InvalidHost(f"<{type(text).__name__}>", "it is not a text")
    if len(text) > _MAX_TYPED_CHARACTERS:
        raise InvalidHost(text, f"it is longer than {MAX_NAME_CHARACTERS} characters")
    reason = _first_fault(_TYPED_FAULTS, text)
    if reason:
        raise InvalidHost(text, reason)
    if text.isascii() and "xn--" not in text.lower():
        return parse(text, underscores=underscores).name
    return _idna(text, allow_mixed, underscores)


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


def _idna(text: str, allow_mixed: bool, underscores: bool) -> str:
    # Only the command line comes here, and idna's tables cost a tenth of a second to load.
    import idna

    try:
        typed = idna.uts46_remap(text, std3_rules=False).split(".")
        # IDNA 2008 refuses an underscore in any label (RFC 5891 section 4.2.2), so those of ASCII are kept from it.
        kept = {place: label for place, label in enumerate(typed) if underscores and _is_underscored(label)}
        mapped = ".".join("x" if place in kept else label for place, label in enumerate(typed))
        encoded = idna.encode(mapped, uts46=True).decode("ascii").split(".")
        labels = [kept.get(place, label) for place, label in enumerate(encoded)]
        name = parse(".".join(labels), underscores=underscores).name
        labels = [idna.decode(label) for label in name.split(".") if "_" not in label]
    except idna.IDNAError as error:
        raise InvalidHost(text, escape_for_message(error)) from None
    except InvalidHost as error:
        raise InvalidHost(text, error.reason) from None
    for label in labels:
        scripts = _scripts(label)
        if not allow_mixed and not any(scripts <= usual for usual in (*_USUAL_MIXTURES, set(list(scripts)[:1]))):
            found = " and ".join(sorted(scripts))
            raise InvalidHost(
                text, f"'{escape_for_message(label)}' mixes letters of {found}, as names do that imitate another"
            )
    return name


def _is_underscored(label: str) -> bool:
    return "_" in label and label.isascii() and not label.startswith("xn--")


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
