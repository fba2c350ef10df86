"""Parse host names, from a Host header or from a person, into their one canonical form.

No layer below the application validates Host, so `parse` is strict: it accepts any text, and returns a host or raises
`InvalidHost`. Hosts are parsed both before they are stored and before they are looked up: two texts mean the same host
if, and only if, they parse to equal values. `to_ascii` is for names that people type on the command line, never for
requests.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from multisite.errors import InvalidHost, escape_for_message

__all__ = ["MAX_NAME_CHARACTERS", "Host", "parse", "to_ascii"]

MAX_NAME_CHARACTERS = 253
"""The longest DNS name, without its trailing dot."""

_MAX_TEXT_CHARACTERS = MAX_NAME_CHARACTERS + len(".:65535")
_MAX_TYPED_CHARACTERS = 4 * MAX_NAME_CHARACTERS
"""The longest text to convert: UTS 46 can shorten a name, but only slightly, and must not process a megabyte."""

# No possessive quantifiers and no atomic groups: Python 3.11.2, which Debian 12 has, matches them incorrectly inside
# groups. These patterns take linear time without them, because at each character there is only one way to continue.
# `parse` checks in plain Python what would require lookarounds.
_PORT = r"(?::([1-9][0-9]{0,4}))?"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"

_NAME = re.compile(rf"([A-Za-z0-9][A-Za-z0-9.-]*){_PORT}")
"""A name of valid characters with an optional port; `parse` checks the labels."""

_UNDERSCORED_NAME = re.compile(rf"([A-Za-z0-9_][A-Za-z0-9._-]*){_PORT}")
"""The same, with underscores wherever a letter is allowed, as in DNS labels (RFC 2181 section 11)."""

_match_name = _NAME.fullmatch  # Bound once, because every request uses it.

_QUAD = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_BRACKETED = re.compile(rf"\[([0-9A-Fa-f:.]{{2,45}})\]{_PORT}")
"""An IPv6 address of valid characters and length in brackets, with an optional port.

