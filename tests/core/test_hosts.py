"""Hosts: results are canonical and parse to themselves; everything else raises InvalidHost and no other error."""

from __future__ import annotations

import ipaddress
import random
import re
import string
import subprocess
import sys

import pytest
from host_values import (
    ACCEPTED,
    HOST_VALUES,
    MORE_UNDERSCORED_VALUES,
    MUTATED_HOSTS,
    PIECES,
    REJECTED,
    SOAK,
    UNDERSCORED_VALUES,
    mutate,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from multisite.errors import InvalidHost
from multisite.hosts import Host, parse, to_ascii

EXAMPLES = 5_000 if SOAK else 300


@pytest.mark.parametrize("text", ACCEPTED)
def test_a_host_is_parsed_to_its_canonical_form(text: str) -> None:
    host = parse(text)
    assert (host.name, host.port) == ACCEPTED[text]
    assert parse(str(host)) == host


@pytest.mark.parametrize("text", REJECTED, ids=lambda text: ascii(text)[:30])
def test_everything_else_is_rejected_with_a_reason(text: str) -> None:
    with pytest.raises(InvalidHost) as caught:
        parse(text)
    assert caught.value.host == text
    assert caught.value.reason
    assert str(caught.value).isascii()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("source", HOST_VALUES, ids=lambda source: source.split(":")[0])
def test_the_host_values_of_the_rfcs(source: str) -> None:
    answers = {text: canonical_form(text) for text in HOST_VALUES[source]}
    assert answers == HOST_VALUES[source]


def test_the_underscore_option_only_affects_names_with_underscores() -> None:
    values = {text: name for group in HOST_VALUES.values() for text, name in group.items()} | UNDERSCORED_VALUES
    values |= MORE_UNDERSCORED_VALUES
    assert {text: canonical_form(text, underscores=True) for text in values} == values
    assert [text for text in (*UNDERSCORED_VALUES, *MORE_UNDERSCORED_VALUES) if canonical_form(text)] == []


def test_the_reason_names_the_setting_exactly_if_it_would_help() -> None:
    for text, underscores in (("my_shop.example", False), ("a_b:80", False), ("_", False)):
        with pytest.raises(InvalidHost, match="the setting allow_underscores permits it"):
            parse(text, underscores=underscores)
    for text, reason in {"my_shop..example": "is empty", "a_b:x_1": "':x_1' is not a port", "-a_b": "hyphen"}.items():
        with pytest.raises(InvalidHost, match=re.escape(reason)):
            parse(text, underscores=True)


def canonical_form(text: str, *, underscores: bool = False) -> str | None:
    """Return the canonical form of `text`, or None if it is rejected."""
    try:
        return str(parse(text, underscores=underscores))
    except InvalidHost:
        return None


def labels_of(text: str, *, underscores: bool) -> str | None:
    """Return the canonical form of a text without brackets, by the rules alone: no regular expression, no `multisite`.

    A second reader of the same rules, which a fault of one Python's `re` cannot mislead.
    """
    letters, digits = frozenset(string.ascii_letters + "_" * underscores), frozenset(string.digits)
    name, colon, port = text.partition(":")
    if colon and not (set(port) <= digits and port[:1] not in ("", "0") and len(port) < 6 and int(port) < 65536):
        return None
    labels = name.removesuffix(".").split(".")
    for label in labels:
        if not 1 <= len(label) <= 63 or not set(label) <= letters | digits | {"-"} or "-" in (label[0], label[-1]):
            return None
    last = labels[-1].lower()
    if set(last) <= digits or (last[:2] == "0x" and set(last[2:]) <= digits | set("abcdef")):
        bytes_ = [int(label) if set(label) <= digits and str(int(label)) == label else 256 for label in labels]
        if len(labels) != 4 or max(bytes_) > 255:
            return None
    canonical = ".".join(labels).lower()
    return canonical + colon + port if len(canonical) <= 253 else None


@pytest.mark.parametrize("underscores", [False, True])
def test_an_independent_implementation_agrees_on_every_text(underscores: bool) -> None:
    chance = random.Random(3112)
    seeds = [text for values in HOST_VALUES.values() for text in values if "[" not in text]
    texts = [*seeds, *(mutate(chance, chance.choice(seeds)) for _ in range(MUTATED_HOSTS))]
    # Few mutations are valid, so hosts are also assembled from parts that are valid or nearly so.
    parts = [
        "a",
        "7",
        "0x",
        "f",
        "0x1f",
        "-",
        "a-b",
        "1-",
        "255",
        "256",
        "01",
        "a" * 63,
        "a" * 64,
        "",
        "B",
        "xn--a",
        "_",
        "1_0",
        "a_",
    ]
    ends = ["", "", ".", ":1", ".:65535", ":65536", ":01", "..", ":"]
    for _ in range(MUTATED_HOSTS):
        joined = ".".join(chance.choices(parts, k=chance.randrange(1, 6)))
        texts.append(joined + chance.choice(ends))
    texts = [text for text in texts if "[" not in text]
    wrong = [
        text
        for text in texts
        if canonical_form(text, underscores=underscores) != labels_of(text, underscores=underscores)
    ]
    assert not wrong
    taken = sum(canonical_form(text, underscores=underscores) is not None for text in texts)
    assert len(texts) // 20 < taken < len(texts) * 19 // 20


LONG_TEXTS = """
import re
from multisite import hosts

parts = ["a", "a.", "a-", "-", ".", "..", ".-", "1", "1.", "a:", ":", ":1", "0", "0:", "[", "::", "0x", "f", "_", "a_"]
patterns = [value for value in vars(hosts).values() if isinstance(value, re.Pattern)]
for pattern in patterns:
    for part in parts:
        for before in ("", "a", "[", "a:"):
            assert pattern.fullmatch(before + part * 300_000 + "!") is None
print(len(patterns))
"""


def test_the_patterns_take_linear_time_for_any_text() -> None:
    # 10^11 steps would take an hour, and all of these texts take 1,000 times fewer.
    done = subprocess.run([sys.executable, "-c", LONG_TEXTS], capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) >= 4


H16, BYTE = "[0-9A-Fa-f]{1,4}", "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9][0-9]|[0-9])"
LS32 = rf"(?:{H16}:{H16}|{BYTE}(?:[.]{BYTE}){{3}})"
IPV6_ADDRESS = "|".join(
    [
        rf"(?:{H16}:){{6}}{LS32}",
        rf"::(?:{H16}:){{5}}{LS32}",
        rf"(?:{H16})?::(?:{H16}:){{4}}{LS32}",
        *(rf"(?:(?:{H16}:){{0,{n}}}{H16})?::(?:{H16}:){{{4 - n}}}{LS32}" for n in range(1, 4)),
        rf"(?:(?:{H16}:){{0,4}}{H16})?::{LS32}",
        rf"(?:(?:{H16}:){{0,5}}{H16})?::{H16}",
        rf"(?:(?:{H16}:){{0,6}}{H16})?::",
    ]
)
"""`IPv6address` as the ABNF of RFC 3986 section 3.2.2 has it, line by line."""


def number_of(address: str) -> int:
    """Return the 128 bits that `address`, which matches the ABNF, stands for, by RFC 4291 section 2.2."""
    head, _, quad = address.rpartition(":") if "." in address else ("", "", "")
    if quad:
        first, second, third, fourth = map(int, quad.split("."))
        address = f"{head}:{first * 256 + second:x}:{third * 256 + fourth:x}"
    before, fold, after = address.partition("::")
    left, right = ([int(group, 16) for group in part.split(":") if group] for part in (before, after))
    groups = [*left, *[0] * (8 - len(left) - len(right) if fold else 0), *right]
    assert len(groups) == 8
    return int("".join(f"{group:04x}" for group in groups), 16)


def test_any_form_of_an_ipv6_address_is_parsed_to_the_canonical_one() -> None:
    chance = random.Random(5952)
    groups = [
        "0",
        "0",
        "00",
        "0000",
        "1",
        "01",
        "ff",
        "FFFF",
        "db8",
        "12345",
        "g",
        "",
        "1.2.3.4",
        "0.0.0.0",
        "256.1.1.1",
    ]
    taken = 0
    for _ in range(MUTATED_HOSTS):
        parts = chance.choices(groups, k=chance.randrange(1, 9))
        text = ":".join(parts)
        if chance.random() < 0.7:
            at = chance.randrange(len(parts) + 1)
            text = f"{':'.join(parts[:at])}::{':'.join(parts[at:])}"
        fits = re.fullmatch(IPV6_ADDRESS, text) is not None
        canonical = canonical_form(f"[{text}]")
        assert (canonical is not None) is fits, text
        if canonical is not None:
            taken += 1
            number = number_of(text)
            assert number_of(canonical[1:-1]) == number
            assert canonical_form(f"[{ipaddress.IPv6Address(number).exploded}]") == canonical
    assert MUTATED_HOSTS // 20 < taken < MUTATED_HOSTS * 19 // 20


class Awkward:
    """An object whose repr and str fail."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


@pytest.mark.parametrize("thing", [None, 1, 10**5000, b"a.example", ["a"], Awkward(), object, 1.5, ("a", 1)], ids=type)
@pytest.mark.parametrize("function", [parse, to_ascii])
def test_a_non_string_is_rejected(function: object, thing: object) -> None:
    with pytest.raises(InvalidHost):
        function(thing)  # type: ignore[operator]


def check(text: str) -> bool:
    """Assert that `text` is rejected with InvalidHost or accepted in canonical form; return whether it was accepted."""
    try:
        host = parse(text)
    except InvalidHost:
        return False
    assert type(host) is Host
    assert host.name == host.name.lower()
    assert 0 < len(host.name) <= 253
    assert re.fullmatch(r"[a-z0-9.\[\]:-]+", host.name)
    assert host.port is None or 1 <= host.port <= 65535
    assert parse(str(host)) == host
    assert str(parse(str(host))) == str(host)
    if not host.name.startswith("["):
        assert str(host) == text.lower() or str(host) == re.sub(r"\.(?=$|:)", "", text.lower())
        labels = host.name.split(".")
        assert all(0 < len(label) <= 63 and label[0] != "-" != label[-1] for label in labels)
        if re.fullmatch("[0-9]+|0x[0-9a-f]*", labels[-1]):
            assert str(ipaddress.IPv4Address(host.name)) == host.name
    else:
        assert ipaddress.IPv6Address(host.name[1:-1])
    return True


def test_mutated_hosts_raise_nothing_but_invalid_host_and_are_canonical_if_accepted() -> None:
    chance = random.Random(20240601)
    seeds = [*ACCEPTED, *(text for text in REJECTED if len(text) < 300)]
    taken = sum(check(mutate(chance, chance.choice(seeds))) for _ in range(MUTATED_HOSTS))
    # The mutations must include both valid and invalid texts, or this test proves nothing.
    assert MUTATED_HOSTS // 20 < taken < MUTATED_HOSTS * 19 // 20


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text())
def test_any_text_is_accepted_or_rejected(text: str) -> None:
    check(text)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?", fullmatch=True), min_size=1, max_size=8))
def test_names_of_valid_labels_are_accepted(labels: list[str]) -> None:
    name = ".".join([*labels, "example"])
    assert parse(name) == parse(name.upper()) == parse(name + ".") == Host(name.lower(), None)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 2**128 - 1), st.integers(1, 65535))
def test_an_ipv6_address_is_accepted_in_its_canonical_form(number: int, port: int) -> None:
    address = ipaddress.IPv6Address(number)
    if address.ipv4_mapped is None:
        assert parse(f"[{address}]:{port}") == Host(f"[{address}]", port)
    assert parse(f"[{address.exploded.upper()}]:{port}") == parse(f"[{address}]:{port}")


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from([0, 0, 0, 1, 0xFFFF]), min_size=8, max_size=8))
def test_ipv6_zeros_are_compressed_according_to_rfc_5952(groups: list[int]) -> None:
    number = sum(group << (16 * place) for place, group in enumerate(groups))
    address = ipaddress.IPv6Address(number)
    if address.ipv4_mapped is None:
        assert parse(f"[{address}]").name == f"[{address}]"


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_is_only_accepted_as_a_dotted_quad(number: int) -> None:
    assert parse(str(ipaddress.IPv4Address(number))).name == str(ipaddress.IPv4Address(number))
    for other in (str(number), hex(number), f"0{number:o}", f"{number >> 24}.{number & 0xFFFFFF}"):
        with pytest.raises(InvalidHost):
            parse(other)


def test_every_valid_port_is_accepted_and_no_other() -> None:
    assert all(parse(f"a:{port}").port == port for port in range(1, 65536))
    for port in (0, 65536, 65540, 65600, 66000, 70000, 99999, 100000):
        with pytest.raises(InvalidHost):
            parse(f"a:{port}")


@pytest.mark.parametrize("byte", range(256))
def test_an_invalid_byte_is_rejected_at_any_position(byte: int) -> None:
    character = chr(byte)
    if re.fullmatch("[A-Za-z0-9]", character):
        return
    for text in (f"{character}example.com", f"example.com{character}"):
        if text != "example.com.":
            with pytest.raises(InvalidHost):
                parse(text)


TYPED = {
    "Bücher.example": "xn--bcher-kva.example",
    "faß.de": "xn--fa-hia.de",
    "XN--BCHER-KVA.example": "xn--bcher-kva.example",
    "bücher。example": "xn--bcher-kva.example",
    "\uff25\uff38\uff21\uff2d\uff30\uff2c\uff25.com": "example.com",
    "Example.COM.": "example.com",
    "ab--cd.example": "ab--cd.example",
    "пример.example": "xn--e1afmkfd.example",
    "東京タワー.jp": None,
    "aタワー.jp": None,
    "한글.kr": "xn--bj0bj06e.kr",
    "bu\u0308cher.example": "xn--bcher-kva.example",
    "127.0.0.1": "127.0.0.1",
    "[::1]": "[::1]",
}


@pytest.mark.parametrize("text", TYPED)
def test_a_typed_name_is_converted_to_its_dns_form(text: str) -> None:
    name = to_ascii(text)
    assert TYPED[text] in (None, name)
    assert parse(name) == Host(name, None)
    assert to_ascii(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My_Shop.Example.com", "my_shop.example.com"),
        ("my_shop.Bücher.example", "my_shop.xn--bcher-kva.example"),
        ("my_shop.xn--bcher-kva.example", "my_shop.xn--bcher-kva.example"),
        ("_a.x.bücher。_b.example.", "_a.x.xn--bcher-kva._b.example"),
        ("bücher._", "xn--bcher-kva._"),
    ],
)
def test_a_typed_name_may_have_underscores_if_they_are_allowed(text: str, name: str) -> None:
    assert to_ascii(text, underscores=True) == name
    assert to_ascii(name, underscores=True) == name
    with pytest.raises(InvalidHost):
        to_ascii(text)


@pytest.mark.parametrize(
    "text", ["bü_cher.example", "xn--b_cher.example", "my_shop..bücher.example", "-_.bücher.example"]
)
def test_an_underscore_is_rejected_in_a_non_ascii_label(text: str) -> None:
    with pytest.raises(InvalidHost):
        to_ascii(text, underscores=True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("http://a.example", "leave out http://"),
        ("HTTPS://a.example/x", "leave out HTTPS://"),
        ("a.example/shop?x=1", "leave out the path /shop?x=1"),
        ("a.example?x", "leave out the path ?x"),
        ("a.example:8080", "leave out the port :8080"),
        ("bücher.example:8080", "leave out the port :8080"),
        ("[::1]:80", "leave out the port :80"),
        ("me@a.example", "leave out me@"),
        ("a example", "whitespace"),
        ("a.example\n", "whitespace"),
        ("*.example.com", "cannot contain a *"),
        ("a..b", "is empty"),
        ("ä..b", "mpty"),
        ("-a.example", "hyphen"),
        ("a_b.example", "but not '_'"),
        ("1.2.3", "number"),
        ("\uff11.\uff12.\uff13", "number"),
        ("a" * 64 + ".example", "63 characters"),
        ("a." * 126 + "ab", "253 characters"),
        ("ä" * 100 + ".example", "long"),
        ("ü" * 100_000, "253 characters"),
        ("😀.example", "not allowed"),
        ("xn--\u00fc.example", ""),
        ("xn--999999999.example", ""),
        ("\ud800.example", ""),
        ("\u0000ü", ""),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_an_invalid_typed_name_is_rejected_with_what_to_change(text: str, reason: str) -> None:
    with pytest.raises(InvalidHost) as caught:
        to_ascii(text)
    assert reason in caught.value.reason
    assert str(caught.value).isascii()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["p\u0430ypal.example", "xn--pypal-4ve.example", "g\u03bfogle.example"])
def test_mixed_scripts_are_rejected_unless_allowed(text: str) -> None:
    with pytest.raises(InvalidHost, match="mixes letters of"):
        to_ascii(text)
    assert to_ascii(text, allow_mixed=True).startswith("xn--")


def test_mutated_typed_names_raise_nothing_but_invalid_host() -> None:
    chance = random.Random(7)
    seeds = [*TYPED, "p\u0430ypal.example", *PIECES]
    taken = 0
    for _ in range(MUTATED_HOSTS // 10):
        try:
            name = to_ascii(mutate(chance, chance.choice(seeds)))
        except InvalidHost:
            continue
        taken += 1
        assert parse(name) == Host(name, None)
    assert taken


def test_importing_hosts_loads_neither_pyramid_nor_sqlalchemy_nor_idna() -> None:
    program = "import sys, multisite.hosts; print({'pyramid', 'sqlalchemy', 'idna'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
