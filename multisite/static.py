"""Serve the static files of a site: `static/` in its folder, over that of its theme, over the shared one.

    config.include("multisite.static")                       # below /static/
    request.static_path("multisite:static/style.css")        # /static/style.css?v=5f2c0e1b9a77
    static_path(request, "style.css")                        # the same

An application with static files of its own names their folder in place of `config.add_static_view`:

    config.add_site_static_view("static", "myapp:static")
    request.static_path("myapp:static/style.css")            # the site's style.css, else the package's

Addresses are Pyramid's own, with a cache buster that puts the hash of the content behind them: browsers keep such a
file for a year. Pyramid's static view itself cannot serve them: it has one folder for all requests, and answers 304 by
time alone, which is wrong where the next file under the name may be an older one of another layer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.interfaces import IStaticURLInfo
from pyramid.path import AssetResolver
from pyramid.request import Request
from pyramid.response import FileIter, Response
from pyramid.security import NO_PERMISSION_REQUIRED

from multisite.assets import HASH_DIGITS, OpenAsset, content_type, open_asset, static_roots
from multisite.errors import MultisiteError
from multisite.includes import with_multisite
from multisite.keys import SETTINGS
from multisite.site import Site

__all__ = ["SPEC", "SiteStatic", "includeme", "static_path"]

SPEC = "multisite:static/"
"""What stands before the name of a file of the request's site in `request.static_path` and `request.static_url`."""

VIEWS = "multisite.static"
"""The key in the registry of the `SiteStatic` by their names."""

HASHED_SECONDS = 31_536_000
"""How long browsers keep a file that they asked for with the hash of its content: a year, the most that is meant."""

PLAIN_SECONDS = 3600
"""How long browsers keep a file without asking again, where its address does not change with its content."""

_SMALL_BYTES = 262_144
"""A file up to this size is sent in one piece; a longer one is read as it goes out."""


