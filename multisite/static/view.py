"""The view of the static files, and the cache buster that adds the hash of a file's content to its URL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from pyramid.httpexceptions import HTTPNotFound
from pyramid.path import AssetResolver
from pyramid.request import Request
from pyramid.response import Response

from multisite.core.keys import SETTINGS
from multisite.core.site import site_or_none
from multisite.static import tween
from multisite.static.files import describe, respond
from multisite.templates.assets import HASH_DIGITS, OpenAsset, open_asset, static_roots

__all__ = ["SPEC", "SiteStatic"]

SPEC = "multisite:static/"
"""Asset spec prefix of the site's files, for `request.static_path` and `request.static_url`."""


class SiteStatic:
    """The view and the cache buster of the static files below one URL.

    `specs` are the folders below the layers of the site: asset specs or absolute paths that end in a slash.
    """

    def __init__(self) -> None:
        self.specs: list[str] = []

    def open(self, request: Request, segments: Sequence[str]) -> OpenAsset | None:
        """Open the file with these path segments for the request's site; return None if there is none."""
        return open_asset(self._roots(request, segments), segments)

    def _roots(self, request: Request, segments: Sequence[str]) -> Iterator[Path]:
        # On an open path, without a site, only the shared files are served.
        yield from static_roots(request.registry[SETTINGS], site_or_none(request))
        for spec in self.specs:
            # Resolve the file, not the folder, because `config.override_asset` may replace single files. Segments that
            # are not valid file names have been rejected before.
            path = Path(AssetResolver(None).resolve(spec + "/".join(segments)).abspath())
            if path.parts[-len(segments) :] == tuple(segments):
                yield Path(*path.parts[: -len(segments)]).resolve()

    def __call__(self, context: Any, request: Request) -> Response:
        """Return the file, a 304 if the browser has it, or a 404."""
        asset = self.open(request, request.matchdict["subpath"])
        if asset is None:
            raise HTTPNotFound
        with ExitStack() as files:
            files.enter_context(asset)
            opened: dict[str | None, OpenAsset] = {None: asset}
            for coding, encoded in asset.encoded().items():
                opened[coding] = files.enter_context(encoded)
            try:
                file = describe(opened)
                response = respond(request, file, opened)
            except OSError as error:  # It could be opened but not read.
                raise HTTPNotFound from error
        tween.remember(request, file)
        return response

    def add_content_hash(self, request: Request, subpath: str, kw: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Add the hash of the content to a URL. A Pyramid cache buster.

        Returns:
            `subpath`, and the arguments `kw` of `request.static_url` with the query `v=HASH`. They are unchanged if
            the file is missing, so that a missing image does not break the page.
        """
        asset = self.open(request, subpath.split("/"))
        if asset is not None:
            with asset, suppress(OSError):
                kw.setdefault("_query", {"v": asset.digest()[:HASH_DIGITS]})
        return subpath, kw
