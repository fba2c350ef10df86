"""Keep the folders of a server equal to `multisite.templates_store`.

The database says when a site's templates have changed: `multisite push-templates` raises the site's generation after
the store has the new version. The tween compares it with the one that was copied, which costs a look into a dictionary,
and reads the store only if it is another one. Sites that nobody visits are not copied.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pyramid.config import PHASE3_CONFIG, Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import EXCVIEW

from multisite.core import fork_safety
from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.core.settings import Settings
from multisite.core.site import Site, site_or_none
from multisite.errors import MultisiteError
from multisite.sites.template_store.mirror import SHARED, TemplateMirror, site_tree
from multisite.web.renderer import TEMPLATES
from multisite.web.startup import on_startup

__all__ = ["FolderKeeper", "includeme", "template_store_tween_factory"]

log = logging.getLogger(__name__)

KEEPER = "multisite.folder_keeper"
"""Registry key of the `FolderKeeper`."""

RETRY_SECONDS = 5.0
"""How long a store that could not be reached is left alone."""

UNKNOWN_GENERATION = -1
"""The template generation of a site whose folder is from before the start, while the store cannot be reached."""


class FolderKeeper:
    """Copies the folders of sites, and that of the shared templates, when their generations change.

    Args:
        settings: Where the folders are, and the URL of the store.
        shared_generation: Returns the generation of the shared templates in the database.
        clock: For tests.
    """

    def __init__(
        self,
        settings: Settings,
        shared_generation: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mirror = TemplateMirror(settings)
        self._shared_generation = shared_generation
        self._clock = clock
        self._max_sites = settings.directory_size
        self._copied: dict[int, tuple[str, int]] = {}
        self._shared: int | None = None
        self._retry_at = 0.0
        self._adding = fork_safety.fork_safe_lock()

    def start(self) -> None:
        """Copy the shared templates, or use what an earlier start has copied.

        Raises:
            MultisiteError: The store cannot be reached, and nothing was ever copied from it.
        """
        try:
            self._mirror.refresh(SHARED)
        except MultisiteError as error:
            if not self._mirror.is_known(SHARED):
                raise
            log.warning("%s; the templates of the last start are used", error)

    def generation(self) -> int:
        """Return the generation of the shared templates that were copied."""
        wanted = self._shared_generation()
        if self._shared != wanted and self._may_try():
            try:
                self._mirror.refresh(SHARED)
            except MultisiteError as error:
                self._failed(error)
            else:
                self._shared = wanted
        return UNKNOWN_GENERATION if self._shared is None else self._shared

    def keep(self, site: Site) -> Site:
        """Copy the folder of `site` and the shared templates, with the themes, if they have changed.

        Returns:
            The site. If the store cannot be reached, it has the generation of the folder that was copied last, so that
            nothing which is made from that folder is taken for the new one.

        Raises:
            MultisiteError: The store cannot be reached, and this machine has no copy of the folder of this site.
        """
        # Each time: a page may list the themes before anything is rendered.
        self.generation()
        copied = self._copied.get(site.id)
        if copied is not None and copied[0] == site.folder and copied[1] >= site.template_generation:
            return site
        name = site_tree(site.folder)
        if self._may_try():
            try:
                if self.generation() != self._shared_generation():
                    raise MultisiteError("the shared templates could not be copied")  # Logged there.
                self._mirror.refresh(name)
                self._mirror.claim(name, site.id)
            except MultisiteError as error:
                self._failed(error)
            else:
                self._add(site)
                return site
        if copied is not None and copied[0] == site.folder:
            return replace(site, template_generation=copied[1])
        if not self._mirror.is_claimed(name, site.id):
            raise MultisiteError(f"multisite.templates_store cannot be reached, and there is no copy of {site.folder}")
        return replace(site, template_generation=UNKNOWN_GENERATION)

    def _add(self, site: Site) -> None:
        with self._adding:
            while len(self._copied) >= self._max_sites and site.id not in self._copied:
                del self._copied[next(iter(self._copied))]
            self._copied[site.id] = (site.folder, site.template_generation)

    def _may_try(self) -> bool:
        return self._clock() >= self._retry_at

    def _failed(self, error: MultisiteError) -> None:
        if self._may_try():
            log.warning("%s; the last copies are used, and the store is tried again in %g s", error, RETRY_SECONDS)
        self._retry_at = self._clock() + RETRY_SECONDS


def template_store_tween_factory(handler: Any, registry: Registry) -> Callable[[Request], Response]:
    """Return a tween that copies the folder of the request's site before anything below reads it."""
    keeper: FolderKeeper = registry[KEEPER]

    def template_store_tween(request: Request) -> Response:
        site = site_or_none(request)
        if site is None:
            return handler(request)
        try:
            kept = keeper.keep(site)
        except MultisiteError as error:
            log.error("%s", error)
            return _unavailable()
        if kept is not site:
            request.site = kept
        return handler(request)

    return template_store_tween


def _unavailable() -> Response:
    text = "Service Unavailable: please try again in a moment.\n"
    response = Response(text, status=503, content_type="text/plain", charset="utf-8")
    response.headers["Cache-Control"] = "no-store"
    response.headers["Retry-After"] = str(round(RETRY_SECONDS))
    return response


def includeme(config: Configurator) -> None:
    """Add the tween right below the one that finds the site, and copy the shared templates at startup."""
    registry = config.registry
    settings: Settings = registry[SETTINGS]
    # The application may replace the directory until its configuration is complete.
    registry[KEEPER] = FolderKeeper(settings, lambda: registry[DIRECTORY].template_generation())  # noqa: PLW0108
    on_startup(registry, lambda _registry: registry[KEEPER].start())

    def connect() -> None:
        registry[TEMPLATES].shared_generation = registry[KEEPER].generation

    # After `multisite.web.configure` has connected them to the directory.
    config.action(None, connect, order=PHASE3_CONFIG + 21)
    config.add_tween(
        "multisite.web.template_store.template_store_tween_factory",
        under="multisite.web.tween.site_tween_factory",
        over=(
            "multisite.tracing.tracing_tween_factory",
            "multisite.metrics.progress_tween_factory",
            "multisite.web.error_pages.error_page_tween_factory",
            "multisite.web.maintenance.maintenance_tween_factory",
            "multisite.page_cache.page_cache_tween_factory",
            "multisite.static.tween.static_tween_factory",
            "pyramid_tm.tm_tween_factory",
            EXCVIEW,
        ),
    )
