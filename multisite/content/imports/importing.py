"""Import Markdown files as entries and pages: `import_entries`, which `multisite import-entries` calls.

Files are read, rendered and saved in batches, so memory use does not grow with their number. Entries are matched by
slug, so importing a folder again changes only the entries that differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date, tzinfo
from functools import partial
from itertools import chain
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from multisite.content.errors import InvalidArticle, NotAnEntry
from multisite.content.imports.article import Article
from multisite.content.imports.defaults import Defaults
from multisite.content.imports.emoji_names import replace_emoji_names
from multisite.content.imports.entry_links import EntryLinks
from multisite.content.imports.file_languages import choose_translations, same_language
from multisite.content.imports.files import find_files, printable, read_text
from multisite.content.imports.front_matter import parse_article
from multisite.content.imports.local_files import LibraryOf, LocalFiles, MediaImport
from multisite.content.imports.old_addresses import OldAddresses
from multisite.content.imports.old_configuration import find_old_site
from multisite.content.imports.old_domain import OldDomain
from multisite.content.imports.old_site import OldSite, seen_from
from multisite.content.imports.pelican_addresses import UNKNOWN_ADDRESS
from multisite.content.imports.pruning import Pruning
from multisite.content.imports.source_files import Sources, dialect_of
from multisite.content.imports.unchanged import FILES_AT_A_TIME, Unchanged
from multisite.content.imports.upsert import BATCH_SIZE, Prepared, SavedArticle, save_articles
from multisite.content.limits import SOURCE_LENGTH
from multisite.content.markup.links import FileRefused, OldAddress
from multisite.content.markup.markdown import NestingTooDeep, Rendered, render
from multisite.content.markup.shortcodes import expand_links, expand_shortcodes
from multisite.content.markup.source_links import replace_addresses
from multisite.content.page_paths import is_page_slug
from multisite.content.report import BadPath, Counts, ImportReport, Loss, Note
from multisite.content.slugs import SlugPattern
from multisite.core.site import Site
from multisite.language.local_time import local_time, zone_of

__all__ = ["BATCH_SIZE", "BadPath", "ImportReport", "import_entries"]

Progress = Callable[[int, int], None]
"""Called from time to time with the number of files done and the total."""


def import_entries(  # noqa: PLR0913  # One argument for each option of the command.
    engine: Engine,
    site: Site,
    paths: Iterable[str | Path],
    *,
    strict: bool = False,
    progress: Progress | None = None,
    dry_run: bool = False,
    address_pattern: str = "{slug}",
    library_of: LibraryOf = lambda: None,
    prune: bool = False,
    force: bool = False,
) -> ImportReport:
    """Import the Markdown files in `paths` (files, or folders that are walked) as entries and pages of `site`.

    Bad files are reported, and the others are imported. Of two files with the same slug and day, the first is imported
    and the second is bad; if the days differ, the slug of the later one contains its date. Entries whose files are gone
    are kept without `prune`.

    Args:
        engine: Connects to the database of the entries.
        site: The site that gets the entries.
        paths: Files and folders.
        strict: Whether a single bad file rolls back the whole import.
        progress: Called from time to time with the number of files done and the total; None for no calls.
        dry_run: Whether to roll back in any case.
        address_pattern: The pattern of the slugs (`SlugPattern`).
        library_of: Returns the media to which the files that texts refer to are added; it is called for the first one.
        prune: Whether to delete the entries that were imported from files which are no longer in a folder of `paths`,
            and those whose file has another slug now. Nothing is deleted if a folder is empty or cannot be read.
        force: Whether to overwrite entries that people have changed since their import.

    Returns:
        The report: what was imported, skipped, bad or left out.

    Raises:
        ValueError: `address_pattern` is not valid.
    """
    report = ImportReport(dry_run=dry_run, force=force)

    def on_bad(path: Path, reason: str) -> None:
        report.bad.append(BadPath(printable(path), reason))

    def on_skipped(path: Path, reason: str) -> None:
        report.skipped.append(BadPath(printable(path), reason))

    files_and_folders = [Path(path) for path in paths]
    all_files = find_files(files_and_folders, on_bad, on_skipped)
    pruning = Pruning(report, files_and_folders if prune else (), all_files)
    found = find_old_site(
        files_and_folders, lambda path, reason: report.notes.append(Note(printable(path), None, "file", reason))
    )
    old_site = seen_from(site, found)
    files = choose_translations(
        all_files, site.locale, on_skipped, old_site.language_folders(), old_site.root / "content"
    )
    local_files = LocalFiles(files_and_folders, found.base if found else "")
    with closing(Session(engine, info={"site": site})) as session:
        media = MediaImport(session, site, local_files, library_of, commit=not (strict or dry_run), dry_run=dry_run)
        absolute = [path.absolute() for path in files_and_folders]
        options = (site.locale, site.timezone, address_pattern, old_site, absolute)
        commit = not (strict or dry_run)
        unchanged = Unchanged(session, options, commit=commit, enabled=not force)
        reader = _Reader(site, report, SlugPattern(address_pattern), old_site, media, local_files, unchanged, pruning)
        reader.sources = Sources(old_site, set(files_and_folders) & set(all_files))
        reader.defaults = Defaults(old_site)
        reader.zone = old_site.zone(zone_of(site))
        reader.links = EntryLinks(files, reader.parse_file, session, zone_of(site))
        reader.old_domain = OldDomain(found or OldSite(), files, reader.links, reader.zone)
        addresses = OldAddresses(old_site, report)

        def on_saved(saved: SavedArticle) -> None:
            addresses.add(saved.article, saved.slug)
            pruning.add(saved.article.source, saved.slug)
            unchanged.add(saved)

        save_articles(
            session,
            site,
            _read_all(files, reader, progress),
            report,
            strict=strict,
            redirects=chain(addresses.redirects(), pruning.prune(session)),
            on_saved=on_saved,
        )
        if not report.rolled_back:
            unchanged.save()
            session.commit()
    return report


def _read_all(files: Sequence[tuple[Path, Path]], reader: _Reader, progress: Progress | None) -> Iterator[Prepared]:
    for number, (path, base) in enumerate(files, start=1):
        if number % FILES_AT_A_TIME == 1:
            some = files[number - 1 : number - 1 + FILES_AT_A_TIME]
            reader.unchanged.load([printable(each.absolute()) for each, _ in some])
        prepared = reader.read(path, base)
        if prepared is not None:
            yield prepared
        if progress is not None and (number % BATCH_SIZE == 0 or number == len(files)):
            progress(number, len(files))


@dataclass(slots=True)
class _Reader:
    """Reads and renders the files of one import, and knows which slugs are taken."""

    site: Site
    report: ImportReport
    pattern: SlugPattern
    links: EntryLinks = field(init=False)
    defaults: Defaults = field(init=False)
    old_domain: OldDomain = field(init=False)
    zone: tzinfo = field(init=False)
    """The time zone of dates without an offset."""
    old_site: OldSite
    media: MediaImport
    local_files: LocalFiles
    unchanged: Unchanged
    pruning: Pruning
    sources: Sources = field(init=False)
    depends: bool = False
    """Whether the file that is rendered may refer to other files."""
    owners: dict[tuple[str, date | None], Path] = field(default_factory=dict)

    def read(self, path: Path, base: Path) -> Prepared | None:
        """Return one file ready to be saved; None, with a line in the report, if it cannot become an entry.

        `base` is the path without the language in its name.
        """
        losses: list[Loss] = []
        self.depends = False
        source = printable(path.absolute())
        try:
            text = self.sources.read(path, base)
            digest = self.unchanged.digest(text, self.defaults.of(path.absolute()))
            if self._is_unchanged(source, digest, path):
                return None
            article, day = self._article(path, base, text)
            article = replace_emoji_names(article, self.old_site)
            if article.notation != "lines":  # In the stored text too, since only an import knows the files.
                article = replace(article, body=expand_links(article.body, partial(self._resolve, path)))
            rendered = self._render(article, path, losses)
        except NotAnEntry as error:
            self.report.skipped.append(BadPath(printable(path), str(error)))
        except (InvalidArticle, NestingTooDeep) as error:
            self.report.bad.append(BadPath(printable(path), str(error)))
        else:
            notes = [Note(printable(path), None, "front matter", text) for text in article.notes]
            addresses = self._old_addresses(article, path, base)
            if not (addresses or article.draft) and self.old_site.tool == "pelican":
                notes.append(Note(printable(path), None, "redirect", UNKNOWN_ADDRESS))
            picture = self._picture(article, path, notes)
            notes += [
                Note(printable(path), article.line + loss.line, loss.kind, loss.text, lost=loss.lost)
                for loss in sorted((*losses, *rendered.losses), key=lambda loss: loss.line)
            ]
            self.report.notes += notes
            if rendered.addresses:
                article = replace(article, body=replace_addresses(article.body, rendered.addresses))
            if self.depends or notes or addresses or len(source) > SOURCE_LENGTH:
                digest = None
            return Prepared(article, rendered, source, addresses=addresses, digest=digest, day=day, picture=picture)
        return None

    def _is_unchanged(self, source: str, digest: str | None, path: Path) -> bool:
        """Return whether an import need not read the file, and count it then."""
        known = self.unchanged.find(source, digest)
        if known is None or self.owners.setdefault(known, path) is not path:
            return False
        self.report.count(Counts(unchanged=1))
        self.report.pages += is_page_slug(known[0])
        self.pruning.add(source, known[0])
        return True

    def _find_media(self, path: Path, address: str, alt: str) -> Mapping[str, str] | None:
        self.depends = True
        return self.media.find(path, address, alt)

    def _picture(self, article: Article, path: Path, notes: list[Note]) -> str | None:
        """Return the new path of the picture that the front matter names, or None."""
        address, reason = article.picture, ""
        if article.notation != "lines":
            address = expand_shortcodes(address, lambda _target: None, lambda *_loss: None)
        if not address:
            return None
        self.depends = True
        old = None if address.startswith("/") else self.old_domain.find(address)
        address = address if old is None else old.path
        try:
            found = self.media.find_picture(path, unquote(address), article.picture_alt)
        except FileRefused as error:
            found, reason = None, f": {error}"
        if found is None:
            notes.append(Note(printable(path), None, "file that is not imported", f"{address}{reason}"))
        return found

    def _old_addresses(self, article: Article, path: Path, base: Path) -> tuple[str, ...]:
        when = None if article.published is None else local_time(article.published, self.zone)
        return tuple(self.old_site.addresses(article, base.absolute(), when, path.absolute()))

    def _render(self, article: Article, path: Path, losses: list[Loss]) -> Rendered:
        body, resolve = article.body, partial(self._resolve, path)
        if article.notation != "lines":
            body = expand_shortcodes(body, resolve, lambda *loss: losses.append(Loss(*loss)))
        find_file = partial(self._find_media, path)
        return render(body, dialect_of(article.notation, path), resolve, find_file, self._find_old)

    def _find_old(self, url: str) -> OldAddress | None:
        found = self.old_domain.find(url)
        self.depends |= found is not None
        return found

    def _resolve(self, path: Path, target: str) -> str | None:
        self.depends = True
        return self.links.find(path, target)

    def parse_file(self, path: Path, base: Path) -> Article:
        """Return the article in a file; `base` is the path without the language in its name."""
        return self._parse(path, base, read_text(path))[0]

    def _parse(self, path: Path, base: Path, text: str) -> tuple[Article, date | None]:
        """Return the article in a file, with the slug made by the pattern, and the day of its publication."""
        zone = zone_of(self.site)
        article = parse_article(
            text, base.absolute(), self.zone, self.local_files.relative, self.defaults.of(path.absolute())
        )
        day = None if article.published is None else local_time(article.published, zone).date()
        slug = self.pattern.apply(article.slug, day)
        return article if slug == article.slug else replace(article, slug=slug), day

    def _article(self, path: Path, base: Path, text: str) -> tuple[Article, date | None]:
        article, day = self._parse(path, base, text)
        owner = self.owners.setdefault((article.slug, day), path)
        if owner is not path:
            if article.language is not None and not same_language(article.language, self.site.locale):
                raise NotAnEntry(f"a translation ({article.language}) of {printable(owner)}")
            raise InvalidArticle(f"its slug '{article.slug}' is already used by {printable(owner)}")
        return article, day
