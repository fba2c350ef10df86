"""The redirects that an import makes: from the addresses that its entries had to those that they have now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from urllib.parse import quote, unquote

from multisite.content.imports.files import printable
from multisite.content.imports.old_site import OldSite
from multisite.content.imports.upsert import Prepared
from multisite.content.page_paths import address_of
from multisite.content.redirect_rules import InvalidRedirect, Rule, parse_rule, path_key
from multisite.content.report import ImportReport, Note
from multisite.content.slugs import slugify

__all__ = ["OldAddresses"]


@dataclass(slots=True)
class OldAddresses:
    """Collects the old addresses of the entries from `old_site`; the first entry that names one gets it."""

    old_site: OldSite
    report: ImportReport
    entries: int = 0
    rules: dict[str, Rule] = field(default_factory=dict)
    _authors: set[str] = field(default_factory=set)
    _lists: dict[str, str] = field(default_factory=dict)

    def add(self, article: Prepared, slug: str) -> None:
        """Redirect the addresses of `article` to the entry with `slug`, unless it is a draft."""
        if article.article.draft:
            return
        self.entries += 1
        for address, name in self.old_site.list_addresses(article.article):
            self._lists.setdefault(address, f"/tags/{quote(slugify(name), safe='')}")
        if (list_of_author := self.old_site.author_address(article.article.author)) is not None:
            self._authors.add(list_of_author)
        target = address_of(slug)
        for address in article.addresses:
            rule = self._rule(address, target, article.source)
            if rule is None or rule.path in ("/", path_key(unquote(target))):
                continue
            first = self.rules.setdefault(rule.path, rule)
            if first != rule:
                self._note(article.source, f"{rule.path} leads to {first.target}, which names it as well")

    def redirects(self) -> Iterator[Rule]:
        """Yield the rules: those of entries and, if there are any, those of the feeds and lists of the old site."""
        yield from self.rules.values()
        if not self.rules:
            return
        # The list of the only author is that of all entries. There are no lists of one of several authors.
        authors = [(address, "/") for address in self._authors] if len(self._authors) == 1 else []
        for old, new in chain(self.old_site.common_addresses(self.entries), self._lists.items(), authors):
            rule = self._rule(old, new, printable(self.old_site.root))
            if rule is not None and rule.path not in self.rules:
                yield rule

    def _rule(self, address: str, target: str, source: str) -> Rule | None:
        try:
            return parse_rule(address, target)
        except InvalidRedirect as error:
            self._note(source, str(error))
            return None

    def _note(self, source: str, text: str) -> None:
        self.report.notes.append(Note(source, None, "redirect", text))
