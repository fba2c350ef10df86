"""Read WordPress's export format, WXR, as a stream.

A file may have gigabytes. At no time is more than one item in memory, and each of its fields has a limit. defusedxml
refuses entities and external references, with which a small file could fill the memory or read other files.

Source of the format: wp-admin/includes/export.php of WordPress 6.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from xml.sax import SAXParseException, handler

from defusedxml import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

from multisite.content.errors import InvalidArticle, InvalidExport
from multisite.content.imports.files import MAX_FILE_BYTES, open_file, printable

__all__ = ["WxrRecord", "read_wxr"]

_CHUNK_BYTES = 65_536
_MAX_TOKEN_BYTES = 4_000_000
"""Bytes without an element or text: a tag or comment of this length would have to be held in memory."""

_MAX_DEPTH = 20
_MAX_FIELD = 100_000
"""Characters of a field other than the text of a post."""

_MAX_LIST = 1000
"""Terms, and fields of `wp:postmeta`, of one item."""

_NAMESPACES = re.compile(r"https?://wordpress\.org/export/[\d.]+/(excerpt/)?")
_PREFIXES = {"//purl.org/rss/1.0/modules/content/": "content:", "//purl.org/dc/elements/1.1/": "dc:"}
"""Namespaces without their scheme, which is https in some files."""

_CONTROLS = bytes(byte for byte in range(32) if byte not in b"\t\n\r")
_SPACES = bytes.maketrans(_CONTROLS, b" " * len(_CONTROLS))
_RECORDS = frozenset({"item", "wp:author", "wp:category"})
_META = frozenset(
    {
        "_menu_item_menu_item_parent",
        "_menu_item_object_id",
        "_menu_item_type",
        "_menu_item_url",
        "_thumbnail_id",
        "_wp_attachment_image_alt",
        "_wp_old_slug",
        "footnotes",
    }
)
_CUT_OFF = frozenset({3, 5, 20})
"""Errors of expat for a file that ends too early: no element found, unclosed token, unclosed CDATA section."""

_NO_CHARACTER = frozenset({4, 6, 14})
"""Errors of expat for a byte or character that is not allowed."""


@dataclass(slots=True)
class WxrRecord:
    """An `item`, `wp:author` or `wp:category` of the file, or the `channel` before the first of them.

    `fields` are the texts of its elements by name with prefix, such as `wp:post_id`. `terms` are the domain, the
    nicename and the name of each `category` of an item; `meta` the values of `wp:postmeta` that the import uses.
    `line` is where it begins, `content_line` where its text begins. `too_long` names a field that was cut.
    """

    kind: str
    line: int
    fields: dict[str, str] = field(default_factory=dict)
    terms: list[tuple[str, str, str]] = field(default_factory=list)
    meta: dict[str, list[str]] = field(default_factory=dict)
    comments: int = 0
    content_line: int = 0
    too_long: str | None = None


@dataclass(slots=True)
class _Text:
    """The text of the element that is being read, up to a limit."""

    limit: int
    parts: list[str] = field(default_factory=list)
    length: int = 0

    def add(self, text: str) -> None:
        self.length += len(text)
        if self.length <= self.limit:
            self.parts.append(text)


class _Handler(handler.ContentHandler):
    """Collects finished records in `done`."""

    def __init__(self, parser: Any) -> None:
        super().__init__()
        self.done: list[WxrRecord] = []
        self.is_begun = False
        self.has_events = False
        self._parser = parser
        self._record: WxrRecord | None = WxrRecord("channel", 1)
        self._path: list[str] = []
        self._text: _Text | None = None
        self._term = ("", "")
        self._meta_key = ""

    def startElementNS(self, name: tuple[str | None, str], qname: str | None, attrs: Any) -> None:  # noqa: N802
        self.is_begun = self.has_events = True
        local = _prefix(name[0]) + name[1]
        self._path.append(local)
        if len(self._path) > _MAX_DEPTH:
            raise InvalidExport(f"elements are nested more than {_MAX_DEPTH} deep")
        if len(self._path) == 1 and local != "rss":
            raise InvalidExport(f"not an export of WordPress: its first element is {local[:40]}, not rss")
        if len(self._path) == 3 and local in _RECORDS:
            self._begin(local)
        self._text = _Text(MAX_FILE_BYTES if local == "content:encoded" else _MAX_FIELD)
        if local == "category":
            self._term = (attrs.get((None, "domain"), ""), attrs.get((None, "nicename"), ""))
        if local == "content:encoded" and self._record is not None:
            self._record.content_line = self._parser.getLineNumber()

    def characters(self, content: str) -> None:
        self.has_events = True
        if self._text is not None:
            self._text.add(content)

    def endElementNS(self, name: tuple[str | None, str], qname: str | None) -> None:  # noqa: N802
        self.has_events = True
        local = self._path.pop()
        text, self._text = self._text, None
        if text is not None and self._record is not None:
            self._store(self._record, local, text)
        if local == "wp:comment" and self._record is not None:
            self._record.comments += 1
        if len(self._path) == 2 and local in _RECORDS and self._record is not None:
            self.done.append(self._record)
            self._record = None

    def finish(self) -> None:
        """Hand over the channel of a file without records. Raises `InvalidExport` for an empty file."""
        if not self.is_begun:
            raise InvalidExport("the file is empty")
        if self._record is not None and self._record.kind == "channel":
            self._check_channel(self._record)

    def _begin(self, kind: str) -> None:
        if self._record is not None and self._record.kind == "channel":
            self._check_channel(self._record)
        self._record = WxrRecord(kind, self._parser.getLineNumber())

    def _check_channel(self, channel: WxrRecord) -> None:
        if "wp:wxr_version" not in channel.fields:
            raise InvalidExport("not an export of WordPress: an RSS feed without wp:wxr_version")
        self.done.append(channel)

    def _store(self, record: WxrRecord, name: str, text: _Text) -> None:
        """Keep the text of an element that the import uses; `too_long` of the record names one that is too long."""
        value = "".join(text.parts)
        if self._path[3:] == ["wp:postmeta"]:
            if name == "wp:meta_key":
                self._meta_key = value
            if name != "wp:meta_value" or self._meta_key not in _META:
                return
            values = record.meta.setdefault(self._meta_key, [])
            if len(values) < _MAX_LIST:
                values.append(value)
        elif len(self._path) != (2 if record.kind == "channel" else 3) or name.startswith("?:"):
            return
        elif name == "category" and record.kind == "item":
            if len(record.terms) < _MAX_LIST:
                record.terms.append((*self._term, value))
        else:
            record.fields[name] = value if name == "content:encoded" else value.strip()
        if text.length > text.limit:
            record.too_long = name


def _prefix(namespace: str | None) -> str:
    if not namespace:
        return ""
    match = _NAMESPACES.fullmatch(namespace)
    if match is not None:
        return "excerpt:" if match[1] else "wp:"
    return _PREFIXES.get(namespace.removeprefix("http:").removeprefix("https:"), "?:")


def read_wxr(
    path: Path, on_control_character: Callable[[int], None] = lambda _line: None
) -> Generator[WxrRecord, None, None]:
    """Yield the records of an export: first the channel, then authors, categories and items.

    Control characters, which XML does not allow but WordPress writes, are read as spaces.

    Args:
        path: The file.
        on_control_character: Called with the line of each part of the file that has one.

    Raises:
        InvalidExport: The file cannot be read, or is not such an export; the message has the line.
    """
    try:
        file = open_file(path)
    except InvalidArticle as error:
        raise InvalidExport(f"{printable(path)}: {error}") from None
    with file:
        yield from _read(file, printable(path), on_control_character)


def _read(file: BinaryIO, name: str, on_control_character: Callable[[int], None]) -> Generator[WxrRecord, None, None]:
    parser = DefusedExpatParser(forbid_dtd=True, forbid_entities=True, forbid_external=True)
    parser.setFeature(handler.feature_namespaces, True)
    records = _Handler(parser)
    parser.setContentHandler(records)
    silent = 0
    try:
        for chunk, has_controls in _chunks(file):
            if has_controls:
                on_control_character(parser.getLineNumber() or 1)
            records.has_events = False
            parser.feed(chunk)
            silent = 0 if records.has_events else silent + len(chunk)
            if silent > _MAX_TOKEN_BYTES:
                raise InvalidExport(f"a tag or comment of more than {_MAX_TOKEN_BYTES:,} bytes")
            yield from records.done
            records.done.clear()
        parser.close()
        records.finish()
        yield from records.done
    except SAXParseException as error:
        where = f"{name}:{error.getLineNumber()}:{(error.getColumnNumber() or 0) + 1}"
        raise InvalidExport(f"{where}: {_reason(error)}") from None
    except InvalidExport as error:
        raise InvalidExport(f"{name}:{parser.getLineNumber()}: {error}") from None
    except DefusedXmlException:
        reason = "a DOCTYPE or an entity, which an export of WordPress does not have"
        raise InvalidExport(f"{name}:{parser.getLineNumber()}: {reason}") from None
    except (LookupError, ValueError) as error:  # From the codec that the XML declaration names.
        raise InvalidExport(f"{name}:1: its encoding cannot be read: {error}") from None


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Yield the bytes of `file`, and whether control characters were replaced by spaces."""
    chunk = file.read(_CHUNK_BYTES).lstrip()  # Plugins write empty lines before the XML declaration.
    replaces = b"\0" not in chunk[:4]  # UTF-16 has NUL bytes.
    while chunk:
        cleaned = chunk.translate(_SPACES) if replaces else chunk
        yield cleaned, cleaned != chunk
        chunk = file.read(_CHUNK_BYTES)


def _reason(error: SAXParseException) -> str:
    code = getattr(error.getException(), "code", 0)
    if code in _CUT_OFF:
        return "the file is cut off here: export it again"
    if code in _NO_CHARACTER:
        return f"not well-formed XML: {error.getMessage()} (is it UTF-8?)"
    return f"not well-formed XML: {error.getMessage()}"
