"""Pictures and other files that people upload to a site, kept by the hash of their content.

    class Media(SiteMedia, Base):
        __tablename__ = "media"

    config.include("multisite.media")
    config.set_site_media(Media, used_in={Article.html: Article.title})

    media = request.media_library.save_upload(request.dbsession, request.site, upload.file, upload.filename)
    media.path                                           # /media/5d0c…/leaves.jpg
    media.image_attributes()                             # src, width, height, srcset and sizes

Each site has its own rows and its own files, even of the same content: at another site's address a file is a 404.
Requires fsspec and Pillow (`pyramid-multisite[media]`), which are imported when the include or the library is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multisite.core.lazy import lazy_names

if TYPE_CHECKING:
    from multisite.media.errors import MediaRefused
    from multisite.media.library import MediaLibrary
    from multisite.media.model import SiteMedia
    from multisite.media.view import MEDIA_LIBRARY, includeme

__all__ = ["MEDIA_LIBRARY", "MediaLibrary", "MediaRefused", "SiteMedia", "includeme"]

__getattr__ = lazy_names(
    __name__,
    {
        "MEDIA_LIBRARY": "multisite.media.view",
        "MediaLibrary": "multisite.media.library",
        "MediaRefused": "multisite.media.errors",
        "SiteMedia": "multisite.media.model",
        "includeme": "multisite.media.view",
    },
)
