"""Links from one imported file to another: where the entry of the other file is, or will be."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePath, PurePosixPath
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from multisite.content.errors import InvalidArticle, NotAnEntry
from multisite.content.imports.article import Article
from multisite.content.imports.entry_slugs import Owner, choose_slug, dated_slug
from multisite.content.imports.files import printable
from multisite.content.markup.cleaning import ANCHOR_PREFIX
from multisite.content.models import Entry
from multisite.content.page_paths import address_of

__all__ = ["EntryLinks", "File"]

File = tuple[Path, Path]
"""A file, and its path without the language in its name."""


class EntryLinks:
    """Finds the entries that the files of an import become.

    Args:
        files: The files, in the order in which they are imported.
        parse: Returns the article in a file.
        session: The session of the import.
        zone: The time zone of the site.
    """

    def __init__(
        self, files: Sequence[File], parse: Callable[[Path, Path], Article], session: Session, zone: ZoneInfo
    ) -> None:
        self._files = files
        self.parse = parse
        self._session = session
        self._zone = zone
        self._slugs: dict[Path, str] = {}

    def find(self, path: Path, target: str) -> str | None:
        """Return the URL path of the entry that a link in the file `path` refers to, or None.

        `target` is a path, or the name of a file without its suffix. A fragment gets the prefix of ids in entries.
        """
        wanted, _, fragment = target.partition("#")
        beside = _absolute(path.parent / wanted)
        found = self._by_name.get(beside) or self._by_name.get(PurePosixPath(_base_name(PurePosixPath(wanted))))
        if found is not None:
            return self.address(found, fragment)
        slug = self._imported_before(beside)
        return None if slug is None else _with_fragment(slug, fragment)

    def address(self, file: File, fragment: str) -> str | None:
        """Return the URL path of the entry that a file becomes, None if it becomes none."""
        slug = self._slug(file)
        return None if slug is None else _with_fragment(slug, fragment)

    @cached_property
    def _by_name(self) -> Mapping[PurePath, File]:
        """The files by the names that links use: absolute path, or file name alone, of which the first counts."""
        names: dict[PurePath, File] = {PurePosixPath(_base_name(file[1])): file for file in reversed(self._files)}
        return names | {_absolute(file[1]): file for file in self._files}

    @cached_property
    def _groups(self) -> Mapping[str, Sequence[File]]:
        """The files by their names without dates: others have other slugs, unless their front matter names one."""
        groups: dict[str, list[File]] = {}
        for file in self._files:
            groups.setdefault(_undated(file[1]), []).append(file)
        return groups

    def _slug(self, file: File) -> str | None:
        """Return the slug of the entry of a file, None if it does not become one.

        Files of one name may have one slug, of which the first file gets it.
        """
        if file[0] not in self._slugs:
            self._choose(self._groups.get(_undated(file[1]), [file]))
        return self._slugs.get(file[0])

    def _imported_before(self, path: Path) -> str | None:
        """Return the slug of the entry that another import made of the file `path`."""
        return self._session.scalars(sa.select(Entry.slug).where(Entry.source == printable(path)).limit(1)).first()

    def _choose(self, files: Sequence[File]) -> None:
        articles = []
        for path, base in files:
            try:
                articles.append((path, self.parse(path, base)))
            except (InvalidArticle, NotAnEntry):
                continue
        slugs = {article.slug for _, article in articles}
        slugs |= {dated_slug(each.slug, each.published, self._zone) or each.slug for _, each in articles}
        columns = sa.select(Entry.slug, Entry.source, Entry.published).where(Entry.slug.in_(slugs))
        entries = {slug: Owner(source, published) for slug, source, published in self._session.execute(columns)}
        for path, article in articles:
            owner = Owner(printable(path.absolute()), article.published)
            slug = choose_slug(article.slug, owner, entries, self._zone)
            self._slugs[path] = slug
            entries[slug] = owner


def _with_fragment(slug: str, fragment: str) -> str:
    return f"{address_of(slug)}{f'#{ANCHOR_PREFIX}{fragment}' if fragment else ''}"


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.resolve asks the disk, and raises for what is no name)


def _base_name(path: PurePath) -> str:
    """Return the name without its suffix, for a page bundle that of its folder."""
    name = path.stem if path.suffix.lower() in (".md", ".markdown") else path.name
    return path.parent.name if name.lower() in ("index", "_index") else name


def _undated(path: PurePath) -> str:
    return _base_name(path).lower().lstrip("0123456789-_")
