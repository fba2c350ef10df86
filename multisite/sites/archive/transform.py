"""Change the values of an archive on the way into a database: addresses, and keys inside of values."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from multisite.errors import MultisiteError
from multisite.sites.archive.addresses import AddressMap, rewrite_json
from multisite.sites.archive.contents import Key, SiteContents
from multisite.sites.archive.key_mappings import IntegerKeys
from multisite.sites.archive.keys import KeyGroups
from multisite.sites.archive.plan import ArchivePlan, SiteTable

__all__ = ["Changes", "Transform"]

MAX_EXAMPLES = 1000
"""How many addresses of a column a dry run lists."""

_LOOKS_LIKE_A_KEY = re.compile(r'\b([a-z][a-z0-9]*)_id"?\s{0,3}[:=]\s{0,3}"?(\d{1,18})\b')
"""Matches `author_id = 17` and `"author_id": 17`."""


@dataclass
class Changes:
    """What an import changes in values besides the keys of rows.

    `addresses` counts the changed values by column, and `examples` has their addresses, old and new. `unchanged` counts
    the values by column that contain an address of the site and are not declared by `add_site_text`, and `keys` those
    that seem to contain the key of a row and are not declared by `add_site_reference`.
    """

    addresses: Counter[str] = field(default_factory=Counter)
    examples: dict[str, dict[str, str]] = field(default_factory=dict)
    unchanged: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)

    def warnings(self) -> list[str]:
        """Return a sentence for each column that the application should declare."""
        return [
            f"{column}: addresses of the site are unchanged ({_rows(count)}): declare the column with "
            "config.add_site_text"
            for column, count in sorted(self.unchanged.items())
        ] + [
            f"{column}: values that seem to be keys of rows are unchanged ({_rows(count)}): declare the column with "
            "config.add_site_reference"
            for column, count in sorted(self.keys.items())
        ]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


class Transform:
    """Changes the values of rows, and counts what it changes."""

    def __init__(self, contents: SiteContents, addresses: AddressMap, plan: ArchivePlan) -> None:
        self.changes = Changes()
        self._contents = contents
        self._addresses = addresses
        self._plan = plan

    def url(self, column: str, address: str) -> str:
        """Return the new form of an address in `column`, and note it."""
        new = self._addresses.url(address)
        if new != address:
            examples = self.changes.examples.setdefault(column, {})
            if len(examples) < MAX_EXAMPLES:
                examples[address] = new
        return new

    def columns(self, table: SiteTable) -> list[tuple[str, bool]]:
        """Return the columns of `table` whose values may change, and whether each holds JSON."""
        return [(each.name, each.kind.name == "json") for each in table.columns if each.kind.name in {"json", "text"}]

    def change(self, table: SiteTable, name: str, is_json: bool, value: str, groups: KeyGroups) -> str:
        """Return the new text of a value, which is JSON or plain text."""
        place, column = (table.name, name), f"{table.name}.{name}"
        reference = self._contents.references.get(place)
        if reference is not None:
            parsed = json.loads(value) if is_json else value
            new = self._new_keys(column, reference.find(parsed), groups)
            replaced = reference.replace(parsed, new)
            if replaced != parsed:
                value = json.dumps(replaced, ensure_ascii=False) if is_json else replaced
        elif self._seems_to_hold_a_key(value, groups):
            self.changes.keys[column] += 1
        return self._with_addresses(place, column, is_json, value) if self._addresses else value

    def _with_addresses(self, place: tuple[str, str], column: str, is_json: bool, value: str) -> str:
        rewrite = self._contents.texts.get(place)
        changed = value
        if rewrite is not None:
            parsed = json.loads(value) if is_json else value
            new = rewrite(parsed, lambda address: self.url(column, address))
            if new != parsed:
                changed = json.dumps(new, ensure_ascii=False) if is_json else new
        elif is_json:
            changed = rewrite_json(value, lambda address: self.url(column, address))
        elif self._addresses.mentions(value):
            self.changes.unchanged[column] += 1
        if changed != value:
            self.changes.addresses[column] += 1
        return changed

    def setting(self, name: str, text: str) -> str:
        """Return the new text of a setting of the site: an address, or JSON that contains some."""
        column = f"the setting {name}"
        if not self._addresses:
            return text
        new = self.url(column, text)
        if new == text and text[:1] in {"{", "[", '"'}:
            try:
                json.loads(text)
            except (ValueError, RecursionError):
                return text
            new = rewrite_json(text, lambda address: self.url(column, address))
        if new != text:
            self.changes.addresses[column] += 1
        return new

    def _new_keys(self, column: str, found: Iterable[Key], groups: KeyGroups) -> dict[Key, Any]:
        new: dict[Key, Any] = {}
        for table, key in found:
            mapping = self._mapping(column, table, groups)
            try:
                new[table, key] = key if mapping is None else mapping[key]
            except (KeyError, TypeError):
                # It referred to no row before either.
                new[table, key] = key
        return new

    def _mapping(self, column: str, table: str, groups: KeyGroups) -> Any:
        planned = self._plan.tables.get(table)
        if planned is None or len(planned.key) != 1:
            raise MultisiteError(f"the keys in {column} are of the table '{table}', which has no rows with such keys")
        return groups.of(table, planned.key[0])

    def _seems_to_hold_a_key(self, value: str, groups: KeyGroups) -> bool:
        if "_id" not in value:
            return False
        for word, digits in _LOOKS_LIKE_A_KEY.findall(value.lower()):
            for table in self._plan.tables.values():
                if table.table.name.lower().startswith(word[:-1] or word) and len(table.key) == 1:
                    mapping = groups.of(table.name, table.key[0])
                    if isinstance(mapping, IntegerKeys) and int(digits) in mapping:
                        return True
        return False