The longest address consists of six groups and a dotted quad."""

_MAX_LABEL_CHARACTERS = 63
"""The longest label (RFC 1035 section 2.3.4)."""

_MAX_PORT = 65535

_DIGITS = frozenset("0123456789")

_LAST_CHARACTERS_OF_NUMBERS = frozenset("0123456789abcdefx")
"""The characters that a number can end with; most names end with another letter."""


class Host(NamedTuple):
    """A host in its canonical form. `str()` returns `name` or `name:port`, which parses to the same value.

    `name` is a lower-case ASCII name without a trailing dot, a dotted quad, or an IPv6 address in brackets. `port` is
    None if the text had none; the scheme decides whether that means 80 or 443.
    """

    name: str
    port: int | None = None

    def __str__(self) -> str:
        return self.name if self.port is None else f"{self.name}:{self.port}"


def parse(text: str, *, underscores: bool = False) -> Host:
    """Parse the value of a Host header.

    An IPv6 address may have any form that RFC 3986 section 3.2.2 allows; the result has that of RFC 5952.

    Args:
        text: A host with an optional port.
        underscores: Whether an underscore counts as a letter. RFC 1123 section 2.1 does not allow it in host names, but
            DNS does, and such names are in use.

    Returns:
        The host in its canonical form.

    Raises:
        InvalidHost: If `text` is anything else. No other error is raised, for any argument.
    """
    if not isinstance(text, str):
        raise InvalidHost(f"<{type(text).__name__}>", "it is not a string")
    if len(text) > _MAX_TEXT_CHARACTERS:
        raise InvalidHost(text, f"it is longer than {MAX_NAME_CHARACTERS} characters")
    # A subclass of str may compare and hash in its own way.
    return _parse_cached(text, underscores) if type(text) is str else _parse(text, underscores)


def _parse(text: str, underscores: bool) -> Host:
    match = _UNDERSCORED_NAME.fullmatch(text) if underscores else _match_name(text)
    if match is None:
        return _parse_bracketed(text, underscores)
    name, port = match.groups()
    name = name.lower()
    if name[-1] == ".":
        name = name[:-1]
    if ".." in name or name[-1] == "." or ("-" in name and _has_bad_edge(name)):
        raise InvalidHost(text, _why_not(text, underscores))
    if len(name) > _MAX_LABEL_CHARACTERS and not _has_valid_lengths(name):
        raise InvalidHost(text, _why_not(text, underscores))
    if name[-1] in _LAST_CHARACTERS_OF_NUMBERS and not _is_quad_or_name(name):
        # Programs interpret such names as addresses in different ways: 127.1 is 127.0.0.1 to a browser.
        raise InvalidHost(text, "its last label is a number, but it is not an address of four numbers from 0 to 255")
    return Host(name, None if port is None else _parse_port(text, port))


_parse_cached = lru_cache(maxsize=4096)(_parse)
"""The same, remembered for the latest hosts: parsing takes most of the time to find a site. Errors are not kept."""


def _has_bad_edge(name: str) -> bool:
    """Return whether a label begins or ends with a hyphen. `_NAME` excludes one at the start of the name."""
    return ".-" in name or "-." in name or name[-1] == "-"


def _has_valid_lengths(name: str) -> bool:
    return len(name) <= MAX_NAME_CHARACTERS and max(map(len, name.split("."))) <= _MAX_LABEL_CHARACTERS


def _is_quad_or_name(name: str) -> bool:
    """Return whether `name` is a dotted quad or does not end in a number (WHATWG URL, "ends in a number checker")."""
    last = name[name.rfind(".") + 1 :]
    return last[0] not in _DIGITS or _NUMBER.fullmatch(last) is None or _QUAD.fullmatch(name) is not None


def _parse_port(text: str, digits: str) -> int:
    # The pattern allows at most five ASCII digits, so int() can neither fail nor be slow.
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
        # The pattern allows no zone identifier, which `IPv6Address` would accept.
        name = f"[{_normal_ipv6(ipaddress.IPv6Address(address))}]"
    except ValueError:
        raise InvalidHost(text, "it is not an IPv6 address in brackets") from None
    return Host(name, None if port is None else _parse_port(text, port))


def _normal_ipv6(address: ipaddress.IPv6Address) -> str:
    """Return `address` in the form of RFC 5952, always in hexadecimal, as browsers send it.

    `str(address)` is not used because Python 3.13 and later write an embedded IPv4 address with dots.
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
    "a host may have letters, digits, hyphens and dots, but not '{}' (the setting allow_underscores permits it)",
)

_RULES = (
    (r"^$", "it is empty"),
    (r"([^\x00-\x7f])", "'{}' is not an ASCII character (write such names in their xn-- form)"),
    (r"^[^:]*?([^A-Za-z0-9_.:-])", "a host may have letters, digits, hyphens and dots, but not '{}'"),
    _UNDERSCORE,
    (r"^\.|^:|^[^:]*\.\.", "a label is empty"),
    (r"^[^:]*?[^.:]{64}", "a label is longer than 63 characters"),
    (r"^-|^[^:]*?(?:\.-|-[.:]|-$)", "a label begins or ends with a hyphen"),
    (r"(:.*)", _NOT_A_PORT),
)
"""Patterns of invalid hosts with the reasons that errors give; the first pattern that matches is reported."""


def _why_not(text: str, underscores: bool) -> str:
    """Return the first rule that `text`, which is not a valid name with an optional port, breaks."""
    rules = [rule for rule in _RULES if not (underscores and rule is _UNDERSCORE)]
    return _first_violation(rules, text) or f"it is longer than {MAX_NAME_CHARACTERS} characters"


def _first_violation(rules: Iterable[tuple[str, str]], text: str) -> str | None:
    for pattern, reason in rules:
        match = re.search(pattern, text, re.DOTALL)
        if match:
            return reason.format(*map(escape_for_message, match.groups()))
    return None


