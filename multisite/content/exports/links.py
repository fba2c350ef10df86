"""Links and files in the texts of an export: to entries, to uploaded files, or elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from urllib.parse import quote, unquote, urlsplit

from multisite.content.exports.index import ExportIndex
from multisite.content.exports.uploads import UploadImporter
from multisite.content.imports.old_site import bare_host
from multisite.content.markup.cleaning import ANCHOR_PREFIX
from multisite.content.page_paths import address_of

__all__ = ["OldBlog", "Rewriter", "tag_path"]

_NUMBER = re.compile(r"(?:^|&)(?:p|page_id|attachment_id)=(\d{1,18})(?:&|$)")
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
_ARCHIVE = re.compile(r"/(category|tag)/(?:[^/]+/)*([^/]+)")


def tag_path(slug: str) -> str:
    """Return the URL path of the entries with the tag `slug`."""
    return f"/tags/{quote(slug, safe='')}"


@dataclass(frozen=True, slots=True)
class OldBlog:
    """Where a blog was: its host without `www.` (None if the export does not say), and the path that it was below.

    `folders` are the beginnings of paths with uploaded files, `file_hosts` hosts with nothing else.
    """

    host: str | None
    folders: tuple[str, ...]
    path: str = ""
    file_hosts: tuple[str, ...] = ()

    def address(self, url: str) -> str | None:
        """Return the part of `url` that identifies a page of the blog: its path, or `?p=` and a number.

        None is returned for a URL that is not of the blog.
        """
        try:
            parts = urlsplit(unescape(url).strip())
        except ValueError:
            return None
        if parts.scheme not in ("", "http", "https") or not (parts.netloc or url.startswith(("/", "?"))):
            return None
        if parts.netloc and bare_host(parts.netloc) not in (self.host, *self.file_hosts):
            return None
        path = unquote(parts.path).rstrip("/")
        number = _NUMBER.search(parts.query)
        if number is not None and path.removesuffix("/index.php") in ("", self.path):
            return f"?p={number[1]}"
        return path or "/"

    def upload_name(self, url: str) -> str | None:
        """Return the path of an uploaded file below the folder of uploads; None if `url` is something else."""
        address = self.address(url)
        if address is None:
            return None
        for folder in self.folders:
            _, found, name = address.partition(folder)
            if found and name:
                return name
        netloc = urlsplit(unescape(url).strip()).netloc
        return address.lstrip("/") if netloc and bare_host(netloc) in self.file_hosts else None


@dataclass(frozen=True, slots=True)
class Rewriter:
    """Finds the new URLs of one text.

    `on_lost` is called with a line, a kind and a text for each link and file whose target is not imported.
    """

    blog: OldBlog
    index: ExportIndex
    importer: UploadImporter
    on_lost: Callable[[int, str, str], None]

    def rewrite(self, tag: str, url: str, line: int) -> str:
        """Return the new URL for the one in the element `tag`; the same if there is none."""
        name = self.blog.upload_name(url)
        if name is not None:
            imported = self.importer.add(name)
            if imported.path is None:
                self.on_lost(line, "file that is not imported", f"{url}: {imported.reason}" if imported.reason else url)
            return imported.path or url
        address = self.blog.address(url)
        if tag != "a":
            if address is not None or not _ABSOLUTE.match(url):
                self.on_lost(line, "file that is not imported", url)
            return url
        if address is None:
            return url
        slug = self.index.find_address(address)
        if slug is not None:
            # A page keeps its address, so that a link is found in the Markdown again.
            fragment = url.partition("#")[2].removeprefix(ANCHOR_PREFIX)
            return f"{address_of(slug)}{f'#{ANCHOR_PREFIX}{fragment}' if fragment else ''}"
        tag_slug = self._tag(address)
        if tag_slug is not None:
            return tag_path(tag_slug)
        if address not in ("/", self.blog.path):
            self.on_lost(line, "link to a page that is not imported", url)
        return url

    def picture(self, url: str) -> str | None:
        """Return the path of an uploaded picture in the media of the site; None if it is elsewhere."""
        name = self.blog.upload_name(url)
        return None if name is None else self.importer.add(name).picture

    def _tag(self, address: str) -> str | None:
        archive = _ARCHIVE.fullmatch(address.removeprefix(self.blog.path))
        return self.index.find_tag(archive[1], archive[2]) if archive is not None else None
