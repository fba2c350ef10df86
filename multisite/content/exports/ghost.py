"""Import a blog from Ghost: `import_ghost`, which `multisite import-ghost` calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from html import escape
from itertools import chain
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from multisite.content.errors import InvalidArticle, NotAnEntry
from multisite.content.exports.cards import drop_controls
from multisite.content.exports.ghost_posts import GhostPost, Row, Tables, read_ghost, read_post
from multisite.content.exports.ghost_redirects import find_redirects_file, ghost_redirects
from multisite.content.exports.ghost_routes import GhostRoutes, find_routes_file, read_routes
from multisite.content.exports.html import convert_html
from multisite.content.exports.index import ExportIndex, open_index
from multisite.content.exports.links import OldBlog, Rewriter
from multisite.content.exports.notes import ExportNotes
from multisite.content.exports.redirects import old_addresses
from multisite.content.exports.uploads import UploadImporter, Uploads
from multisite.content.imports.article import Article
from multisite.content.imports.upsert import BATCH_SIZE, Prepared, save_articles
from multisite.content.markup.markdown import Rendered, shorten
from multisite.content.markup.tidy import BECAME_LINK, NestingTooDeep
from multisite.content.page_paths import is_page_slug
from multisite.content.redirect_rules import Rule
from multisite.content.report import ImportReport
from multisite.content.slugs import slugify
from multisite.core.site import Site
from multisite.language.local_time import local_time, zone_of

__all__ = ["import_ghost"]

_URL = "__GHOST_URL__"
"""Ghost's placeholder for the URL of the blog, which an export does not contain."""

_LISTS = {"rss": "/feed.xml", "page/*": "/"}
_BLOG = OldBlog(None, ("/content/",))


