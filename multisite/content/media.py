"""The media of the reference application: pictures and files of entries."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from pyramid.config import Configurator
from sqlalchemy.orm import Session

from multisite.content.markup.links import FindFile
from multisite.content.models import Entry, Media
from multisite.content.revisions import Autosave, Revision
from multisite.media.model import DIGESTS_IN_TEXT

__all__ = ["find_uploaded", "includeme"]


def find_uploaded(session: Session) -> FindFile:
    """Return the function with which `render` gives pictures of the session's site their sizes."""

    def find(address: str, _alt: str) -> Mapping[str, str] | None:
        digest = DIGESTS_IN_TEXT.match(address)
        if digest is None:
            return None
        media = session.scalars(sa.select(Media).where(Media.digest == digest[1])).one_or_none()
        return None if media is None else media.image_attributes()

    return find


def includeme(config: Configurator) -> None:
    """Serve media, and look for their use in entries, in earlier texts of these, and in texts that are not saved."""
    config.include("multisite.media")
    used_in = {
        Entry.body_html: Entry.slug,
        Entry.picture: Entry.slug,
        Revision.body: Revision.slug,
        Revision.picture: Revision.slug,
        Autosave.fields: Autosave.key,
    }
    config.set_site_media(Media, used_in=used_in)
