"""Import a blog from WordPress: `import_wordpress`, which `multisite import-wordpress` calls.

The export is read twice: first for slugs, addresses and attachments, since a post may link to a later one, then for the
texts. A file that is not well-formed is therefore refused before anything is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime
from html import escape
from pathlib import Path
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from multisite.content.article import Article
from multisite.content.errors import InvalidArticle, NotAnEntry
from multisite.content.exports.blocks import footnote_list, has_blocks, read_blocks
from multisite.content.exports.html import convert_html
from multisite.content.exports.index import ExportIndex, open_index
from multisite.content.exports.links import OldBlog, Rewriter
from multisite.content.exports.notes import ExportNotes
from multisite.content.exports.paragraphs import add_paragraphs
from multisite.content.exports.redirects import old_addresses
from multisite.content.exports.uploads import SIZE_IN_NAME, Placer, Uploads
from multisite.content.exports.wordpress_posts import Post, is_internal, plain_text, read_number, read_post
from multisite.content.exports.wordpress_shortcodes import Attachment, expand_wordpress_shortcodes
from multisite.content.exports.wxr import WxrRecord, read_wxr
from multisite.content.limits import TITLE_LENGTH
from multisite.content.markdown import Rendered, shorten
from multisite.content.page_paths import own_page_slug
from multisite.content.report import ImportReport
from multisite.content.slugs import slugify
from multisite.content.tidy import BECAME_LINK, NestingTooDeep
from multisite.content.upsert import BATCH_SIZE, Prepared, save_articles
from multisite.core.site import Site
from multisite.language.local_time import local_time, zone_of

__all__ = ["import_wordpress"]

_MAX_AUTHORS = 100_000
_KINDS = {"category": "category", "post_tag": "tag"}
"""The domains of terms that become tags, by the first part of their addresses."""

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
        survey = _survey(path, index, zone)
        placer = Placer(uploads or Uploads(), session, site, index, commits=not (strict or dry_run))
        reader = _Reader(survey, index, zone, notes, placer)
        redirects = old_addresses(index, survey.blog.path, _LISTS, lambda text: notes.note(None, "address", text))
        save_articles(session, site, reader.read_all(path, progress), report, strict=strict, redirects=redirects)
    notes.finish()
    return report


@dataclass(slots=True)
class _Survey:
    """The data about the blog from the first reading."""

    url: str = ""
    blog: OldBlog = field(default_factory=lambda: OldBlog(None, ()))
    authors: dict[str, str] = field(default_factory=dict)
    total: int = 0

    def source(self, number: int) -> str:
        """Return what identifies a post, in `Entry.source`: WordPress's own permanent address."""
        return f"{self.url}/?p={number}"


def _survey(path: Path, index: ExportIndex, zone: ZoneInfo) -> _Survey:
    """Read the whole export into `index`."""
    found = _Survey()
    with closing(read_wxr(path)) as records:
        for record in records:
            if record.kind == "channel":
                _read_channel(record, found)
                index.prefix = f"{found.url}/?p="
            elif record.kind == "wp:author" and len(found.authors) < _MAX_AUTHORS:
                login = record.fields.get("wp:author_login", "")
                found.authors[login] = plain_text(record.fields.get("wp:author_display_name", "")) or login
            elif record.kind == "wp:category":
                fields = record.fields
                parent = unquote(fields.get("wp:category_parent", ""))
                _add_tag(index, "category", fields.get("wp:category_nicename"), fields.get("wp:cat_name"), parent)
            elif record.kind == "item":
                found.total += 1
                _survey_item(record, found, index, zone)
    return found


def _read_channel(record: WxrRecord, found: _Survey) -> None:
    fields = record.fields
    found.url = (fields.get("wp:base_blog_url") or fields.get("link") or "").rstrip("/")[:300]
    parts = urlsplit(found.url)
    host = parts.netloc.lower().removeprefix("www.")
    file_hosts = (f"{host.removesuffix('.wordpress.com')}.files.wordpress.com",)
    found.blog = OldBlog(host or None, ("/wp-content/uploads/",), parts.path, file_hosts)


def _add_tag(
    index: ExportIndex, domain: str, nicename: str | None, name: str | None, parent: str | None = None
) -> None:
    """Add a category or tag of the blog; one of a post, unless its parent is given."""
    slug = slugify(plain_text(name or "")) or slugify(unquote(nicename or ""))
    if nicename and slug and domain in _KINDS:
        index.add_tag(_KINDS[domain], unquote(nicename), slug, parent=parent or "", used=parent is None)


