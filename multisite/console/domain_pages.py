"""The domains of a site: add one, remove one, make one canonical."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request

from multisite.console.pages import N_, add_page, done, translate
from multisite.console.site_list_pages import explain
from multisite.console.site_pages import SITE_PATTERN, find_record, site_variables
from multisite.directory.records import SiteRecord
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.sites.domain_checks import DomainChecker, check_domains, read_checks
from multisite.sites.domains import add_domain, remove_domain, set_canonical

__all__ = ["includeme"]

DNS_TEXTS = {
    "right": N_("DNS is right"),
    "wrong": N_("DNS leads elsewhere"),
    "missing": N_("Not in DNS"),
    "unknown": N_("DNS not compared"),
    "failed": N_("DNS has not answered"),
}

CERTIFICATE_TEXTS = {
    "valid": N_("Certificate until {day}"),
    "invalid": N_("Certificate not valid"),
    "none": N_("No https"),
    "unknown": N_("Certificate unknown"),
}


def domains(request: Request) -> Any:
    """The domains of a site, and what a POST does to one of them."""
    record, error = find_record(request), None
    if request.method == "POST":
        try:
            error = _change(request, record)
        except MultisiteError as refused:
            error = explain(request, refused)
        if error is None:
            request.console.directory.refresh_soon()
            return done(request, "saved", "domains", id=record.site.id)
        request.response.status_int = 400
    return site_variables(
        request,
        record,
        error=error,
        host=field(request, "host") if error else "",
        checks=read_checks(request.console.engine, record.site.id),
        records=_records(record, request.console.settings.public_addresses),
        dns_texts=DNS_TEXTS,
        certificate_texts=CERTIFICATE_TEXTS,
    )


def _records(record: SiteRecord, addresses: Sequence[str]) -> str:
    """Return the DNS records that the domains of a site should have, in the form of a zone file."""
    hosts = dict.fromkeys(_name(each.host) for each in record.domains)
    return "\n".join(
        f"{host}.  {_kind(address)}  {address}{'.' if _kind(address) == 'CNAME' else ''}"
        for host in hosts
        if not host.endswith("localhost")
        for address in addresses
    )


def _name(domain: str) -> str:
    """Return the name of a domain, without its port and its path."""
    return domain.partition("/")[0].partition(":")[0]


def _kind(address: str) -> str:
    try:
        return "AAAA" if ipaddress.ip_address(address).version == 6 else "A"
    except ValueError:
        return "CNAME"


def _change(request: Request, record: SiteRecord) -> str | None:
    """Make the change, or return why not."""
    engine, action, host = request.console.engine, field(request, "action"), field(request, "host").strip()
    is_redirect = field(request, "kind") == "redirect"
    if action == "add":
        underscores = request.console.settings.allow_underscores
        add_domain(engine, record.site.domain, host, redirect=is_redirect, allow_underscores=underscores)
        return None
    if action == "check":
        check_domains(engine, [record], DomainChecker(request.console.settings.public_addresses))
        return None
    # The functions below find the site by the domain, which must not be one of another site.
    if host not in {each.host for each in record.domains}:
        return translate(request, "The site has no such domain any more.")
    if action == "canonical":
        set_canonical(engine, host, redirect=is_redirect)
        return None
    if action == "remove":
        remove_domain(engine, host)
        return None
    return translate(request, "Nothing was changed.")


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "domains", SITE_PATTERN + "/domains", domains, "domains", role="look", change_role="run")
