"""`site.json`: the row of a site in the directory, its domains and its settings."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from multisite.core import domains
from multisite.core.domains import Domain
from multisite.directory.records import SiteRecord
from multisite.errors import InvalidHost, MultisiteError, escape_for_message
from multisite.sites.settings.registry import parse_own_settings
from multisite.sites.validation import check_locale, check_name, check_timezone

__all__ = ["ArchivedSite"]

AVAILABILITIES = ("open", "maintenance", "disabled")
KINDS = ("canonical", "alias", "redirect")


@dataclass(frozen=True)
class ArchivedSite:
    """A site as an archive describes it.

    `domains` are pairs of a domain and its kind, with the canonical one first. `settings` are the texts of its own
    settings by name. `availability` is `open`, `maintenance` or `disabled`. `copy_of` is the domain of the site that
    this one was copied from.
    """

    name: str
    locale: str
    timezone: str
    theme: str | None
    domains: tuple[tuple[Domain, str], ...]
    settings: dict[str, str]
    availability: str = "open"
    copy_of: str | None = None

    @property
    def canonical(self) -> Domain:
        """The canonical domain."""
        return self.domains[0][0]

    @classmethod
    def of(cls, record: SiteRecord) -> ArchivedSite:
        """Return what an archive says about the site of `record`."""
        site = record.site
        found = tuple((domains.parse(each.host, underscores=True), each.kind) for each in record.domains)
        return cls(
            site.name,
            site.locale,
            site.timezone,
            site.theme,
            found,
            parse_own_settings(site.own_settings),
            record.status if record.status in AVAILABILITIES else "open",
            site.copy_of,
        )

    def to_json(self) -> bytes:
        """Return the content of `site.json`."""
        listed = [{"host": str(domain), "kind": kind} for domain, kind in self.domains]
        return json.dumps({**asdict(self), "domains": listed}, indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, text: bytes, *, underscores: bool) -> ArchivedSite:
        """Parse `site.json`, with the checks of `add_site`. Raises `MultisiteError` if it is not valid."""
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError):
            raw = None
        if type(raw) is not dict:
            raise _unfit("it is not an object in JSON")
        if raw.get("availability", "open") not in AVAILABILITIES:
            raise _unfit("its availability is not open, maintenance or disabled")
        return cls(
            check_name(_text(raw, "name")),
            check_locale(_text(raw, "locale")),
            check_timezone(_text(raw, "timezone")),
            _optional_text(raw, "theme"),
            _domains(raw.get("domains"), underscores),
            _settings(raw.get("settings")),
            raw.get("availability", "open"),
            None if raw.get("copy_of") is None else str(_domain(raw["copy_of"], underscores=True)),
        )


def _unfit(reason: str) -> MultisiteError:
    return MultisiteError(f"site.json of the archive is not valid: {reason}")


def _text(raw: dict[str, Any], name: str) -> str:
    value = raw.get(name)
    if type(value) is not str:
        raise _unfit(f"it has no valid '{name}'")
    return value


def _optional_text(raw: dict[str, Any], name: str) -> str | None:
    return None if raw.get(name) is None else _text(raw, name)


def _domains(raw: Any, underscores: bool) -> tuple[tuple[Domain, str], ...]:
    if type(raw) is not list or not raw:
        raise _unfit("it has no domains")
    found: dict[Domain, str] = {}
    for position, each in enumerate(raw):
        if type(each) is not dict or each.get("kind") not in KINDS or (each["kind"] == "canonical") != (position == 0):
            raise _unfit("its domains are not one canonical domain followed by aliases and redirects")
        domain = _domain(each.get("host"), underscores=underscores)
        if domain in found or (position == 0 and domain.is_wildcard):
            raise _unfit(f"the domain '{escape_for_message(domain)}' is listed twice or cannot be canonical")
        found[domain] = each["kind"]
    return tuple(found.items())


def _domain(raw: Any, *, underscores: bool) -> Domain:
    try:
        return domains.parse(str(raw), underscores=underscores)
    except InvalidHost as error:
        raise _unfit(str(error)) from None


def _settings(raw: Any) -> dict[str, str]:
    if type(raw) is not dict or not all(type(value) is str and len(name) <= 64 for name, value in raw.items()):
        raise _unfit("its settings are not texts by name")
    return raw
