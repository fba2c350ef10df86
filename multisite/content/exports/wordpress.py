"""Import a blog from WordPress: `import_wordpress`, which `multisite import-wordpress` calls.

The export is read twice: first for slugs, addresses and attachments, since a post may link to a later one, then for the
texts. A file that is not well-formed is therefore refused before anything is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from html import escape
from itertools import chain
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from multisite.content.errors import InvalidArticle, NotAnEntry
from multisite.content.exports.blocks import footnote_list, has_blocks, read_blocks
from multisite.content.exports.html import convert_html
from multisite.content.exports.index import ExportIndex, open_index
from multisite.content.exports.links import Rewriter
from multisite.content.exports.notes import ExportNotes
from multisite.content.exports.paragraphs import add_paragraphs
from multisite.content.exports.redirects import old_addresses
from multisite.content.exports.uploads import SIZE_IN_NAME, UploadImporter, Uploads
from multisite.content.exports.wordpress_menu import ITEM, OldItem, save_menu, target_of
from multisite.content.exports.wordpress_posts import Post, is_internal, read_post
from multisite.content.exports.wordpress_shortcodes import Attachment, expand_wordpress_shortcodes
from multisite.content.exports.wordpress_survey import Survey, survey
from multisite.content.exports.wxr import WxrRecord, read_wxr
from multisite.content.imports.article import Article
from multisite.content.imports.upsert import BATCH_SIZE, Prepared, save_articles
from multisite.content.limits import TITLE_LENGTH
from multisite.content.markup.markdown import Rendered, shorten
from multisite.content.markup.tidy import BECAME_LINK, NestingTooDeep
from multisite.content.redirect_rules import Rule
from multisite.content.report import ImportReport
from multisite.core.site import Site
from multisite.language.local_time import zone_of

__all__ = ["import_wordpress"]

_LISTS = {
    "feed/*": "/feed.xml",
    "rss": "/feed.xml",
    "?feed=rss2": "/feed.xml",
    "?feed=atom": "/feed.xml",
    "page/*": "/",
}
"""Where feeds and the pages of the list of posts are now."""


def import_wordpress(
    engine: Engine,
    site: Site,
    path: Path,
    *,
    uploads: Uploads | None = None,
    strict: bool = False,
    dry_run: bool = False,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ImportReport:
    """Import the posts in WordPress's export `path` as entries of `site`.

    Each post is recognized by its number when the export, or a later one of the same blog, is imported again. What is
    left out is in the report; `docs/reference-application.md` lists it.

    Args:
        engine: Connects to the database of the entries.
        site: The site that gets the entries.
        path: The file that "Tools, Export" of WordPress wrote.
        uploads: The folder `wp-content/uploads` of the blog, and the media library of the application; None to import
            no files.
        strict: Whether a single bad post rolls back the whole import.
        dry_run: Whether to roll back in any case.
        force: Whether to overwrite entries that people have changed since their import.
        progress: Called from time to time with the number of posts done and the total.

    Returns:
        The report: what was imported, skipped, bad or left out.

    Raises:
        InvalidExport: The file is not an export of WordPress, or is not well-formed; nothing was imported.
    """
    report = ImportReport(dry_run=dry_run, force=force)
    notes = ExportNotes(path, report)
    zone = zone_of(site)
    with closing(Session(engine, info={"site": site})) as session, open_index(session, zone) as index:
        found = survey(path, index, zone)
        importer = UploadImporter(uploads or Uploads(), session, site, index, commits=not (strict or dry_run))
        reader = _Reader(found, index, zone, notes, importer)
        redirects = old_addresses(index, found.blog.path, _LISTS, lambda text: notes.note(None, "address", text))
        save_articles(
            session,
            site,
            reader.read_all(path, progress),
            report,
            strict=strict,
            redirects=chain(redirects, reader.save_menu(session)),
        )
    notes.finish()
    return report


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns the posts of the export into articles, in the second reading."""

    survey: Survey
    index: ExportIndex
    zone: ZoneInfo
    notes: ExportNotes
    importer: UploadImporter

    def read_all(self, path: Path, progress: Callable[[int, int], None]) -> Iterator[Prepared]:
        """Yield the articles of all posts; report the posts that do not become one."""
        done = 0
        with closing(read_wxr(path, self._on_control_character)) as records:
            for record in records:
                if record.kind != "item":
                    continue
                prepared = self._read(record)
                if prepared is not None:
                    yield prepared
                done += 1
                if done % BATCH_SIZE == 0 or done == self.survey.total:
                    progress(done, self.survey.total)

    def save_menu(self, session: Session) -> Iterator[Rule]:
        """Save the menu after all redirects, in the transaction that a dry run rolls back; yield no redirect."""
        save_menu(session, self.survey.menus, self._find_target, self._note_menu)
        yield from ()

    def _find_target(self, item: OldItem) -> tuple[str | None, str | None]:
        """Return the slug of the entry that an item of a menu leads to, or else the target; None for nothing."""
        if item.kind == "post_type":
            return self.index.slug_of(self.survey.source(item.number_of_object)), None
        return target_of(item, self.survey.menus, self.index, self.survey.blog)

    def _note_menu(self, kind: str, text: str, lost: bool) -> None:
        self.notes.note(None, kind, text, lost=lost)

    def _on_control_character(self, line: int) -> None:
        self.notes.note(line, "control characters", "replaced by spaces, in this line or soon after", lost=False)

    def _read(self, record: WxrRecord) -> Prepared | None:
        try:
            post = read_post(record, self.zone)
            if post is not None:
                return self._prepare(post)
        except NotAnEntry as error:
            self.notes.skip(record.line, str(error))
        except (InvalidArticle, NestingTooDeep) as error:
            self.notes.reject(record.line, str(error))
        else:
            if (
                record.fields.get("wp:post_type") != "attachment"
                and not is_internal(record)
                and not _is_of_menu(record)
            ):
                self.notes.count_type(record.fields.get("wp:post_type", "")[:40])
        return None

    def _prepare(self, post: Post) -> Prepared:
        source = self.survey.source(post.number)
        slug = self.index.slug_of(source)
        if slug is None:
            raise InvalidArticle("the export has changed while it was read")
        body, rendered, picture = self._render(post)
        if post.comments:
            self.notes.note(post.line, "comments left out", f"{post.comments} of '{shorten(post.title, 80)}'")
        article = Article(
            slug=slug,
            title=post.title or self._title(post, rendered, slug),
            body=body,
            tags=post.tags,
            published=post.published,
            updated=post.updated,
            summary=post.excerpt or None,
            draft=post.draft,
            author=self.survey.authors.get(post.author, post.author)[:TITLE_LENGTH] or None,
        )
        return Prepared(article, rendered, source, has_final_slug=True, picture=picture)

    def _title(self, post: Post, rendered: Rendered, slug: str) -> str:
        self.notes.note(post.line, "title", "it has none: the beginning of the text is used", lost=False)
        return shorten(rendered.summary, 80) or slug

    def _render(self, post: Post) -> tuple[str, Rendered, str | None]:
        """Return the Markdown of a post, the same rendered, as WordPress would show it, and the path of its picture."""

        def report(line: int, kind: str, text: str) -> None:
            self.notes.note(post.content_line + line, kind, text, lost=kind != BECAME_LINK)

        content = post.content
        is_classic = not has_blocks(content)
        content = read_blocks(content, footnote_list(post.footnotes), report)
        content = expand_wordpress_shortcodes(content, lambda numbers: self._gallery(post, numbers), report)
        if is_classic:
            content = add_paragraphs(content)
        rewriter = Rewriter(self.survey.blog, self.index, self.importer, report)
        image = self._featured(post)
        figure = _figure(image, content) if image is not None else ""
        picture = rewriter.picture(image.url) if image is not None else None
        return *convert_html(figure + content, rewriter.rewrite, report), picture

    def _featured(self, post: Post) -> Attachment | None:
        found = None if post.thumbnail is None else self.index.find_attachment(post.thumbnail)
        if found is None and post.thumbnail is not None:
            self.notes.note(post.line, "left out", f"featured image: attachment {post.thumbnail} is not in the export")
        return None if found is None else Attachment(*found)

    def _gallery(self, post: Post, numbers: Sequence[int] | None) -> list[Attachment]:
        if numbers is None:
            return [Attachment(*texts) for texts in self.index.attachments_of(post.number)]
        found = (self.index.find_attachment(number) for number in numbers[:1000])
        return [Attachment(*texts) for texts in found if texts is not None]


def _is_of_menu(record: WxrRecord) -> bool:
    return record.fields.get("wp:post_type") == ITEM and any(domain == "nav_menu" for domain, *_ in record.terms)


def _figure(image: Attachment, content: str) -> str:
    """Return the HTML of the featured image, unless the text shows it."""
    stem = SIZE_IN_NAME.sub("", image.url.rpartition("/")[2]).rpartition(".")[0]
    if not stem or f"/{stem}" in content:
        return ""
    return f'<figure><img src="{escape(image.url)}" alt="{escape(image.alt)}"></figure>'
