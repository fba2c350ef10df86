"""The form of an entry: from an entry to the fields of the form, and from the fields to an `EntryText`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from pyramid.interfaces import IRoutesMapper
from pyramid.request import Request

from multisite.content.editor.pages import translate
from multisite.content.entry_text import EntryText
from multisite.content.limits import MAX_TAGS, SLUG_LENGTH, TITLE_LENGTH
from multisite.content.markup.dialects import Dialect
from multisite.content.markup.markdown import NestingTooDeep, render_stored
from multisite.content.models import Media
from multisite.content.page_paths import is_page_slug, is_reserved, join_page_slug, parent_of
from multisite.content.page_view import ROUTE
from multisite.content.slugs import slugify
from multisite.language.local_time import local_time, zone_of
from multisite.media.model import DIGESTS_IN_TEXT
from multisite.private_pages import field as field_of

__all__ = ["FIELDS", "EntryForm", "own_summary"]

FIELDS = ("title", "body", "summary", "tags", "slug", "published", "author", "parent", "picture")
"""The names of the fields. `parent` is the path above a page, `/` at the top; it is empty for an article."""

MAX_TEXT = 2_000_000
"""Characters of a text, as for imported files."""


@dataclass
class EntryForm:
    """The texts of the fields by name, and what is wrong with them by name."""

    texts: dict[str, str] = field(default_factory=lambda: dict.fromkeys(FIELDS, ""))
    faults: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request, text: EntryText, dialect: Dialect) -> EntryForm:
        """Return the form that shows `text`. A summary that was made from the text is left out."""
        shown = {
            "title": text.title,
            "body": text.body,
            "summary": own_summary(text, dialect),
            "tags": ", ".join(text.tags),
            "slug": text.slug.rpartition("/")[2],
            "parent": parent_of(text.slug) if is_page_slug(text.slug) else "",
            "published": "" if text.published is None else _local(text.published, zone_of(request.site)),
            "author": text.author or "",
            "picture": text.picture or "",
        }
        return cls(shown)

    @classmethod
    def sent(cls, request: Request) -> EntryForm:
        """Return the form that a browser has sent."""
        # Browsers end the lines of a text with CR LF.
        return cls({name: field_of(request, name).replace("\r\n", "\n") for name in FIELDS})

    @property
    def is_page(self) -> bool:
        """Whether this is the form of a page."""
        return bool(self.texts["parent"])

    def read(self, request: Request, *, draft: bool) -> EntryText | None:
        """Return the text, None if `faults` says what is wrong. An article that is no draft gets a time: now."""
        texts = {name: text if name == "body" else " ".join(text.split()) for name, text in self.texts.items()}
        tags = tuple(tag for part in texts["tags"].split(",") if (tag := part.strip()))
        if not texts["title"]:
            self.faults["title"] = translate(request, "An entry needs a title.")
        self._check_lengths(request, texts, tags)
        published = None if self.is_page else self._time(request, texts["published"])
        slug = self._page_slug(request, texts) if self.is_page else texts["slug"]
        picture = self._picture(request, texts["picture"])
        if self.faults:
            return None
        if published is None and not draft and not self.is_page:
            published = datetime.now(UTC).replace(microsecond=0)
        return EntryText(
            title=texts["title"],
            slug=slug,
            summary=texts["summary"],
            body=texts["body"],
            tags=() if self.is_page else tags,
            author=texts["author"] or None,
            published=published,
            draft=draft,
            picture=picture,
        )

    def _picture(self, request: Request, path: str) -> str | None:
        """Return the path of the chosen picture, which is one of the site's media."""
        if not path:
            return None
        digest = DIGESTS_IN_TEXT.match(path)
        statement = sa.select(Media).where(Media.digest == (digest and digest[1]), Media.width.is_not(None))
        media = request.dbsession.scalars(statement).one_or_none()
        if media is None or media.path != path:
            self.faults["picture"] = translate(request, "Choose a picture of the site.")
        return path

    def _page_slug(self, request: Request, texts: Mapping[str, str]) -> str:
        """Return the slug of the page, whose address must not be one of the application's own."""
        last = slugify(texts["slug"]) or slugify(texts["title"]) or "page"
        slug = join_page_slug(texts["parent"][: SLUG_LENGTH + 1], last)
        routes = request.registry.getUtility(IRoutesMapper).get_routes()
        if not slug.endswith(f"/{last}"):
            self.faults["slug"] = translate(request, "At most {count} characters.", count=SLUG_LENGTH)
        elif is_reserved(slug) or any(
            route.match(path) is not None for route in routes if route.name != ROUTE for path in (slug, f"{slug}/")
        ):
            self.faults["slug"] = translate(request, "The site has something else at this address.")
        return slug

    def _check_lengths(self, request: Request, texts: Mapping[str, str], tags: tuple[str, ...]) -> None:
        limits = {"title": TITLE_LENGTH, "slug": SLUG_LENGTH, "author": TITLE_LENGTH}
        limits |= {"summary": MAX_TEXT, "body": MAX_TEXT}
        for name, text in texts.items():
            # PostgreSQL stores no NUL, and nothing stores half of a pair of UTF-16.
            if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
                self.faults[name] = translate(request, "This text has characters that cannot be stored.")
            elif len(text) > limits.get(name, MAX_TEXT):
                self.faults[name] = translate(request, "At most {count} characters.", count=limits[name])
        if len(tags) > MAX_TAGS or any(len(tag) > SLUG_LENGTH for tag in tags):
            self.faults["tags"] = translate(
                request, "At most {count} tags of {length} characters.", count=MAX_TAGS, length=SLUG_LENGTH
            )

    def _time(self, request: Request, text: str) -> datetime | None:
        if not text:
            return None
        try:
            when = datetime.fromisoformat(text)
            if when.tzinfo is None:
                when = when.replace(tzinfo=zone_of(request.site))
            if when.astimezone(UTC).year < 2:
                raise ValueError
        except (ValueError, OverflowError):
            self.faults["published"] = translate(request, "A date and a time such as 2026-05-31 09:30.")
            return None
        return when.astimezone(UTC)


def _local(when: datetime, zone: ZoneInfo) -> str:
    return local_time(when, zone).replace(tzinfo=None).isoformat(timespec="seconds")


def own_summary(text: EntryText, dialect: Dialect) -> str:
    """Return the summary that somebody wrote; empty for one that was made from the text."""
    try:
        made = render_stored(text.body, dialect).summary
    except NestingTooDeep:
        made = ""
    return "" if text.summary == made else text.summary
