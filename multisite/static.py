"""Static files of a site: `static/` in the site's folder over `static/` among the shared templates.

`config.include("multisite.static")` serves them below `/static/`; `static_path(request, "style.css")` gives the
address of one with a hash of its content, which browsers may keep for a year. Files whose name begins with a dot,
templates and code are never served, nor is anything that a link leads to outside of its folder.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import FileIter, Response

from multisite.errors import MultisiteError
from multisite.request import SETTINGS
from multisite.settings import Settings
from multisite.site import Site

__all__ = ["FOLDER", "PREFIX", "find_static", "includeme", "static_path", "static_view"]

PREFIX = "/static/"
"""Where static files are served."""

FOLDER = "static"
"""The name of the folder, in a site's folder and among the shared templates."""

NEVER_SERVED = frozenset({".mako", ".mak", ".py", ".pyc", ".ini", ".db"})
"""Suffixes, in lower case, of what may lie beside the files but is templates, code or data."""

HASHED_SECONDS = 31_536_000
"""How long browsers keep a file that they asked for with the hash of its content: a year, the most that is meant."""

PLAIN_SECONDS = 3600
"""How long browsers keep a file without asking again, where its address does not change with its content."""

_SMALL_BYTES = 262_144
"""A file up to this size is sent in one piece; a longer one is read as it goes out."""

# Written out, since the table of the machine differs from one to the next, and lacks the newer ones on many.
_TYPES = {
    ".avif": "image/avif",
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}


def find_static(settings: Settings, site: Site | None, steps: Sequence[str]) -> Path | None:
    """Return the real path of the file with the name `steps` (`("img", "logo.svg")`); None if there is none to serve.

    The site's folder is looked at first; None as `site` means the shared folder alone.
    """
    if not steps or not all(map(_is_plain, steps)) or Path(steps[-1]).suffix.lower() in NEVER_SERVED:
        return None
    for root in _layers(settings, site):
        candidate = root.joinpath(*steps)
        try:
            if not stat.S_ISREG(candidate.stat().st_mode):
                continue
            path = candidate.resolve(strict=True)
        except (OSError, RuntimeError):  # not there, a name too long, a circle of links
            continue
        # Where the file really lies decides: through a link, neither another folder nor a hidden name is reached.
        if path.is_relative_to(root) and all(map(_is_plain, path.relative_to(root).parts)):
            return path if path.suffix.lower() not in NEVER_SERVED else None
        return None
    return None


def _layers(settings: Settings, site: Site | None) -> Iterator[Path]:
    if site is not None and _is_plain(site.folder):
        # Not resolved any further than this: a site's folder that is itself a link may lead to another site's.
        yield settings.sites_dir.resolve() / site.folder / FOLDER
    yield settings.templates_dir.resolve() / FOLDER


def _is_plain(step: str) -> bool:
    return bool(step) and not step.startswith(".") and not any(c in "/\\" or c < " " or c == "\x7f" for c in step)


def static_view(request: Request) -> Response:
    """Answer with the site's static file, 304 where the browser has it, or 404."""
    settings: Settings = request.registry[SETTINGS]
    path = find_static(settings, _site_or_none(request), request.matchdict["subpath"])
    if path is None:
        raise HTTPNotFound
    try:
        file = path.open("rb")
    except OSError as error:  # removed since, or not ours to read
        raise HTTPNotFound from error
    status = os.fstat(file.fileno())
    content_type = _TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    response = Response(conditional_response=True)
    # As a header, since the attribute claims a charset for everything made of XML, which says so itself.
    response.headers["Content-Type"] = content_type + ("; charset=utf-8" if content_type.startswith("text/") else "")
    if status.st_size <= _SMALL_BYTES:
        with file:
            response.body = file.read()
    else:
        response.app_iter = FileIter(file)
        response.content_length = status.st_size
    response.accept_ranges = "bytes"
    response.etag = f"{status.st_mtime_ns:x}-{status.st_size:x}"
    response.last_modified = datetime.fromtimestamp(int(status.st_mtime), UTC)
    # Not request.GET, which raises where a parameter is no UTF-8.
    hashed = request.query_string == f"v={_hash_of(path, status.st_mtime_ns, status.st_size)}"
    response.cache_control = (
        f"public, max-age={HASHED_SECONDS}, immutable" if hashed else f"public, max-age={PLAIN_SECONDS}"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def static_path(request: Request, name: str) -> str:
    """Return the path of the static file `name` (`img/logo.svg`) for the request's site, with a hash of its content.

    A file that is not there gives the plain path, which answers 404: a missing picture is no reason to lose a page.
    """
    steps = name.strip("/").split("/")
    address: str = request.script_name + PREFIX + quote("/".join(steps))
    path = find_static(request.registry[SETTINGS], _site_or_none(request), steps)
    if path is None:
        return address
    try:
        status = path.stat()
        return f"{address}?v={_hash_of(path, status.st_mtime_ns, status.st_size)}"
    except OSError:
        return address


@lru_cache(maxsize=4096)
def _hash_of(path: Path, _mtime_ns: int, _size: int) -> str:
    """Return a short hash of the file; time and size are there to ask again when it has changed."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1_048_576):
            digest.update(block)
    return digest.hexdigest()[:12]


def _site_or_none(request: Request) -> Site | None:
    try:
        site: Site = request.site
    except MultisiteError:  # an open path: the shared files are everybody's
        return None
    return site


def includeme(config: Configurator) -> None:
    """Serve the static files of each site, and the shared ones, below `/static/`."""
    config.add_route("multisite.static", f"{PREFIX}*subpath")
    config.add_view(static_view, route_name="multisite.static", request_method=("GET", "HEAD"))
