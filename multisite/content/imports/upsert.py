"""Save the articles of an import to the database, one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from multisite.content.entry_text import changed_by_people
from multisite.content.imports.article import Article
from multisite.content.imports.entry_digests import digest_of_entry
from multisite.content.imports.entry_slugs import Owner, choose_slug, dated_slug, day_of
from multisite.content.limits import SOURCE_LENGTH
from multisite.content.markup.markdown import Rendered
from multisite.content.models import Entry, Tag
from multisite.content.page_paths import is_page_slug
from multisite.content.redirect_rules import Rule
from multisite.content.redirects import save_redirects
from multisite.content.report import Counts, ImportReport, Note
from multisite.content.slugs import slugify
from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.language.local_time import zone_of

__all__ = ["BATCH_SIZE", "Prepared", "SavedArticle", "save_articles"]

BATCH_SIZE = 100
"""At most this many articles are in memory, and in one transaction."""

BATCH_CHARACTERS = 10_000_000
"""A batch also ends at this many characters of text and HTML."""

REDIRECT_BATCH_SIZE = 10_000
"""Redirects are saved in larger batches, since each batch reads all redirects of the site."""

_Model = TypeVar("_Model", Entry, Tag)

_ATTEMPTS = 3
"""How often a batch is tried if another import adds the same slugs at the same time."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An article ready to be saved; `addresses` are the paths that it had, which are to be redirected to the entry.

    `has_final_slug` is true if the slug was chosen with regard to all entries of the site: it is not changed, and the
    entry that has it already is the one of this article. `digest` is that of a file on which alone the entry depends,
    and `day` the day of its publication in the time zone of the site. `picture` is the path of the entry's picture in
    the media of the site; None if it has none.
    """

    article: Article
    rendered: Rendered
    source: str
    has_final_slug: bool = False
    addresses: tuple[str, ...] = ()
    digest: str | None = None
    day: date | None = None
    picture: str | None = None

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the entry: those of the article, and its categories, which entries do not have."""
        names = {slugify(name): name for name in (*self.article.categories, *self.article.tags)}
        return tuple(names.values())


@dataclass(frozen=True, slots=True)
class SavedArticle:
    """An article that was saved: slug and primary key of its entry, and the digest of that if the article has one."""

    article: Prepared
    slug: str
    key: int
    digest: str | None


@dataclass(frozen=True, slots=True)
class _Saved:
    """The result of a batch: counts, notes, and the articles."""

    counts: Counts = field(default_factory=Counts)
    notes: list[Note] = field(default_factory=list)
    articles: list[SavedArticle] = field(default_factory=list)


def save_articles(
    session: Session,
    site: Site,
    articles: Iterable[Prepared],
    report: ImportReport,
    *,
    strict: bool,
    redirects: Iterable[Rule] = (),
    on_saved: Callable[[SavedArticle], None] = lambda _saved: None,
) -> None:
    """Save `articles` as entries of `site`, then `redirects`, and add the result to `report`.

    `session` is pinned to the site. The articles may be made while they are read, and use the session.

    Each batch is a transaction of its own, so that an import that is stopped can be repeated. With `strict`, and if
    `report` is that of a dry run, everything is one transaction, which is rolled back after a dry run, or if the report
    has a bad path at the end. An entry that a person has changed since its import is not updated but noted, unless
    `report.force` is true. `on_saved` is called for each article, before `redirects` is read.
    """
    commit = not (strict or report.dry_run)
    for batch in _batches(articles):
        saved = _upsert_batch(session, batch, zone_of(site), commit=commit, force=report.force)
        report.count(saved.counts)
        report.notes += saved.notes
        for each in saved.articles:
            report.pages += is_page_slug(each.slug)
            on_saved(each)
    remaining = iter(redirects)
    while rules := list(islice(remaining, REDIRECT_BATCH_SIZE)):
        _save_redirects(session, rules, report)
        if commit:
            session.commit()
        session.expunge_all()
    if report.dry_run or (strict and report.bad):
        session.rollback()
        report.rolled_back = True
    else:
        session.commit()


def _save_redirects(session: Session, rules: Sequence[Rule], report: ImportReport) -> None:
    changes = save_redirects(session, rules, imported=True)
    report.redirects += len(changes.added) + len(changes.updated) + len(changes.unchanged)
    report.notes += [
        Note(path, None, "redirect", "a redirect that a person made is kept", lost=False) for path in changes.kept
    ]
    report.notes += [Note(rule.path, None, "redirect", reason) for rule, reason in changes.refused]


