"""What commands and jobs do with the store of templates. Each call does nothing without `multisite.templates_store`."""

from __future__ import annotations

from multisite.core.settings import Settings
from multisite.sites.template_store.mirror import SHARED, TemplateMirror, site_tree

__all__ = [
    "forget_folder",
    "is_from_store",
    "publish_folder",
    "publish_shared",
    "push_folder",
    "refresh_folder",
    "refresh_shared",
    "withdraw_folder",
]


def refresh_folder(settings: Settings, folder: str) -> None:
    """Copy the folder of a site from the store, before it is read or created.

    Raises:
        MultisiteError: The store cannot be reached.
    """
    if settings.templates_store is not None:
        TemplateMirror(settings).refresh(site_tree(folder))


def refresh_shared(settings: Settings) -> None:
    """Copy the shared templates from the store, before the themes in them are read. Raises as `refresh_folder` does."""
    if settings.templates_store is not None:
        TemplateMirror(settings).refresh(SHARED)


def is_from_store(settings: Settings, folder: str) -> bool:
    """Return whether the local folder is a copy of one in the store, so that it can be replaced."""
    return settings.templates_store is not None and TemplateMirror(settings).is_copy(site_tree(folder))


def forget_folder(settings: Settings, folder: str) -> None:
    """Delete the local copy of the folder of a removed site, before another site gets a folder of this name."""
    if settings.templates_store is not None:
        TemplateMirror(settings).forget(site_tree(folder))


def publish_folder(settings: Settings, folder: str) -> None:
    """Push the folder of a new site. If the store has one of this name, it is what a removed site has left.

    Raises:
        MultisiteError: The store cannot be reached.
    """
    if settings.templates_store is not None:
        TemplateMirror(settings).push(site_tree(folder), force=True)


def push_folder(settings: Settings, folder: str) -> None:
    """Push the folder of a site that was changed.

    Raises:
        MultisiteError: The store cannot be reached, or has a version that this machine has not seen.
    """
    if settings.templates_store is not None:
        TemplateMirror(settings).push(site_tree(folder))


def publish_shared(settings: Settings) -> None:
    """Push the shared templates and themes. Raises as `push_folder` does."""
    if settings.templates_store is not None:
        TemplateMirror(settings).push(SHARED)


def withdraw_folder(settings: Settings, folder: str) -> None:
    """Remove the folder of a removed site from the store. Raises as `publish_folder` does."""
    if settings.templates_store is not None:
        TemplateMirror(settings).remove(site_tree(folder))
