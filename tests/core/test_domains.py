"""Domains: which texts are valid, and which domain a request matches, independently of the order of insertion."""

from __future__ import annotations

import random
import re
from itertools import permutations

import pytest
from host_values import ACCEPTED, MUTATED_HOSTS, PIECES, REJECTED, mutate
from hypothesis import given
from hypothesis import strategies as st

from multisite import hosts
from multisite.core import domains
from multisite.core.domains import Domain
from multisite.core.site import Site
from multisite.directory.matching import HostMatches, Match
from multisite.errors import InvalidHost


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("Example.COM.", Domain("example.com")),
        ("example.com:8080", Domain("example.com", 8080)),
        ("example.com/", Domain("example.com")),
        ("example.com/Shop/", Domain("example.com", None, "/Shop")),
        ("*.example.com:80/a/b~c", Domain("*.example.com", 80, "/a/b~c")),
        ("*.localhost", Domain("*.localhost")),
        ("[::1]:8080/x", Domain("[::1]", 8080, "/x")),
        ("192.0.2.1", Domain("192.0.2.1")),
        ("example.com/.well-known", Domain("example.com", None, "/.well-known")),
        (f"*.{'a.' * 124}bc", Domain(f"*.{'a.' * 124}bc")),
    ],
)
def test_a_valid_domain_is_parsed(text: str, domain: Domain) -> None:
    assert domains.parse(text) == domain
    assert domains.parse(str(domain)) == domain


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("/shop", "it is empty"),
        ("*", "only stand for whole labels"),
        ("*.", "it is empty"),
        ("*.*.example.com", "only stand for whole labels"),
        ("a.*.example.com", "only stand for whole labels"),
        ("*shop.example.com", "only stand for whole labels"),
        ("*.192.0.2.1", "an IP address has no subdomains"),
        ("*.[::1]", "an IP address has no subdomains"),
        ("example.com:", "not a port"),
        ("example.com:080", "not a port"),
        ("example.com//", "empty segment"),
        ("example.com//shop", "empty segment"),
        ("example.com/a//b", "empty segment"),
        ("example.com/shop//", "empty segment"),
        ("example.com/../x", "-._~"),
        ("example.com/.", "-._~"),
        ("example.com/a b", "-._~"),
        ("example.com/%61", "-._~"),
        ("example.com/a\\b", "-._~"),
        ("example.com/a?b", "-._~"),
        ("example.com/a\n", "-._~"),
        ("example.com/läden", "-._~"),
        ("example.com/" + "a" * 200, "longer than 200"),
        (f"*.{'a.' * 125}bc", "longer than 253"),
        ("exa mple.com", "a host may have letters"),
    ],
)
def test_an_invalid_domain_is_rejected_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidHost, match="is not a host: ") as caught:
        domains.parse(text)
    assert reason in caught.value.reason


@given(st.text() | st.text(alphabet="a.*/:-1[]\\%é \n", max_size=20) | st.integers())
def test_parse_raises_only_invalid_host_and_its_result_is_canonical(text: str) -> None:
    try:
        domain = domains.parse(text)
    except InvalidHost:
        return
    assert domains.parse(str(domain)) == domain


def check(text: str) -> bool:
    """Assert that `text` is rejected with InvalidHost or accepted in canonical form; return whether it was accepted."""
    try:
        domain = domains.parse(text)
    except InvalidHost:
        return False
    assert type(domain) is Domain
    assert domains.parse(str(domain)) == domain
    assert str(domains.parse(str(domain))) == str(domain)
    # The host of a request has the same form, and finds it.
    host = domain.name.removeprefix("*.")
    assert hosts.parse(host) == (host, None)
    assert 0 < len(domain.name) <= 253
    assert domain.is_wildcard == text.startswith("*.") == (host != domain.name)
    asked = f"www.{host}" if domain.is_wildcard else host
    assert len(asked) > 253 or domain.name in domains.candidate_names(hosts.parse(asked).name)
    assert domain.port is None or 1 <= domain.port <= 65535
    assert re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", domain.path)
    assert not {".", ".."} & set(domain.path.split("/"))
    assert len(domain.path) <= domains.MAX_PATH_CHARACTERS
    assert domain.matches(domain.port or 80, domain.path or "/")
    return True


def test_mutated_domains_raise_nothing_but_invalid_host_and_are_canonical_if_accepted() -> None:
    chance = random.Random(20240602)
    names = [*ACCEPTED, *(text for text in REJECTED if len(text) < 300)]
    paths = ["", "", "/", "/shop", "/a/b~c", "/.well-known/", "//", "/../x", "/%61", "/" + "a" * 199, "/" + "a/" * 99]
    seeds = [f"{star}{name}{path}" for star in ("", "*.", "*") for name in names for path in paths]
    taken = sum(check(mutate(chance, chance.choice(seeds))) for _ in range(MUTATED_HOSTS))
    # The mutations must include both valid and invalid texts, or this test proves nothing.
    assert MUTATED_HOSTS // 50 < taken < MUTATED_HOSTS * 19 // 20


