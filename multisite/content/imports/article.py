"""An article: what an import reads from its source, and saves as an entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from multisite.content.imports.metadata import Notation

__all__ = ["Article"]


@dataclass(frozen=True, slots=True)
class Article:
    """The content of an entry, from a file or an export.

    `published` is None only for drafts and for pages, whose `slug` is a path; `written` is the same time in the time
    zone of its source, also for pages; `summary` and `updated` are None if not
    given. `language`, `notation`, `line` and `notes` are those of a file: `line` is the number of the first line of
    `body`, from 1; `notes` are sentences about parts of the file that an entry cannot have. `written_slug` is the slug
    as its source has it, or empty. `address` is the address that the source names, or empty, and `aliases` are further
    ones; all are as written. `picture` is the address of the picture for links to the entry, as written, and
    `picture_alt` says what it shows; both may be empty. The fields from `written` on are ignored when articles are
    compared.
    """

    slug: str
    title: str
    body: str
    tags: tuple[str, ...]
    published: datetime | None
    updated: datetime | None
    summary: str | None
    draft: bool
    written: datetime | None = field(default=None, compare=False)
    categories: tuple[str, ...] = field(default=(), compare=False)
    author: str | None = field(default=None, compare=False)
    language: str | None = field(default=None, compare=False)
    notation: Notation = field(default="yaml", compare=False)
    line: int = field(default=1, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    written_slug: str = field(default="", compare=False)
    address: str = field(default="", compare=False)
    aliases: tuple[str, ...] = field(default=(), compare=False)
    picture: str = field(default="", compare=False)
    picture_alt: str = field(default="", compare=False)