class SiteStatic:
    """Static files below one address: a view, and the cache buster of the addresses that it answers.

    `specs` name what lies below the layers of the site: asset specs or absolute paths of folders, ending in a slash.
    """

    def __init__(self) -> None:
        self.specs: list[str] = []

    def open(self, request: Request, segments: Sequence[str]) -> OpenAsset | None:
        """Return the file called `segments` of the request's site, open; None if there is none to serve."""
        return open_asset(self._roots(request, segments), segments)

    def _roots(self, request: Request, segments: Sequence[str]) -> Iterator[Path]:
        yield from static_roots(request.registry[SETTINGS], _site_or_none(request))
        for spec in self.specs:
            # The file is asked for and not the folder, since `config.override_asset` may replace single files. What
            # is no name of a file has been refused before.
            path = Path(AssetResolver(None).resolve(spec + "/".join(segments)).abspath())
            if path.parts[-len(segments) :] == tuple(segments):
                yield Path(*path.parts[: -len(segments)]).resolve()

    def __call__(self, context: Any, request: Request) -> Response:
        """Answer with the file, 304 where the browser has it, or 404."""
        asset = self.open(request, request.matchdict["subpath"])
        if asset is None:
            raise HTTPNotFound
        with ExitStack() as files:
            files.enter_context(asset)
            forms: dict[str | None, OpenAsset] = {None: asset}
            for encoding, encoded in asset.encoded().items():
                forms[encoding] = files.enter_context(encoded)
            try:
                return _response(request, forms)
            except OSError as error:  # It could be opened, and not be read.
                raise HTTPNotFound from error

    def add_content_hash(self, request: Request, subpath: str, kw: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Add the hash of the content to an address: a cache buster of Pyramid's.

        A file that is not there keeps its plain address: a missing picture is no reason to lose a page.
        """
        asset = self.open(request, subpath.split("/"))
        if asset is not None:
            with asset, suppress(OSError):
                kw.setdefault("_query", {"v": asset.digest()[:HASH_DIGITS]})
        return subpath, kw


def _response(request: Request, forms: dict[str | None, OpenAsset]) -> Response:
    """Return the answer with one of the `forms` of a file by their content coding, None for the file itself."""
    asset = forms[None]
    encoding = _best_encoding(request, forms)
    chosen = forms[encoding]
    # First, so that it is never newer than what is sent: under the hash in an address nothing older must be kept.
    digest, etag = asset.digest(), chosen.digest()
    response = Response(conditional_response=True)
    # As a header, since the attribute claims a charset for everything made of XML, which says so itself.
    response.headers["Content-Type"] = content_type(asset.path.name)
    if chosen.status.st_size <= _SMALL_BYTES:
        response.body = chosen.file.read()
    else:
        # The caller closes its own descriptor when this returns.
        response.app_iter = FileIter(os.fdopen(os.dup(chosen.file.fileno()), "rb"))
        response.content_length = chosen.status.st_size
    response.content_encoding = encoding
    if len(forms) > 1:
        response.vary = ("Accept-Encoding",)
    response.accept_ranges = "bytes"
    # No Last-Modified: the file of the theme or of the shared layer, which a name stands for once the site's own is
    # gone, is often older than that, and a browser that asks by time would be told to keep what it has.
    response.etag = etag[:32]
    # Not request.GET, which raises where a parameter is not UTF-8.
    hashed = request.query_string == f"v={digest[:HASH_DIGITS]}"
    response.cache_control = (
        f"public, max-age={HASHED_SECONDS}, immutable" if hashed else f"public, max-age={PLAIN_SECONDS}"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _best_encoding(request: Request, forms: dict[str | None, OpenAsset]) -> str | None:
    """Return the content coding of the smallest form that the browser takes, None for the file itself."""
    codings = [coding for coding in forms if coding is not None]
    if not codings or not request.accept_encoding:
        return None
    accepted = [coding for coding, _quality in request.accept_encoding.acceptable_offers(codings)]
    choices: list[str | None] = [None, *accepted]
    return min(choices, key=lambda coding: forms[coding].status.st_size)


def static_path(request: Request, name: str) -> str:
    """Return the path of the static file `name` (`img/logo.svg`) for the request's site, with a hash of its content.

    The same as `request.static_path("multisite:static/" + name)`.
    """
    path: str = request.static_path(SPEC + name.strip("/"))
    return path


def _site_or_none(request: Request) -> Site | None:
    try:
        site: Site = request.site
    except MultisiteError:  # an open path: the shared files are everybody's
        return None
    return site


def add_site_static_view(config: Configurator, name: str, path: str) -> None:
    """Serve each site's static files below `/name/`, over those in the folder `path`: a directive of the Configurator.

    `path` is as in Pyramid's `add_static_view`, in whose place this stands, and its files are named the same way in
    `request.static_url`. Several folders may be given under one name; the first that has a file wins.
    """
    spec = config.absolute_asset_spec(path).rstrip("/") + "/"
    views: dict[str, SiteStatic] = config.registry.setdefault(VIEWS, {})
    route_name = f"{VIEWS} {config.route_prefix or ''}/{name.strip('/')}"
    view = views.get(route_name)
    if view is None:
        view = views[route_name] = SiteStatic()
        config.add_route(route_name, f"{name.strip('/')}/*subpath")
        config.add_view(view, route_name=route_name, request_method=("GET", "HEAD"), permission=NO_PERMISSION_REQUIRED)
    if spec != SPEC:
        view.specs.append(spec)
    config.add_cache_buster(spec, view.add_content_hash)

    def register() -> None:
        config.registry.getUtility(IStaticURLInfo).registrations.append((None, spec, route_name))

    introspectable = config.introspectable(
        "static views", spec, f"static files of each site over {spec}", "static view"
    )
    introspectable.update(name=name, spec=spec)
    config.action(("multisite static", spec), register, introspectables=(introspectable,))


def includeme(config: Configurator) -> None:
    """Serve the static files of each site, and the shared ones, below `/static/`.

    Adds the directive `config.add_site_static_view(name, path)`. Includes multisite.
    """
    with_multisite(config)
    config.add_directive("add_site_static_view", add_site_static_view)
    config.add_site_static_view("static", SPEC)