def test_mutated_typed_domains_raise_nothing_but_invalid_host() -> None:
    chance = random.Random(8)
    seeds = ["*.Bücher.example/laden", "faß.de:8080", "http://a.example/x", "東京タワー.jp/", *PIECES]
    taken = 0
    for _ in range(MUTATED_HOSTS // 10):
        try:
            domain = domains.to_ascii(mutate(chance, chance.choice(seeds)))
        except InvalidHost:
            continue
        taken += 1
        assert domains.parse(str(domain)) == domain
    assert taken


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("*.Bücher.example/laden", "*.xn--bcher-kva.example/laden"),
        ("bücher.example:8080", "xn--bcher-kva.example:8080"),
        ("[::1]:8080/x", "[::1]:8080/x"),
        ("example.com", "example.com"),
    ],
)
def test_input_is_converted_to_a_domain(text: str, domain: str) -> None:
    assert str(domains.to_ascii(text)) == domain


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http://example.com/shop", "leave out http://"),
        ("user@example.com", "leave out user@"),
        ("*bücher.example", "only stand for whole labels"),
        ("example.com/lä", "-._~"),
        ("example.com:x", "':x' is not a port"),
        ("\u0440\u0430ypal.com", "mixes letters"),
        (7, "not a string"),
    ],
)
def test_invalid_input_is_rejected_with_a_hint(text: str, reason: str) -> None:
    with pytest.raises(InvalidHost) as caught:
        domains.to_ascii(text)
    assert reason in caught.value.reason


FROM_BEST_TO_LAST = [
    "shop.example.com:8080/a/b",
    "shop.example.com:8080/a",
    "shop.example.com:8080",
    "*.example.com:8080/a",
    "*.com:8080",
    "shop.example.com/a/b",
    "shop.example.com",
    "*.example.com/a",
    "*.example.com",
    "*.com/a/b",
    "*.com",
]
"""The order of precedence for http://shop.example.com:8080/a/b/c, which all of these match."""


def find(texts: tuple[str, ...] | list[str], host: str, path: str, default_port: int = 80) -> str | None:
    name, port = hosts.parse(host)
    names = domains.candidate_names(name)
    known = [domain for domain in map(domains.parse, texts) if domain.name in names]
    found = domains.best_match(known, port or default_port, path)
    return None if found is None else str(found)


@pytest.mark.parametrize("first", range(len(FROM_BEST_TO_LAST)))
def test_the_order_of_precedence(first: int) -> None:
    rest = FROM_BEST_TO_LAST[first:]
    assert find(rest, "shop.example.com:8080", "/a/b/c") == rest[0]
    assert find(rest[::-1], "shop.example.com:8080", "/a/b/c") == rest[0]


def test_the_order_of_insertion_never_matters() -> None:
    chosen = [
        "example.com",
        "example.com:8080",
        "*.example.com",
        "*.example.com/a",
        "example.com/a",
        "example.com/a/b",
        "*.com",
    ]
    paths = ("", "/", "/a", "/a/", "/ab", "/a/b", "/a/b/c", "//a")
    for host in ("example.com", "example.com:8080", "a.example.com", "a.b.example.com", "other.com", "com", "x.org"):
        expected = [find(chosen, host, path) for path in paths]
        name, port = hosts.parse(host)
        # Every order of all domains puts those with matching names in some order; each of these is tried.
        known = [domain for domain in map(domains.parse, chosen) if domain.name in domains.candidate_names(name)]
        for order in permutations(known):
            found = [domains.best_match(order, port or 80, path) for path in paths]
            assert [None if domain is None else str(domain) for domain in found] == expected
            places = HostMatches((domain, Match(Site(0, str(domain), "", ""), "alias")) for domain in order)
            matches = [places.find(port or 80, path) for path in paths]
            assert [None if match is None else match.site.host for match in matches] == expected


@pytest.mark.parametrize(
    ("host", "path", "found"),
    [
        ("example.com", "/", "example.com"),
        ("badexample.com", "/", None),
        ("example.com.evil.org", "/", None),
        ("a.example.com", "/", "*.example.com"),
        ("a.b.example.com", "/", "*.example.com"),
        ("example.com", "/shop", "example.com/shop"),
        ("example.com", "/shop/", "example.com/shop"),
        ("example.com", "/shop/x", "example.com/shop"),
        ("example.com", "/shopping", "example.com"),
        ("example.com", "/Shop", "example.com"),
        ("example.com", "//shop", "example.com"),
        ("example.com", "/./shop", "example.com"),
        ("secure.org", "/", None),
        ("secure.org:443", "/", "secure.org:443"),
    ],
)
def test_domains_match_whole_labels_and_whole_segments(host: str, path: str, found: str | None) -> None:
    texts = ["example.com", "*.example.com", "example.com/shop", "secure.org:443"]
    assert find(texts, host, path) == found


def test_the_default_port_may_be_omitted() -> None:
    assert find(["secure.org:443"], "secure.org", "/", default_port=443) == "secure.org:443"


def test_an_ip_address_matches_no_wildcard() -> None:
    assert domains.candidate_names("192.0.2.1") == ("192.0.2.1",)
    assert domains.candidate_names("[::1]") == ("[::1]",)
    assert domains.candidate_names("a.b.c") == ("a.b.c", "*.b.c", "*.c")
