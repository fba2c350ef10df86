"""Measure the import of Markdown files: new and unchanged ones, with the search index and without it.

`python -m benchmarks.importing` prints processor time for each, which a server of PostgreSQL adds to, and the size of
the database. `python benchmarks/importing.py` measures the multisite of another `PYTHONPATH`, such as an older commit.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa

__all__ = ["Measured", "main", "measure", "write_files"]

WORDS = 320
"""Different words of a text."""

VOCABULARY = 30_000


@dataclass(frozen=True)
class Measured:
    """Processor seconds of an import into an empty site and of another one, and the bytes of an SQLite file."""

    new: float
    unchanged: float
    bytes: int


def write_files(folder: Path, count: int) -> None:
    """Write `count` files without code or media; each has `WORDS` different words, of which some are common."""
    draw = random.Random(1)
    letters = "etaoinshrdlu"
    words = ["".join(draw.choices(letters, k=draw.randint(3, 11))) for _ in range(VOCABULARY)]
    weights = [1 / (rank + 10) for rank in range(VOCABULARY)]
    folder.mkdir()
    for number in range(count):
        chosen: dict[str, None] = {}
        while len(chosen) < WORDS:
            chosen.update(dict.fromkeys(draw.choices(words, weights, k=100)))
        text = list(chosen)[:WORDS]
        paragraphs = "\n\n".join(" ".join(text[start : start + 40]) + "." for start in range(0, WORDS, 40))
        day = f"20{number // 365 % 20:02}-{number % 12 + 1:02}-{number % 28 + 1:02}"
        head = f"---\ntitle: {text[0]} {number}\ndate: {day}\ntags: [{text[1]}]\n---\n"
        (folder / f"post-{number}.md").write_text(f"{head}\n# {text[2]}\n\n{paragraphs}\n", "utf-8")


@contextmanager
def _indexes(with_index: bool) -> Iterator[None]:
    from multisite.search import index

    with patch.object(index, "indexes", index.indexes if with_index else []):
        yield


def measure(url: str, folder: Path, files: Path, *, with_index: bool) -> Measured:
    """Import the files into a new database twice.

    Args:
        url: Of an empty database, or `sqlite://` for a file in `folder`.
        folder: For the database and the folder of the site.
        files: The folder with the files.
        with_index: Whether the words of the entries are indexed.
    """
    from multisite.alembic.migrate import upgrade_own
    from multisite.content.imports.importing import import_entries
    from multisite.content.tables import Base
    from multisite.core.settings import parse_settings
    from multisite.directory import engine_from_url
    from multisite.sites import add_site

    file = Path(tempfile.mkdtemp(dir=folder), "sites.db")
    engine = engine_from_url(f"sqlite:///{file}" if url == "sqlite://" else url)
    if url != "sqlite://":
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    upgrade_own(engine)
    Base.metadata.create_all(engine)
    settings = {"sqlalchemy.url": url, "multisite.sites_dir": str(file.parent / "sites")}
    site = add_site(engine, "one.example", settings=parse_settings(settings))

    def run() -> float:
        begun = time.process_time()
        report: Any = import_entries(engine, site, [files])
        assert not report.bad
        return time.process_time() - begun

    with _indexes(with_index):
        new, unchanged = run(), run()
    size = _bytes(engine)
    engine.dispose()
    return Measured(new, unchanged, size)


def _bytes(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        return int(pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.importing", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--files", type=int, default=1000, help="number of files (1000)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions, of which the median is printed (5)")
    parser.add_argument("--postgresql", help="URL of a database, whose schema `public` is replaced")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="multisite-bench-") as folder:
        files = Path(folder, "files")
        write_files(files, options.files)
        for url in ("sqlite://", *([options.postgresql] if options.postgresql else ())):
            print(f"\n{sa.make_url(url).get_backend_name()}, {options.files:,} files\n")
            print("| | new, s | files/s | unchanged, s | files/s | MB |\n|---|---:|---:|---:|---:|---:|")
            results: dict[bool, list[Measured]] = {True: [], False: []}
            for _ in range(options.rounds):
                for with_index, found in results.items():
                    found.append(measure(url, Path(folder), files, with_index=with_index))
            for with_index, found in results.items():
                new, same = median(each.new for each in found), median(each.unchanged for each in found)
                print(
                    f"| {'with' if with_index else 'without'} the index | {new:.2f} | {options.files / new:,.0f} "
                    f"| {same:.3f} | {options.files / same:,.0f} | {found[0].bytes / 1e6:.1f} |"
                )
            ratio = median(a.new / b.new for a, b in zip(results[True], results[False], strict=True))
            print(f"\nNew files with the index: {ratio:.2f} × without it.")


if __name__ == "__main__":
    main()
