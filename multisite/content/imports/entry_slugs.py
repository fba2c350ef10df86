"""Choose the slug of an imported article with regard to the entries that the site has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from multisite.content.slugs import slugify
from multisite.language.local_time import local_time

__all__ = ["Owner", "Taken", "choose_slug", "dated_slug", "day_of"]


class Taken(Protocol):
    """What has a slug: an entry, or an article that becomes one."""

    @property
    def source(self) -> str | None:
        """The file."""

    @property
    def published(self) -> datetime | None:
        """The time of publication."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The file of an article, and when it is published."""

    source: str | None
    published: datetime | None


def choose_slug(slug: str, article: Taken, entries: Mapping[str, Taken], zone: ZoneInfo) -> str:
    """Return the slug of an article: its own, or with the day in `zone` if another article has that slug.

    An entry belongs to the article if it was imported from the same file, or has the same day.

    Args:
        slug: The slug that its file gives it.
        article: The article.
        entries: What the site has, by slug: at least for `slug` and `dated_slug(slug, …)`.
        zone: The time zone of the site.
    """
    dated = dated_slug(slug, article.published, zone)
    if dated is None:
        return slug
    here = [(each, entries[each]) for each in (slug, dated) if each in entries]
    for each, entry in here:
        if entry.source is not None and entry.source == article.source:
            return each
    for each, entry in here:
        if entry.published is None or day_of(entry.published, zone) == day_of(article.published, zone):
            return each
    return dated if slug in entries else slug


def dated_slug(slug: str, published: datetime | None, zone: ZoneInfo) -> str | None:
    """Return the slug with the day of publication before it; None without a day."""
    day = day_of(published, zone)
    return None if day is None else slugify(f"{day}-{slug}")


def day_of(when: datetime | None, zone: ZoneInfo) -> date | None:
    """Return the day in `zone`."""
    return None if when is None else local_time(when, zone).date()
