"""Media of two sites of the reference application, for its tests."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from content_sites import ContentSites
from PIL import Image
from sqlalchemy.orm import Session

from multisite import Site
from multisite.content.models import Entry, Media
from multisite.media import MEDIA_LIBRARY, MediaLibrary


def remove_all(sites: ContentSites) -> None:
    """Remove the entries, the media and the files of both sites."""
    for site in (sites.garden, sites.sternwarte):
        with session_of(sites, site) as session:
            session.execute(sa.delete(Media))
            session.execute(sa.delete(Entry))
            session.commit()
    shutil.rmtree(sites.settings["multisite.media_url"], ignore_errors=True)


def session_of(sites: ContentSites, site: Site) -> Session:
    return Session(sites.engine, info={"site": site}, expire_on_commit=False)


def add(
    sites: ContentSites, site: Site, content: bytes | None = None, name: str = "Leaf mould.JPEG", **options: Any
) -> Media:
    library: MediaLibrary = sites.app.registry[MEDIA_LIBRARY]
    with session_of(sites, site) as session:
        media = library.save_upload(session, site, io.BytesIO(content or photo()), name, **options)
        session.commit()
        assert isinstance(media, Media)
        return media


def photo(size: tuple[int, int] = (900, 600)) -> bytes:
    target = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").resize(size).save(target, "JPEG")
    return target.getvalue()


def stored(sites: ContentSites) -> list[str]:
    folder = Path(sites.settings["multisite.media_url"])
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