def to_ascii(text: str, *, allow_mixed: bool = False, underscores: bool = False) -> str:
    """Convert a host name as people type it to its stored form: `Bücher.example` becomes `xn--bcher-kva.example`.

    Names are mapped by UTS 46 and checked by IDNA 2008.

    Args:
        text: A host name, without a port.
        allow_mixed: Whether to accept labels that mix scripts as no language does, a means of imitating other names.
        underscores: As for `parse`. A label with both an underscore and non-ASCII letters is never accepted, because it
            has no A-label.

    Returns:
        The name in its canonical form.

    Raises:
        InvalidHost: With a reason that says what to change.
    """
    if not isinstance(text, str):
        raise InvalidHost(f"<{type(text).__name__}>", "it is not a string")
    if len(text) > _MAX_TYPED_CHARACTERS:
        raise InvalidHost(text, f"it is longer than {MAX_NAME_CHARACTERS} characters")
    reason = _first_violation(_TYPED_RULES, text)
    if reason:
        raise InvalidHost(text, reason)
    if text.isascii() and "xn--" not in text.lower():
        return parse(text, underscores=underscores).name
    return _idna(text, allow_mixed, underscores)


_TYPED_RULES = (
    (r"^\s*$", "it is empty"),
    (r"^(.*?://)", "leave out {}, only the host is needed"),
    (r"\s", "leave out the whitespace"),
    (r"^([^/?#\\]*@)", "leave out {}, only the host is needed"),
    (r"([/?#\\].*)", "leave out the path {}, only the host is needed"),
    (r"\*", "a host cannot contain a *: add each host of the site"),
    (r"^(?:\[.*\]|[^:\[]*)(:[0-9]*)$", "leave out the port {}, a site is served on every port of its host"),
)
"""Patterns of texts that people type in place of a host, with the reasons that errors give."""


def _idna(text: str, allow_mixed: bool, underscores: bool) -> str:
    # Imported here because its tables take a tenth of a second to load, and only the command line needs them.
    import idna

    try:
        typed = idna.uts46_remap(text, std3_rules=False).split(".")
        # IDNA 2008 rejects underscores (RFC 5891 section 4.2.2), so ASCII labels with one are encoded as "x" instead.
        kept = {index: label for index, label in enumerate(typed) if underscores and _is_underscored(label)}
        mapped = ".".join("x" if index in kept else label for index, label in enumerate(typed))
        encoded = idna.encode(mapped, uts46=True).decode("ascii").split(".")
        labels = [kept.get(index, label) for index, label in enumerate(encoded)]
        name = parse(".".join(labels), underscores=underscores).name
        labels = [idna.decode(label) for label in name.split(".") if "_" not in label]
    except idna.IDNAError as error:
        raise InvalidHost(text, escape_for_message(error)) from None
    except InvalidHost as error:
        raise InvalidHost(text, error.reason) from None
    for label in labels:
        scripts = _unicode_scripts(label)
        if not allow_mixed and not any(scripts <= usual for usual in (*_USUAL_MIXTURES, set(list(scripts)[:1]))):
            found = " and ".join(sorted(scripts))
            raise InvalidHost(
                text, f"'{escape_for_message(label)}' mixes letters of {found}, like a name that imitates another one"
            )
    return name


def _is_underscored(label: str) -> bool:
    return "_" in label and label.isascii() and not label.startswith("xn--")


_USUAL_MIXTURES: tuple[set[str], ...] = (
    {"LATIN", "CJK", "HIRAGANA", "KATAKANA"},
    {"LATIN", "CJK", "BOPOMOFO"},
    {"LATIN", "CJK", "HANGUL"},
)
"""The scripts that ordinary Japanese, Chinese and Korean names mix: UTS 39, highly restrictive level."""


def _unicode_scripts(label: str) -> set[str]:
    """Return the scripts of the letters in `label`, by the first word of their Unicode names.

    The standard library has no script property. The first word is the script of every letter in use that IDNA 2008
    allows, except for letters that several scripts share, which are ignored.
    """
    import unicodedata

    words = {
        unicodedata.name(character, "UNNAMED").split()[0]
        for character in label
        if unicodedata.category(character).startswith("L")
    }
    shared = {"MODIFIER", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"}
    return words - shared
