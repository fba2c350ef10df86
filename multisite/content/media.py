"""The media of the reference application: pictures and files of entries."""

from __future__ import annotations

from pyramid.config import Configurator

from multisite.content.models import Entry, Media

__all__ = ["includeme"]


def includeme(config: Configurator) -> None:
    """Serve media, and look for their use in the HTML of entries."""
    config.include("multisite.media")
    config.set_site_media(Media, used_in={Entry.body_html: Entry.slug})
