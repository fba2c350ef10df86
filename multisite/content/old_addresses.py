"""The redirects that an import makes: from the addresses that its entries had to those that they have now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from multisite.content.old_site import OldSite
from multisite.content.redirect_rules import InvalidRedirect, Rule, parse_rule
from multisite.content.report import ImportReport, Note
from multisite.content.upsert import Prepared

__all__ = ["OldAddresses"]


@dataclass(slots=True)
class OldAddresses:
    """Collects the old addresses of the entries from `old_site`; the first entry that names one gets it."""

    old_site: OldSite
    report: ImportReport
    entries: int = 0
    rules: dict[str, Rule] = field(default_factory=dict)

    def add(self, article: Prepared, slug: str) -> None:
        """Redirect the addresses of `article` to the entry with `slug`, unless it is a draft."""
        if article.article.draft:
            return
        self.entries += 1
        target = f"/entries/{quote(slug, safe='')}"
        for address in article.addresses:
            try:
                rule = parse_rule(address, target)
            except InvalidRedirect as error:
                self._note(article, str(error))
                continue
            if rule.path in ("/", f"/entries/{slug}"):
                continue
            first = self.rules.setdefault(rule.path, rule)
            if first != rule:
                self._note(article, f"{rule.path} leads to {first.target}, which names it as well")

    def redirects(self) -> Iterator[Rule]:
        """Yield the rules: those of entries and, if there are any, those of the feeds and lists of the old site."""
        yield from self.rules.values()
        for old, new in self.old_site.common_addresses(self.entries) if self.rules else ():
            rule = parse_rule(old, new)
            if rule.path not in self.rules:
                yield rule

    def _note(self, article: Prepared, text: str) -> None:
        self.report.notes.append(Note(article.source, None, "redirect", text))
