"""Check domains: whether their records in DNS lead to this server, and until when their certificates are valid.

`multisite.public_addresses` says what is expected. The last check of each domain is stored, so that a page can show it
without asking anybody. Needs dnspython (`pyramid-multisite[console]`).
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from multisite.core import domains
from multisite.core.domains import Domain
from multisite.directory.operator_tables import domain_checks_table
from multisite.directory.records import SiteRecord
from multisite.directory.tables import AS_MULTISITE
from multisite.errors import MultisiteError

__all__ = ["DomainCheck", "DomainChecker", "check_domains", "read_checks"]

Dns = Literal["right", "wrong", "missing", "unknown", "failed"]
Certificate = Literal["valid", "invalid", "none", "unknown"]

WILDCARD_LABEL = "multisite-check"
"""What stands for the * of a wildcard: a name that nobody has a record of its own for."""

THREADS = 16
"""How many domains are checked at the same time: most of the time is waiting."""

MAX_MESSAGE_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class DomainCheck:
    """The check of one domain.

    `dns` is `right` or `wrong` compared with `expected`; `missing` without a record; `unknown` if nothing is expected
    or the domain is no name; or `failed` if no server has answered. `found` are the names that CNAME records lead to,
    and the addresses. `certificate` is `valid` until `certificate_until`; `invalid`; `none` if nothing listens; or
    `unknown`. `message` says what is not as it should be.
    """

    domain: str
    site_id: int
    checked: datetime
    expected: list[str]
    found: list[str]
    dns: Dns
    certificate: Certificate
    certificate_until: datetime | None
    message: str

    @property
    def is_good(self) -> bool:
        """Whether visitors reach the site by this domain, as far as this is known."""
        return self.dns in {"right", "unknown"} and self.certificate != "invalid"


class DomainChecker:
    """Asks DNS and the servers.

    Args:
        expected: Addresses, or one name for CNAME records: `multisite.public_addresses`.
        nameserver: Address and port of the DNS server; None for those of the system.
        tls_port: The port of a domain that names none.
        ca_file: Certificates that are trusted instead of those of the system.
        timeout_seconds: How long a server may take to answer.
    """

    def __init__(
        self,
        expected: Sequence[str],
        *,
        nameserver: tuple[str, int] | None = None,
        tls_port: int = 443,
        ca_file: str | None = None,
        timeout_seconds: float = 5.0,
    ) -> None:
        try:
            import dns.resolver
        except ModuleNotFoundError as error:
            raise MultisiteError(
                "checking domains needs dnspython: pip install 'pyramid-multisite[console]'"
            ) from error
        try:
            self._resolver = dns.resolver.Resolver(configure=nameserver is None)
        except dns.resolver.NoResolverConfiguration as error:
            raise MultisiteError("this machine has no DNS server: name one in /etc/resolv.conf") from error
        if nameserver is not None:
            self._resolver.nameservers = [nameserver[0]]
            self._resolver.port = nameserver[1]
        self._resolver.lifetime = timeout_seconds
        self._expected = list(expected)
        self._tls_port = tls_port
        self._timeout_seconds = timeout_seconds
        self._tls = ssl.create_default_context(cafile=ca_file)

    def check(self, site_id: int, domain: Domain) -> DomainCheck:
        """Return the check of a domain."""
        name = domain.name.replace("*", WILDCARD_LABEL, 1)
        blank = DomainCheck(str(domain), site_id, datetime.now(UTC), self._expected, [], "unknown", "unknown", None, "")
        if _is_address(name) or name == "localhost" or name.endswith(".localhost"):
            return self._with_certificate(blank, name, name.strip("[]"), domain.port)
        try:
            names, addresses = self._look_up(name)
        except _NotFound as error:
            return replace(blank, dns=error.state, message=str(error)[:MAX_MESSAGE_CHARACTERS])
        found = replace(blank, found=[*names, *addresses])
        if self._expected:
            is_right = self._is_right(names, addresses)
            wanted = " or ".join(self._expected)
            message = "" if is_right else f"it leads to {', '.join(found.found)} instead of {wanted}"
            found = replace(found, dns="right" if is_right else "wrong", message=message)
        return self._with_certificate(found, name, addresses[0], domain.port)

    def _is_right(self, names: Sequence[str], addresses: Sequence[str]) -> bool:
        """Return whether the records lead to this server and nowhere else."""
        if all(_is_address(each) for each in self._expected):
            return {_canonical(each) for each in addresses} <= {_canonical(each) for each in self._expected}
        if self._expected[0].lower() in names:
            return True
        # At the top of a zone there is no CNAME: its addresses have to be those of the name.
        with suppress(_NotFound):
            return set(addresses) <= set(self._look_up(self._expected[0])[1])
        return False

    def _look_up(self, name: str) -> tuple[list[str], list[str]]:
        """Return the names that CNAME records lead to, and the addresses. Raises `_NotFound` without an address."""
        import dns.exception
        import dns.rdatatype
        import dns.resolver

        names: dict[str, None] = {}
        addresses: list[str] = []
        try:
            for kind in ("A", "AAAA"):
                answer = self._resolver.resolve(f"{name}.", kind, raise_on_no_answer=False)
                for records in answer.response.answer:
                    if records.rdtype == dns.rdatatype.CNAME:
                        names |= {str(each.target).rstrip(".").lower(): None for each in records}
                addresses += sorted(each.address for each in answer.rrset or ())
        except dns.resolver.NXDOMAIN:
            raise _NotFound("missing", "DNS has no such name") from None
        except dns.exception.DNSException as error:
            raise _NotFound("failed", f"no DNS server has answered ({type(error).__name__})") from error
        if not addresses:
            raise _NotFound("missing", "DNS has no address for it")
        return list(names), addresses

    def _with_certificate(self, check: DomainCheck, name: str, address: str, port: int | None) -> DomainCheck:
        """Return `check` with the certificate that the server at `address` shows for `name`."""
        try:
            with (
                socket.create_connection((address, port or self._tls_port), self._timeout_seconds) as plain,
                self._tls.wrap_socket(plain, server_hostname=name.strip("[]")) as connection,
            ):
                certificate: Any = connection.getpeercert()
        except ssl.SSLCertVerificationError as error:
            return _and(check, "invalid", f"its certificate is not valid: {error.verify_message}")
        except ssl.SSLError as error:
            return _and(check, "invalid", f"the server does not speak TLS ({error.reason or error})")
        except OSError as error:
            return _and(check, "none", f"there is no server for https at {address}: {error.strerror or error}")
        until = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
        return replace(check, certificate="valid", certificate_until=until)


class _NotFound(Exception):
    """There is no address of a name: `state` says whether DNS has said so."""

    def __init__(self, state: Dns, reason: str) -> None:
        super().__init__(reason)
        self.state: Dns = state


def _and(check: DomainCheck, certificate: Certificate, message: str) -> DomainCheck:
    both = "; ".join(text for text in (check.message, message) if text)
    return replace(check, certificate=certificate, message=both[:MAX_MESSAGE_CHARACTERS])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _canonical(address: str) -> str:
    return str(ipaddress.ip_address(address))


def check_domains(engine: Engine, records: Iterable[SiteRecord], checker: DomainChecker) -> list[DomainCheck]:
    """Check all domains of these sites, store the checks, and return them in the order of the sites."""
    chosen = list(records)
    wanted = [
        (record.site.id, domains.parse(each.host, underscores=True)) for record in chosen for each in record.domains
    ]
    with ThreadPoolExecutor(min(THREADS, max(len(wanted), 1))) as pool:
        checks = list(pool.map(lambda each: checker.check(*each), wanted))
    table = domain_checks_table
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        for record in chosen:
            connection.execute(sa.delete(table).where(table.c.site_id == record.site.id))
        for check in checks:
            # The domain may have been another site's at its last check.
            connection.execute(sa.delete(table).where(table.c.domain == check.domain))
        if checks:
            connection.execute(sa.insert(table), [asdict(each) for each in checks])
    return checks


def read_checks(engine: Engine, site_id: int) -> dict[str, DomainCheck]:
    """Return the last checks of the domains of a site, by domain."""
    statement = sa.select(domain_checks_table).where(domain_checks_table.c.site_id == site_id)
    with engine.connect().execution_options(**AS_MULTISITE) as connection:
        return {row.domain: DomainCheck(**row._mapping) for row in connection.execute(statement)}
