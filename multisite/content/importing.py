"""Markdown files into entries: `import_entries` for code; `multisite import-entries` calls it.

Files are read, rendered and saved in batches, so that ten thousand need no more memory than two hundred. Entries are
matched by slug, so that importing a folder again changes only what has changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from urllib.parse import quote

from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from multisite.content.bad_file import BadFile, NotAnEntry
from multisite.content.dialects import Dialect
from multisite.content.file_languages import choose_translations, same_language
from multisite.content.files import find_files, read_text, shown
from multisite.content.frontmatter import Article, parse_article
from multisite.content.markdown import Rendered, TooDeep, render
from multisite.content.metadata import Notation
from multisite.content.report import BadPath, ImportReport, Loss, Note
from multisite.content.saving import Prepared, save_batch
from multisite.content.shortcodes import expand_shortcodes
from multisite.content.slugs import SlugPattern
from multisite.local_time import local_time, zone_of
from multisite.site import Site

__all__ = ["BATCH_SIZE", "BadPath", "ImportReport", "import_entries"]

BATCH_SIZE = 100
"""Files that are in memory, and in one transaction, at a time, at most."""

BATCH_CHARACTERS = 10_000_000
"""Characters of text and HTML at which a batch ends before it has that many files."""

Progress = Callable[[int, int], None]
"""Called with the number of files done and of files in all, after each batch."""


def import_entries(
    engine: Engine,
    site: Site,
    paths: Iterable[str | Path],
    *,
    strict: bool = False,
    progress: Progress | None = None,
    dry_run: bool = False,
    address_pattern: str = "{slug}",
) -> ImportReport:
    """Import the Markdown files in `paths` (files, or folders that are walked) as entries of `site`.

    A bad file is reported and the others are in; with `strict` a single bad file takes all of them back, and with
    `dry_run` nothing is kept. Of two files with one slug and day the first is imported and the second is bad; where the
    days differ, the address of the later one has its date. Entries whose files are gone stay. `address_pattern` makes
    the slugs (`SlugPattern`), and raises `ValueError` if it cannot.
    """
    report = ImportReport(dry_run=dry_run)

    def on_bad(path: Path, reason: str) -> None:
        report.bad.append(BadPath(shown(path), reason))

    def on_skipped(path: Path, reason: str) -> None:
        report.skipped.append(BadPath(shown(path), reason))

    files = choose_translations(find_files(paths, on_bad, on_skipped), site.locale, on_skipped)
    reader = _Reader(site, report, SlugPattern(address_pattern), _by_name(files))
    with closing(Session(engine, info={"site": site})) as session:
        for batch in _batches(files, reader, progress):
            saved = save_batch(session, batch, zone_of(site), commit=not (strict or dry_run))
            report.count(saved.counts)
            report.notes += saved.notes
        if dry_run or (strict and report.bad):
            session.rollback()
            report.rolled_back = True
        else:
            session.commit()
    return report


def _batches(
    files: Sequence[tuple[Path, Path]], reader: _Reader, progress: Progress | None
) -> Iterator[list[Prepared]]:
    """Yield what the files hold in batches, each small enough for memory and for one transaction."""
    batch: list[Prepared] = []
    characters = 0
    for number, (path, base) in enumerate(files, start=1):
        prepared = reader.read(path, base)
        if prepared is not None:
            batch.append(prepared)
            characters += len(prepared.article.body) + len(prepared.rendered.html)
        if len(batch) == BATCH_SIZE or characters > BATCH_CHARACTERS or number == len(files):
            yield batch
            batch, characters = [], 0
        if progress is not None and (number % BATCH_SIZE == 0 or number == len(files)):
            progress(number, len(files))


@dataclass(slots=True)
class _Reader:
    """Reads and renders the files of one import, and knows which slugs are taken."""

    site: Site
    report: ImportReport
    pattern: SlugPattern
    files: Mapping[PurePath, tuple[Path, Path]]
    owners: dict[tuple[str, date | None], Path] = field(default_factory=dict)

    def read(self, path: Path, base: Path) -> Prepared | None:
        """Return one file, ready to be saved; None, and a line in the report, where it cannot be an entry.

        `base` is the path without the language in its name.
        """
        try:
            if base.stem == "_index":
                raise NotAnEntry("Hugo's page of a section, which is no entry")
            article = self._article(path, base)
            losses: list[Loss] = []
            rendered = self._render(article, path, losses)
        except NotAnEntry as error:
            self.report.skipped.append(BadPath(shown(path), str(error)))
        except (BadFile, TooDeep) as error:
            self.report.bad.append(BadPath(shown(path), str(error)))
        else:
            self.report.notes += [Note(shown(path), None, "front matter", text) for text in article.notes]
            self.report.notes += [
                Note(shown(path), article.line + loss.line, loss.kind, loss.text, lost=loss.lost)
                for loss in sorted((*losses, *rendered.losses), key=lambda loss: loss.line)
            ]
            return Prepared(article, rendered, shown(path.absolute()))
        return None

    def _render(self, article: Article, path: Path, losses: list[Loss]) -> Rendered:
        body, resolve = article.body, partial(self._resolve, path)
        if article.notation != "lines":
            body = expand_shortcodes(body, resolve, lambda *loss: losses.append(Loss(*loss)))
        return render(body, _dialect(article.notation, path), resolve)

    def _resolve(self, path: Path, target: str) -> str | None:
        """Return the address of the entry that a post or a link in the file `path` names; None where there is none."""
        wanted, mark, fragment = target.partition("#")
        beside = _absolute(path.parent / wanted)
        found = self.files.get(beside) or self.files.get(PurePosixPath(_name_of(PurePosixPath(wanted))))
        if found is None:
            return None
        try:
            article, _ = self._parse(*found)
        except (BadFile, NotAnEntry):
            return None
        return f"/entries/{quote(article.slug, safe='')}{mark}{fragment}"

    def _parse(self, path: Path, base: Path) -> tuple[Article, date | None]:
        """Return the article in a file, its slug as the pattern has it, and the day of its publication."""
        zone = zone_of(self.site)
        article = parse_article(read_text(path), base.absolute(), zone)
        day = None if article.published is None else local_time(article.published, zone).date()
        return replace(article, slug=self.pattern.apply(article.slug, day)), day

    def _article(self, path: Path, base: Path) -> Article:
        article, day = self._parse(path, base)
        owner = self.owners.setdefault((article.slug, day), path)
        if owner is not path:
            if article.language is not None and not same_language(article.language, self.site.locale):
                raise NotAnEntry(f"a translation ({article.language}) of {shown(owner)}")
            raise BadFile(f"its slug '{article.slug}' is also that of {shown(owner)}")
        return article


def _by_name(files: Sequence[tuple[Path, Path]]) -> dict[PurePath, tuple[Path, Path]]:
    """Return the files by what links name them: their absolute path, or their name alone, of which the first counts."""
    names: dict[PurePath, tuple[Path, Path]] = {
        PurePosixPath(_name_of(base)): (path, base) for path, base in reversed(files)
    }
    return names | {_absolute(base): (path, base) for path, base in files}


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.resolve asks the disk, and raises for what is no name)


def _name_of(path: PurePath) -> str:
    """Return the name without its ending, of a page bundle that of its folder."""
    name = path.stem if path.suffix.lower() in (".md", ".markdown") else path.name
    return path.parent.name if name.lower() in ("index", "_index") else name


def _dialect(notation: Notation, path: Path) -> Dialect:
    """Return the dialect of the tool that a file is for: YAML with a dated name, or in its folders, is Jekyll's."""
    if notation == "lines":
        return "python-markdown"
    is_post = path.name[:4].isdigit() or {"_posts", "_drafts"} & set(path.parts)
    return "kramdown" if notation == "yaml" and is_post else "goldmark"