def import_ghost(  # noqa: PLR0913  # One argument for each option of the command.
    engine: Engine,
    site: Site,
    path: Path,
    *,
    uploads: Uploads | None = None,
    redirects: Path | None = None,
    strict: bool = False,
    dry_run: bool = False,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ImportReport:
    """Import the posts in Ghost's export `path` as entries of `site`.

    Each post is recognized by its UUID when the export, or a later one of the same blog, is imported again. What is
    left out is in the report.

    Args:
        engine: Connects to the database of the entries.
        site: The site that gets the entries.
        path: The JSON file that Ghost wrote.
        uploads: The folder `content` of the blog, and the media library of the application; None to import
            no files.
        redirects: Ghost's file with redirects; None to use the one beside the export or in the folder of `uploads`.
        strict: Whether a single bad post rolls back the whole import.
        dry_run: Whether to roll back in any case.
        force: Whether to overwrite entries that people have changed since their import.
        progress: Called from time to time with the number of posts done and the total.

    Returns:
        The report: what was imported, skipped, bad or left out.

    Raises:
        InvalidExport: The file is not an export of Ghost, or not one with redirects; nothing was imported.
    """
    report = ImportReport(dry_run=dry_run, force=force)
    notes = ExportNotes(path, report)
    zone = zone_of(site)
    tables = read_ghost(path)
    with closing(Session(engine, info={"site": site})) as session, open_index(session, zone) as index:
        index.prefix = "urn:uuid:"
        routes = _read_routes(path, uploads, notes)
        _survey(tables, index, zone, routes)
        rules = _redirects(path, redirects, uploads, index, notes, routes)
        importer = UploadImporter(uploads or Uploads(), session, site, index, commits=not (strict or dry_run))
        reader = _Reader(tables, index, notes, importer)
        save_articles(session, site, reader.read_all(progress), report, strict=strict, redirects=rules)
    notes.finish()
    return report


def _read_routes(export: Path, uploads: Uploads | None, notes: ExportNotes) -> GhostRoutes:
    file = find_routes_file(export, uploads.folder if uploads else None)
    return GhostRoutes() if file is None else read_routes(file, lambda text: notes.note(None, "address", text))


def _redirects(
    export: Path,
    given: Path | None,
    uploads: Uploads | None,
    index: ExportIndex,
    notes: ExportNotes,
    routes: GhostRoutes,
) -> Iterator[Rule]:
    """Return the redirects of the blog's own addresses and then, since they come first in Ghost, those of its file."""

    def on_invalid(text: str) -> None:
        notes.note(None, "address", text)

    file = given or find_redirects_file(export, uploads.folder if uploads else None)
    of_file = [] if file is None else list(ghost_redirects(file, index, on_invalid))
    lists = _LISTS | routes.lists(index, on_invalid)
    return chain(old_addresses(index, "", lists, on_invalid), of_file)


def _survey(tables: Tables, index: ExportIndex, zone: ZoneInfo, routes: GhostRoutes) -> None:
    """Choose the slugs of all posts, since a post may link to a later one."""
    for row in tables.posts:
        try:
            post = read_post(row, tables)
        except (InvalidArticle, NotAnEntry):
            continue
        day = None if post.published is None else local_time(post.published, zone).date()
        slug = index.choose_slug(post.slug, post.source, day, post.number)
        if post.draft:
            continue  # Nobody had its address.
        index.add_address(post.slug if is_page_slug(post.slug) else f"/{post.slug}", slug)
        if not is_page_slug(post.slug):
            when = None if post.published is None else local_time(post.published, tables.zone or zone)
            for address in routes.addresses(post.permalink_parts, when):
                index.add_address(address, slug)
        for nicename, name in post.tag_slugs:
            if nicename and slugify(name):
                index.add_tag("tag", nicename, slugify(name), used=True)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns the posts of the export into articles."""

    tables: Tables
    index: ExportIndex
    notes: ExportNotes
    importer: UploadImporter

    def read_all(self, progress: Callable[[int, int], None]) -> Iterator[Prepared]:
        """Yield the articles of all posts; report the posts that do not become one."""
        total = len(self.tables.posts)
        for number, row in enumerate(self.tables.posts):
            prepared = self._read(f"posts[{number}]", row)
            if prepared is not None:
                yield prepared
            if (number + 1) % BATCH_SIZE == 0 or number + 1 == total:
                progress(number + 1, total)

    def _read(self, place: str, row: Row) -> Prepared | None:
        try:
            return self._prepare(read_post(row, self.tables))
        except NotAnEntry as error:
            self.notes.skip(place, str(error))
        except (InvalidArticle, NestingTooDeep) as error:
            self.notes.reject(place, str(error))
        return None

    def _prepare(self, post: GhostPost) -> Prepared:
        slug = self.index.slug_of(post.source)
        assert slug is not None  # noqa: S101 (the survey has read the same rows)
        body, rendered, picture = self._render(post)
        article = Article(
            slug=slug,
            title=post.title or shorten(rendered.summary, 80) or slug,
            body=body,
            tags=post.tags,
            published=post.published,
            updated=post.updated,
            summary=post.summary,
            draft=post.draft,
            author=post.author,
        )
        for text in post.lost:
            self._note(post, "left out", text)
        return Prepared(article, rendered, post.source, has_final_slug=True, picture=picture)

    def _note(self, post: GhostPost, kind: str, text: str, *, lost: bool = True) -> None:
        self.notes.note(None, kind, f"'{shorten(post.title, 80)}': {text}", lost=lost)

    def _render(self, post: GhostPost) -> tuple[str, Rendered, str | None]:
        def report(_line: int, kind: str, text: str) -> None:
            self._note(post, kind, text, lost=kind != BECAME_LINK)

        if post.has_replaced_characters:
            self._note(post, "control characters", "replaced by spaces", lost=False)
        html = (_image(post) + drop_controls(post.html)).replace(_URL, "")
        rewriter = Rewriter(_BLOG, self.index, self.importer, report)
        picture = rewriter.picture(post.image.replace(_URL, "")) if post.image else None
        return *convert_html(html, rewriter.rewrite, report), picture


def _image(post: GhostPost) -> str:
    """Return the HTML of the feature image, with its caption, which is HTML."""
    if not post.image:
        return ""
    caption = f"<figcaption>{post.image_caption}</figcaption>" if post.image_caption else ""
    return f'<figure><img src="{escape(post.image)}" alt="{escape(post.image_alt)}">{caption}</figure>'
