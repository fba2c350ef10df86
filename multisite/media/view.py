"""Serve media at `/media/{digest}/{name}` of their site, and `config.set_site_media`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import IO

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

from multisite.core.keys import SETTINGS
from multisite.core.site import Site
from multisite.errors import MultisiteError
from multisite.media.archive import export_media, import_media
from multisite.media.library import MediaLibrary, UsedIn
from multisite.media.model import SiteMedia
from multisite.sites.media_store import MediaStore
from multisite.web.includes import with_multisite
from multisite.web.site_settings import SITE_SETTINGS

__all__ = ["MEDIA_LIBRARY", "includeme"]

log = logging.getLogger(__name__)

MEDIA_LIBRARY = "multisite.media_library"
"""Registry key of the `MediaLibrary`."""

DEFAULT_QUOTA = 1_000_000_000
"""Default of the setting `media_bytes` of sites."""

_YEAR_SECONDS = 31_536_000
_CHUNK_BYTES = 262_144

_HEADERS = {
    "Cache-Control": f"public, max-age={_YEAR_SECONDS}, immutable",
    "X-Content-Type-Options": "nosniff",
    # If a browser treats a file as a page, it runs no script, and the page has no origin.
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; media-src 'self'; sandbox",
}


class _Chunks:
    """The content of an open file as an iterable for WSGI, of which WebOb can also ask for a range."""

    def __init__(self, file: IO[bytes], start: int = 0, stop: int | None = None) -> None:
        self._file = file
        self._start = start
        self._stop = stop

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(self._start)
        left = None if self._stop is None else self._stop - self._start
        while left is None or left > 0:
            chunk = self._file.read(_CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES))
            if not chunk:
                return
            left = None if left is None else left - len(chunk)
            yield chunk

    def app_iter_range(self, start: int, stop: int | None) -> _Chunks:
        return _Chunks(self._file, start, stop)

    def close(self) -> None:
        self._file.close()


def media_view(request: Request) -> Response:
    """Return a file of the request's site, a range of it, or a 304 if the browser has it."""
    library: MediaLibrary = request.registry[MEDIA_LIBRARY]
    name: str = request.matchdict["name"]
    media = library.find(request.dbsession, request.matchdict["digest"])
    content_type = None if media is None else media.content_type_of(name)
    if media is None or content_type is None or library.store is None:
        raise HTTPNotFound
    try:
        file, size = library.store.open(request.site.id, f"{media.folder}/{name}")
    except FileNotFoundError as error:
        log.error("the file of %s is missing in multisite.media_url", media.path)
        raise HTTPNotFound from error
    response = Response(app_iter=_Chunks(file), conditional_response=True)
    response.headers["Content-Type"] = content_type
    response.content_length = size
    response.accept_ranges = "bytes"
    response.etag = f"{media.digest[:32]}-{name.rpartition('-')[2]}" if name != media.name else media.digest[:32]
    response.headers.update(_HEADERS)
    if content_type == "application/pdf":
        response.content_disposition = f'attachment; filename="{name}"'
    return response


def _library(request: Request) -> MediaLibrary:
    """Return the media of the application's sites. Raises `MultisiteError` if it has not named its table."""
    try:
        library: MediaLibrary = request.registry[MEDIA_LIBRARY]
    except KeyError:
        raise MultisiteError("this application has no table of media: call config.set_site_media(Media)") from None
    return library


def set_site_media(config: Configurator, model: type[SiteMedia], used_in: UsedIn | None = None) -> None:
    """Name the application's table of media. A Configurator directive.

    Args:
        config: The configurator.
        model: A model with the mixin `SiteMedia`.
        used_in: Columns with HTML that refers to media, and for each the column that names the row, such as
            `{Article.html: Article.title}`.
    """
    registry = config.registry

    def quota(site: Site) -> int:
        # From this application's settings, also for a site that was read elsewhere, as in commands.
        number: int = registry[SITE_SETTINGS].settings_of(site)["media_bytes"]
        return number

    library = MediaLibrary(model, MediaStore(registry[SETTINGS].media_url), quota, used_in or {})

    def register() -> None:
        registry[MEDIA_LIBRARY] = library

    config.add_site_export("media", partial(export_media, library), partial(import_media, library))
    introspectable = config.introspectable("multisite media", model.__name__, model.__name__, "table of media")
    config.action("multisite media", register, introspectables=(introspectable,))


def _check_quota(number: int) -> None:
    if number < 0:
        raise ValueError("a number of bytes, such as 1000000000")


def _configure(config: Configurator) -> None:
    sentence = "How many bytes the media of the site may have."
    config.add_site_setting(
        "media_bytes", int, default=DEFAULT_QUOTA, doc=sentence, check=_check_quota, label="Space for media"
    )
    config.add_request_method(_library, "media_library", reify=True)
    config.add_route("multisite.media", "/media/{digest:[0-9a-f]{64}}/{name}")
    config.add_view(
        media_view,
        route_name="multisite.media",
        request_method=("GET", "HEAD"),
        permission=NO_PERMISSION_REQUIRED,
    )


def includeme(config: Configurator) -> None:
    """Serve the media of each site, and add `config.set_site_media` and `request.media_library`. Includes multisite."""
    config.add_directive("set_site_media", set_site_media)
    with_multisite(config, _configure)
