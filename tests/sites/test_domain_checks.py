"""Domains are checked against a real DNS server and a real TLS server."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import sqlalchemy as sa
from command_folder import Folder
from databases import closing_engine, fresh_database, migrate_own

from multisite import SettingError
from multisite.core import domains
from multisite.core.settings import Settings, parse_settings
from multisite.directory.records import get_site, list_sites
from multisite.sites import domain_checks
from multisite.sites.creation import add_site
from multisite.sites.domain_checks import DomainCheck, DomainChecker
from multisite.sites.domains import move_domain, remove_domain

RECORDS = {
    ("right.example", "A"): ["127.0.0.1"],
    ("both.example", "A"): ["127.0.0.1"],
    ("both.example", "AAAA"): ["::1"],
    ("elsewhere.example", "A"): ["127.0.0.2"],
    ("half.example", "A"): ["127.0.0.1", "127.0.0.2"],
    ("alias.example", "CNAME"): ["web.example.net."],
    ("web.example.net", "A"): ["127.0.0.1"],
    ("top.example", "A"): ["127.0.0.1"],
    ("multisite-check.wild.example", "A"): ["127.0.0.1"],
    ("mail.example", "MX"): ["10 mail.example."],
}


def answer(query: dns.message.Message) -> dns.message.Message | None:
    """Return what a DNS server with these records says; None for no answer at all."""
    (question,) = query.question
    name, kind = question.name.to_text().rstrip("."), dns.rdatatype.to_text(question.rdtype)
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    if name == "silent.example":
        return None
    if name == "broken.example":
        response.set_rcode(dns.rcode.SERVFAIL)
        return response
    if not any(known == name for known, _ in RECORDS):
        response.set_rcode(dns.rcode.NXDOMAIN)
    if target := RECORDS.get((name, "CNAME")):
        response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", *target))
        name = target[0].rstrip(".")
    if found := RECORDS.get((name, kind)):
        response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *found))
    return response


@pytest.fixture(scope="module")
def nameserver() -> Iterator[tuple[str, int]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            with suppress(OSError):
                while True:
                    packet, sender = server.recvfrom(4096)
                    if not packet:
                        return
                    response = answer(dns.message.from_wire(packet))
                    if response is not None:
                        server.sendto(response.to_wire(), sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()
        server.sendto(b"", server.getsockname())  # Ends the thread.
        thread.join(timeout=10)


def make_certificate(folder: Path, name: str, names: str, days: int) -> Path:
    """Return a file with a key and a certificate for `names`, which is valid for so many days."""
    path = folder / f"{name}.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days {days} -subj /CN={name} "
        f"-addext subjectAltName={names} -keyout {path} -out {path}.crt"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@contextmanager
def tls_server(certificate: Path) -> Iterator[int]:
    """Yield the port of a server at 127.0.0.1 that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    if connection.recv(1, socket.MSG_PEEK) == b"q":
                        return
                    with suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                        secured.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        with socket.create_connection(server.getsockname()) as last:
            last.sendall(b"q")
        thread.join(timeout=10)


