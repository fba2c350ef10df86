"""The folder of a site as members of an archive: templates, static files and translations."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from multisite.core.settings import STATIC_FOLDER
from multisite.errors import MultisiteError
from multisite.sites.archive.manifest import STATIC, TEMPLATES, TRANSLATIONS
from multisite.sites.archive.reader import ArchiveReader, check_name
from multisite.sites.archive.writer import ArchiveWriter

__all__ = ["export_files", "extract_files", "extract_folder", "is_code"]

LOCALE_FOLDER = "locale"
"""The subfolder of a site with its translations."""

_FOLDERS = {STATIC_FOLDER: STATIC, LOCALE_FOLDER: TRANSLATIONS}
"""By subfolder of a site, the folder of an archive; everything else is a template."""


def export_files(folder: Path, writer: ArchiveWriter, progress: Callable[[str], None]) -> int:
    """Write the files of a site's folder.

    Hidden files and links to other folders are left out: multisite never serves them.

    Returns:
        The number of files.
    """
    count = 0
    for path in _files(folder):
        below = path.relative_to(folder)
        first = _FOLDERS.get(below.parts[0]) if len(below.parts) > 1 else None
        name = "/".join((first, *below.parts[1:]) if first else (TEMPLATES, *below.parts))
        reason = _fault(path, below, folder, name)
        if reason is not None:
            writer.manifest.left_out.append(f"the file {below.as_posix()}: {reason}")
            continue
        writer.add_file(name, path)
        count += 1
        if count % 1000 == 0:
            progress(f"{count} files")
    return count


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink())


def _fault(path: Path, below: Path, folder: Path, name: str) -> str | None:
    """Return why a file is left out; None if it is not."""
    if any(part.startswith(".") for part in below.parts):
        return "it is hidden"
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        return "it is a link to another folder"
    try:
        check_name(name)
    except MultisiteError:
        return "not every system allows its name"
    return None


def extract_files(reader: ArchiveReader, folder: Path, *, with_templates: bool) -> int:
    """Write the files of a site below `folder`, and return their number; code only `with_templates`."""
    places = {STATIC: folder / STATIC_FOLDER, TRANSLATIONS: folder / LOCALE_FOLDER, TEMPLATES: folder}
    return sum(extract_folder(reader, name, place, with_code=with_templates) for name, place in places.items())


def is_code(member: str) -> bool:
    """Return whether a member can run as code in the server: `multisite compile-templates` looks in every folder."""
    folder, suffix = member.partition("/")[0], Path(member).suffix.lower()
    if folder == TRANSLATIONS:
        return suffix not in {".mo", ".po", ".pot"}
    return folder == TEMPLATES or (folder == STATIC and suffix in {".mako", ".mak"})


def extract_folder(reader: ArchiveReader, name: str, place: Path, *, with_code: bool = True) -> int:
    """Write the members below the folder `name` of an archive to `place`, and return their number."""
    names = [member for member in reader.names(name) if with_code or not is_code(member)]
    for member in names:
        target = place.joinpath(*member.split("/")[name.count("/") + 1 :])
        target.parent.mkdir(parents=True, exist_ok=True)
        with reader.open(member) as source, target.open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    return len(names)