def _batches(articles: Iterable[Prepared]) -> Iterator[list[Prepared]]:
    """Yield the articles in batches, each small enough for memory and for one transaction."""
    batch: list[Prepared] = []
    characters = 0
    for item in articles:
        batch.append(item)
        characters += len(item.article.body) + len(item.rendered.html)
        if len(batch) == BATCH_SIZE or characters > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _upsert_batch(session: Session, batch: Sequence[Prepared], zone: ZoneInfo, *, commit: bool, force: bool) -> _Saved:
    """Add or update the entries of `batch` by slug, and expunge the objects from the session.

    An existing entry with another day and file keeps its slug; the new one gets a slug with its day in `zone`. Without
    `commit`, everything stays in the session's transaction.

    Returns:
        How many entries were added, updated and unchanged, and notes about them.

    Raises:
        MultisiteError: Another import keeps adding the same slugs.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        saved = _Saved()
        try:
            _save(session, batch, zone, saved, force=force)
            if commit:
                session.commit()
            break
        except IntegrityError as error:
            session.rollback()
            if not commit or attempt == _ATTEMPTS:
                raise MultisiteError(
                    f"the database rejected an entry ({error.orig}): if another import is running, try again afterwards"
                ) from error
    session.expunge_all()
    return saved


def _save(session: Session, batch: Sequence[Prepared], zone: ZoneInfo, saved: _Saved, *, force: bool) -> None:
    articles = [item.article for item in batch]
    slugs = [each.slug for each in articles]
    slugs += filter(None, (dated_slug(each.slug, each.published, zone) for each in articles))
    entries = _existing(session, Entry, slugs)
    changed = {} if force else changed_by_people(session, entries.values())
    names = {slugify(name): name for item in batch for name in item.tags}
    tags = _existing(session, Tag, list(names))
    for slug, name in names.items():
        if slug not in tags:
            tags[slug] = Tag(slug=slug, name=name)
            session.add(tags[slug])
    kept: set[str] = set()
    found: list[tuple[Prepared, Entry]] = []
    for item in batch:
        slug = _choose_slug(item, entries, zone)
        entry = entries.get(slug)
        wanted = [tags[slugify(name)] for name in item.tags]
        if entry is None:
            entries[slug] = _new_entry(slug, item, wanted)
            session.add(entries[slug])
            saved.counts.added += 1
        elif entry.id in changed and _differs(entry, item):
            saved.counts.unchanged += 1
            text = f"{changed[entry.id]} has changed the entry: it is kept, unless --force is given"
            saved.notes.append(Note(item.source, None, "changed entry", text))
            kept.add(slug)
        elif _update_entry(entry, item, wanted):
            saved.counts.updated += 1
        else:
            saved.counts.unchanged += 1
        has_own_slug = slug == item.article.slug
        found.append((item if has_own_slug and slug not in kept else replace(item, digest=None), entries[slug]))
        if not has_own_slug:
            text = f"its slug is '{slug}', since an entry of another day has '{item.article.slug}'"
            saved.notes.append(Note(item.source, None, "address", text, lost=False))
    session.flush()
    for item, entry in found:
        saved.articles.append(SavedArticle(item, entry.slug, entry.id, item.digest and digest_of_entry(entry)))


def _choose_slug(item: Prepared, entries: Mapping[str, Entry], zone: ZoneInfo) -> str:
    own = item.article.slug
    if item.has_final_slug:
        _check_owner(item, entries.get(own), zone)
        return own
    return choose_slug(own, Owner(item.source, item.article.published), entries, zone)


def _check_owner(item: Prepared, entry: Entry | None, zone: ZoneInfo) -> None:
    """Raise `MultisiteError` if `entry` belongs to another article, which it did not when the slug was chosen."""
    if entry is None or entry.source == item.source:
        return
    if day_of(entry.published, zone) != day_of(item.article.published, zone):
        raise MultisiteError(f"the entry '{entry.slug}' was added during the import: run the same command again")


def _existing(session: Session, model: type[_Model], slugs: Sequence[str]) -> dict[str, _Model]:
    statement = sa.select(model).where(model.slug.in_(slugs))
    if model is Entry:
        statement = statement.options(selectinload(Entry.tags))
    return {row.slug: row for row in session.scalars(statement)}


def _values(item: Prepared) -> dict[str, Any]:
    article = item.article
    return {
        "title": article.title,
        "summary": article.summary or item.rendered.summary,
        "body": article.body,
        "body_html": item.rendered.html,
        "dialect": item.rendered.dialect,
        "published": article.published,
        "draft": article.draft,
        "author": article.author,
        "picture": item.picture,
    }


def _differs(entry: Entry, item: Prepared) -> bool:
    """Return whether an import would change the content of `entry`."""
    if {tag.slug for tag in entry.tags} != {slugify(name) for name in item.tags}:
        return True
    return any(getattr(entry, name) != value for name, value in _values(item).items())


def _new_entry(slug: str, item: Prepared, tags: list[Tag]) -> Entry:
    article = item.article
    updated = article.updated or article.published or datetime.now(UTC)
    return Entry(slug=slug, updated=updated, tags=tags, source=_source(item), **_values(item))


def _source(item: Prepared) -> str | None:
    return item.source if len(item.source) <= SOURCE_LENGTH else None


def _update_entry(entry: Entry, item: Prepared, tags: list[Tag]) -> bool:
    """Update `entry`, and return whether anything changed; a new path of the file is stored, but does not count."""
    entry.source = _source(item)
    changed = False
    for name, value in _values(item).items():
        if getattr(entry, name) != value:
            setattr(entry, name, value)
            changed = True
    if {tag.slug for tag in entry.tags} != {tag.slug for tag in tags}:
        entry.tags = tags
        changed = True
    wanted = item.article.updated or (datetime.now(UTC) if changed else entry.updated)
    if entry.updated != wanted:
        entry.updated = wanted
        changed = True
    return changed