def _survey_item(record: WxrRecord, found: _Survey, index: ExportIndex, zone: ZoneInfo) -> None:
    fields = record.fields
    if fields.get("wp:post_type") == "attachment":
        texts = (
            plain_text(fields.get("title", "")),
            plain_text(" ".join(record.meta.get("_wp_attachment_image_alt", ()))),
        )
        caption = plain_text(fields.get("excerpt:encoded", ""))
        number, parent = read_number(fields.get("wp:post_id")), read_number(fields.get("wp:post_parent"))
        index.add_attachment(number, parent, fields.get("wp:attachment_url", ""), *texts, caption)
        return
    try:
        post = read_post(record, zone)
    except (InvalidArticle, NotAnEntry):
        return
    if post is None:
        return
    for domain, nicename, name in record.terms if not post.is_page else ():
        _add_tag(index, domain, nicename, name)
    day = _day(post.published, zone)
    wanted = _page_slug(post, found.blog) if post.is_page else post.slug
    slug = index.choose_slug(wanted, found.source(post.number), day, str(post.number))
    if post.draft:
        return  # Nobody had its address.
    if day is not None:
        index.add_day(day)
    index.add_address(f"?p={post.number}", slug)
    address = found.blog.address(post.link)
    if address is not None and address != "/" and not address.startswith("?"):
        index.add_address(address, slug)
        for old_slug in post.old_slugs:
            index.add_address(f"{address.rpartition('/')[0]}/{unquote(old_slug)}", slug)


def _page_slug(post: Post, blog: OldBlog) -> str:
    """Return the path of a page, which its link has; a draft has none. An address of the application is not free."""
    address = blog.address(post.link) or ""
    path = "" if address.startswith("?") else address.removeprefix(blog.path).strip("/")
    return own_page_slug(path or post.slug or f"page-{post.number}")


def _day(when: datetime | None, zone: ZoneInfo) -> date | None:
    return None if when is None else local_time(when, zone).date()


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns the posts of the export into articles, in the second reading."""

    survey: _Survey
    index: ExportIndex
    zone: ZoneInfo
    notes: ExportNotes
    placer: Placer

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
            if record.fields.get("wp:post_type") != "attachment" and not is_internal(record):
                self.notes.count_type(record.fields.get("wp:post_type", "")[:40])
        return None

    def _prepare(self, post: Post) -> Prepared:
        source = self.survey.source(post.number)
        slug = self.index.slug_of(source)
        if slug is None:
            raise InvalidArticle("the export has changed while it was read")
        body, rendered = self._render(post)
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
        return Prepared(article, rendered, source, has_final_slug=True)

    def _title(self, post: Post, rendered: Rendered, slug: str) -> str:
        self.notes.note(post.line, "title", "it has none: the beginning of the text is used", lost=False)
        return shorten(rendered.summary, 80) or slug

    def _render(self, post: Post) -> tuple[str, Rendered]:
        """Return the Markdown of a post and the same rendered, as WordPress would show it."""

        def report(line: int, kind: str, text: str) -> None:
            self.notes.note(post.content_line + line, kind, text, lost=kind != BECAME_LINK)

        content = post.content
        is_classic = not has_blocks(content)
        content = read_blocks(content, footnote_list(post.footnotes), report)
        content = expand_wordpress_shortcodes(content, lambda numbers: self._gallery(post, numbers), report)
        if is_classic:
            content = add_paragraphs(content)
        rewriter = Rewriter(self.survey.blog, self.index, self.placer, report)
        return convert_html(self._featured(post, content) + content, rewriter.rewrite, report)

    def _featured(self, post: Post, content: str) -> str:
        """Return the HTML of the featured image, unless the text shows it."""
        if post.thumbnail is None:
            return ""
        found = self.index.find_attachment(post.thumbnail)
        if found is None:
            self.notes.note(post.line, "left out", f"featured image: attachment {post.thumbnail} is not in the export")
            return ""
        image = Attachment(*found)
        stem = SIZE_IN_NAME.sub("", image.url.rpartition("/")[2]).rpartition(".")[0]
        if not stem or f"/{stem}" in content:
            return ""
        return f'<figure><img src="{escape(image.url)}" alt="{escape(image.alt)}"></figure>'

    def _gallery(self, post: Post, numbers: Sequence[int] | None) -> list[Attachment]:
        if numbers is None:
            return [Attachment(*texts) for texts in self.index.attachments_of(post.number)]
        found = (self.index.find_attachment(number) for number in numbers[:1000])
        return [Attachment(*texts) for texts in found if texts is not None]
