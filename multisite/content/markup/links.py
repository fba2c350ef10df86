"""Follow the links of a text: to other Markdown files, which become entries, and to pictures and other local files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape, unescape
from urllib.parse import quote, unquote

from markdown_it.token import Token

from multisite.content.report import Loss
from multisite.content.slugs import slugify

__all__ = ["PELICAN_MARK", "FileRefused", "FindFile", "FindOld", "Links", "OldAddress", "Resolve"]

Resolve = Callable[[str], str | None]
"""Returns the URL path of the entry of a file, or of a post by its name; None if there is none."""

FindFile = Callable[[str, str], Mapping[str, str] | None]
"""Returns the attributes of an image with this address and alternative text, `src` at least; None for no such file.

It raises `FileRefused` for a file that cannot be used.
"""


@dataclass(frozen=True, slots=True)
class OldAddress:
    """What an absolute URL of the old site stands for: its `path`, and the URL path of the `entry`, None if unknown."""

    path: str
    entry: str | None


FindOld = Callable[[str], OldAddress | None]
"""Returns what an absolute URL, or a path that starts with a slash, stands for; None for one of another site."""

_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//|#|$", re.IGNORECASE)
PELICAN_MARK = re.compile(r"\{(?:filename|attach|static)\}|\|(?:filename|attach|static)\|", re.IGNORECASE)
"""What Pelican writes before the path of a file."""

_PELICAN_LIST = re.compile(r"[{|](tag|category|author|index)[}|](.*)", re.IGNORECASE | re.DOTALL)
"""How Pelican writes the address of a list."""

_PAGES = (".md", ".markdown")
_BREAKS = frozenset({"hardbreak", "softbreak"})
_NAMES = {"a": "href", "audio": "src", "img": "src", "source": "src", "video": "src"}
"""The attribute with the address, by element."""

_TAGS = {"image": "img", "link_open": "a"}
"""The element of a token."""

_SERVED = "/static/"
"""Addresses below it are served from the folder of the site, and not reported."""


class FileRefused(Exception):
    """The file of a link exists but cannot be used; the message is the reason."""


class Links:
    """Follows the links of one text, first those of Markdown, then those of HTML in it.

    `losses` lists links to files that are not imported, and images and other files that are neither imported nor below
    `/static/`, each address once; `replaced` has the new address for each that was replaced, without percent-encoding.
    """

    def __init__(self, resolve: Resolve | None, find_file: FindFile | None, find_old: FindOld | None = None) -> None:
        self._resolve = resolve
        self._find_file = find_file
        self._find_old = find_old
        self.replaced: dict[str, str] = {}
        self._files: dict[str, Mapping[str, str]] = {}
        self._reported: set[str] = set()
        self.losses: list[Loss] = []

    def follow(self, tokens: Sequence[Token]) -> None:
        """Replace the addresses in `tokens`."""
        for token in tokens:
            line = token.map[0] if token.map else 0
            for child in token.children or ():
                line += child.type in _BREAKS
                tag = _TAGS.get(child.type)
                if tag is not None:
                    found = self._replacement(tag, str(child.attrs.get(_NAMES[tag], "")), child.content, line)
                    child.attrs.update(found)

    def rewrite(self, tag: str, attributes: Mapping[str, str], line: int) -> Mapping[str, str]:
        """Return the attributes of an HTML element with the address replaced; their values are escaped."""
        name = _NAMES.get(tag)
        if name is None or name not in attributes:
            return attributes
        alt = unescape(attributes.get("alt", ""))
        found = self._replacement(tag, unescape(attributes[name]).strip(), alt, line)
        if "width" in attributes or "height" in attributes:  # One of them alone would distort the picture.
            found = {key: value for key, value in found.items() if key not in ("width", "height")}
        return {**attributes, **{key: escape(value) for key, value in found.items()}}

    def _replacement(self, tag: str, written: str, alt: str, line: int) -> dict[str, str]:
        """Return the attributes that replace those of an element; empty to change nothing."""
        address = unquote(written)
        if _ELSEWHERE.match(address):
            found = self._old_target(tag, address, alt, line)
        elif tag == "a" and address.startswith("/") and (entry := self._old_entry(address)) is not None:
            found = {"href": entry}
        else:
            found = self._target(tag, address, alt, line)
        if found and found[_NAMES[tag]] != address:
            self.replaced[address] = found[_NAMES[tag]]
        return found

    def _old_target(self, tag: str, address: str, alt: str, line: int) -> dict[str, str]:
        """Return the attributes for an absolute address, which is replaced if it is one of the old site."""
        old = None if self._find_old is None else self._find_old(address)
        if old is None:
            return {}
        if tag == "a" and old.entry is not None:
            return {"href": old.entry}
        found = self._target(tag, old.path, alt, line)
        if tag == "a" and not found and old.path != "/":
            self._report(line, "link to a page that is not imported", address)
        return found

    def _old_entry(self, path: str) -> str | None:
        """Return the URL path of the entry that had an address on the old site, None if there is none."""
        old = None if self._find_old is None else self._find_old(path)
        return None if old is None else old.entry

    def _target(self, tag: str, address: str, alt: str, line: int) -> dict[str, str]:
        if tag == "a" and self._resolve is not None and (found := _PELICAN_LIST.match(address)):
            name = slugify(found[2]) if found[1].lower() in ("tag", "category") else ""
            return {"href": f"/tags/{quote(name)}" if name else "/"}
        target = PELICAN_MARK.sub("", address, count=1)
        if re.split(r"[#?]", target, maxsplit=1)[0].lower().endswith(_PAGES):
            if self._resolve is None:
                return {}
            entry = self._resolve(target.lstrip("/") if target != address else target)
            if entry is not None:
                return {_NAMES[tag]: entry}
            self._report(line, "link to a file that is not imported", address)
            return {}
        reason = ""
        file = self._files.get(address)
        try:
            if file is None and self._find_file is not None:
                file = self._find_file(address, alt)
        except FileRefused as error:
            reason = f": {error}"
        if file is not None:
            # HTML in the text is followed after Markdown, which has become HTML with the new address.
            self._files[address] = self._files[file["src"]] = file
            return dict(file) if tag == "img" else {_NAMES[tag]: file["src"]}
        if (tag != "a" or target != address or reason) and not address.startswith(_SERVED):
            self._report(line, "file that is not imported", f"{address}{reason}")
        return {}

    def _report(self, line: int, kind: str, text: str) -> None:
        if text not in self._reported:
            self._reported.add(text)
            self.losses.append(Loss(line, kind, text))