Check = Callable[..., DomainCheck]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """Yield the port of a TLS server for *.example, and the file that trusts it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    names = "DNS:right.example,DNS:both.example,DNS:alias.example,DNS:half.example,DNS:multisite-check.wild.example"
    certificate = make_certificate(tmp_path_factory.mktemp("tls"), "right", names, 30)
    with tls_server(certificate) as port:
        yield port, f"{certificate}.crt"


@pytest.fixture(scope="module")
def check(nameserver: tuple[str, int], tls: tuple[int, str]) -> Check:
    def check(text: str, *expected: str, tls_port: int = tls[0], timeout_seconds: float = 5.0) -> DomainCheck:
        checker = DomainChecker(
            expected, nameserver=nameserver, tls_port=tls_port, ca_file=tls[1], timeout_seconds=timeout_seconds
        )
        return checker.check(1, domains.parse(text))

    return check


@pytest.mark.parametrize(
    ("domain", "expected", "state", "found"),
    [
        ("right.example", ["127.0.0.1"], "right", ["127.0.0.1"]),
        ("right.example", ["192.0.2.1", "127.0.0.1"], "right", ["127.0.0.1"]),
        ("right.example/shop", ["127.0.0.1"], "right", ["127.0.0.1"]),
        ("both.example", ["127.0.0.1", "0:0:0:0:0:0:0:1"], "right", ["127.0.0.1", "::1"]),
        ("both.example", ["127.0.0.1"], "wrong", ["127.0.0.1", "::1"]),
        ("half.example", ["127.0.0.1"], "wrong", ["127.0.0.1", "127.0.0.2"]),
        ("elsewhere.example", ["127.0.0.1"], "wrong", ["127.0.0.2"]),
        ("alias.example", ["web.example.net"], "right", ["web.example.net", "127.0.0.1"]),
        ("alias.example", ["other.example.net"], "wrong", ["web.example.net", "127.0.0.1"]),
        ("alias.example", ["127.0.0.1"], "right", ["web.example.net", "127.0.0.1"]),
        ("top.example", ["web.example.net"], "right", ["127.0.0.1"]),
        ("elsewhere.example", ["web.example.net"], "wrong", ["127.0.0.2"]),
        ("*.wild.example", ["127.0.0.1"], "right", ["127.0.0.1"]),
        ("right.example", [], "unknown", ["127.0.0.1"]),
        ("nowhere.example", ["127.0.0.1"], "missing", []),
        ("mail.example", ["127.0.0.1"], "missing", []),
        ("broken.example", ["127.0.0.1"], "failed", []),
    ],
)
def test_records_are_compared_with_what_is_expected(
    check: Check, domain: str, expected: list[str], state: str, found: list[str]
) -> None:
    done = check(domain, *expected)
    assert (done.domain, done.dns, done.found) == (domain, state, found), done.message
    if state == "wrong":
        assert f"instead of {' or '.join(expected)}" in done.message


def test_a_server_that_does_not_answer_is_waited_for_only_so_long(check: Check) -> None:
    done = check("silent.example", "127.0.0.1", timeout_seconds=0.2)
    assert (done.dns, done.certificate) == ("failed", "unknown")
    assert "no DNS server has answered" in done.message


def test_a_certificate_is_read_with_its_end(check: Check) -> None:
    done = check("right.example", "127.0.0.1")
    assert (done.certificate, done.message, done.is_good) == ("valid", "", True)
    assert done.certificate_until is not None
    assert abs(done.certificate_until - datetime.now(UTC) - timedelta(days=30)) < timedelta(hours=2)


def test_a_certificate_for_another_name_is_not_valid(check: Check) -> None:
    done = check("top.example", "127.0.0.1")
    assert (done.dns, done.certificate, done.is_good) == ("right", "invalid", False)
    assert "top.example" in done.message


def test_a_certificate_that_nobody_vouches_for_is_not_valid(nameserver: tuple[str, int], tls: tuple[int, str]) -> None:
    done = DomainChecker(["127.0.0.1"], nameserver=nameserver, tls_port=tls[0]).check(1, domains.parse("right.example"))
    assert (done.certificate, done.certificate_until) == ("invalid", None)
    assert "self-signed" in done.message or "self signed" in done.message


def test_a_port_without_a_server_and_one_without_tls(check: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert check("right.example", "127.0.0.1", tls_port=port).certificate == "none"
    assert check(f"right.example:{port}", "127.0.0.1").certificate == "none"
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def serve() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        done = check("right.example", "127.0.0.1", tls_port=plain.getsockname()[1])
        thread.join()
    assert done.certificate == "invalid"
    assert "does not speak TLS" in done.message


# Stored checks


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        migrate_own(engine)
        yield engine


def test_the_last_checks_are_stored(
    engine: sa.Engine, nameserver: tuple[str, int], tls: tuple[int, str], tmp_path: Path
) -> None:
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    add_site(engine, "right.example", aliases=["elsewhere.example", "nowhere.example"], settings=settings)
    add_site(engine, "both.example", settings=settings)
    checker = DomainChecker(["127.0.0.1"], nameserver=nameserver, tls_port=tls[0], ca_file=tls[1])
    done = domain_checks.check_domains(engine, list_sites(engine), checker)
    assert [(each.domain, each.dns) for each in done] == [
        ("both.example", "wrong"), ("right.example", "right"), ("elsewhere.example", "wrong"),
        ("nowhere.example", "missing"),
    ]  # fmt: skip
    first, second = (get_site(engine, host).site.id for host in ("right.example", "both.example"))
    assert domain_checks.read_checks(engine, first) == {each.domain: each for each in done if each.site_id == first}
    remove_domain(engine, "nowhere.example")
    move_domain(engine, "elsewhere.example", "both.example")
    domain_checks.check_domains(engine, [get_site(engine, "both.example")], checker)
    assert set(domain_checks.read_checks(engine, second)) == {"both.example", "elsewhere.example"}
    assert set(domain_checks.read_checks(engine, first)) == {"right.example", "nowhere.example"}
    domain_checks.check_domains(engine, [get_site(engine, "right.example")], checker)
    assert set(domain_checks.read_checks(engine, first)) == {"right.example"}


def test_the_command_prints_the_checks(
    tmp_path: Path, sqlite_database_url: str, nameserver: tuple[str, int], tls: tuple[int, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = Folder(tmp_path, sqlite_database_url)
    folder.write(app="multisite.public_addresses = 127.0.0.1")
    with closing_engine(sqlite_database_url) as engine:
        migrate_own(engine)
        for host in ("right.example", "nowhere.example"):
            add_site(engine, host, settings=Settings(sites_dir=tmp_path / "sites"))
    # The command asks the servers of the system.
    real = DomainChecker
    monkeypatch.setattr(
        domain_checks,
        "DomainChecker",
        lambda expected: real(expected, nameserver=nameserver, tls_port=tls[0], ca_file=tls[1]),
    )
    result = folder.invoke("check-domains", "right.example")
    assert (result.exit_code, result.stdout.split(" until ")[0]) == (
        0, f"{'right.example':30} DNS right, certificate valid",
    )  # fmt: skip
    result = folder.invoke("check-domains")
    assert result.exit_code == 1
    assert f"{'nowhere.example':30} DNS missing, certificate unknown: DNS has no such name" in result.stdout
    assert '"dns": "missing"' in folder.invoke("check-domains", "--json").stdout
    assert "no site is known" in folder.fails("check-domains", "other.example")


@pytest.mark.parametrize("value", ["web.example.net", "192.0.2.1", "192.0.2.1 2001:DB8::1"])
def test_public_addresses_are_addresses_or_a_name(value: str) -> None:
    assert parse_settings({"multisite.public_addresses": value}).public_addresses == tuple(value.lower().split())


@pytest.mark.parametrize("value", ["a.example b.example", "a.example 192.0.2.1", "http://a.example", "a.example:80"])
def test_other_public_addresses_are_refused(value: str) -> None:
    with pytest.raises(SettingError, match="addresses such as"):
        parse_settings({"multisite.public_addresses": value})
