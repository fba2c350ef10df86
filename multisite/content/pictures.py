"""The pictures of entries, as HTML images: `image_of` and `lead_image_of` of templates.

A page whose entries have no pictures makes no query for them, and a list makes one for all of its pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from markupsafe import Markup
from pyramid.request import Request

from multisite.content.models import Media
from multisite.content.site_paths import add_path_to_text
from multisite.media.model import DIGESTS_IN_TEXT

__all__ = ["Pictures"]

PAGE_SIZES = "(min-width: 60rem) 50rem, 100vw"
"""How wide a picture is on the page of its entry, in layouts with a column of text."""


class Pictures:
    """Finds the pictures of the entries on a request's page, each once."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._found: dict[str, Media | None] = {}

    def media_of(self, entry: Any, among: Iterable[Any] = ()) -> Media | None:
        """Return the picture of an entry; None if it has none, or if the site has no such file.

        Args:
            entry: An entry, or what a template gets for one.
            among: All entries of the page, whose pictures are looked up together.
        """
        address: str | None = entry.picture
        if address is None:
            return None
        if address not in self._found:
            self._load({each.picture for each in among if each.picture is not None} | {address})
        return self._found[address]

    def _load(self, addresses: Iterable[str]) -> None:
        digests = {address: match[1] for address in addresses if (match := DIGESTS_IN_TEXT.match(address))}
        rows = {}
        if digests and hasattr(self._request, "media_library"):  # Without media, nothing serves the files.
            statement = sa.select(Media).where(Media.digest.in_(digests.values()), Media.width.is_not(None))
            rows = {media.digest: media for media in self._request.dbsession.scalars(statement)}
        self._found |= {address: rows.get(digests.get(address, "")) for address in addresses}

    def image_of(self, entry: Any, among: Iterable[Any] = (), *, sizes: str | None = None) -> Markup | None:
        """Return the picture of an entry as an HTML image with its sizes and its alternative text, or None.

        Args:
            entry: As for `media_of`.
            among: As for `media_of`.
            sizes: How wide the image is, as HTML's `sizes`, for one that is loaded at once; None for one that is loaded
                when it is about to be seen, in the width that it has on the page.
        """
        # Most entries of most lists have no picture.
        media = None if entry.picture is None else self.media_of(entry, among)
        if media is None:
            return None
        attributes = media.image_attributes() | {"alt": "" if media.decorative else media.alt}
        if sizes is None:
            attributes["loading"] = "lazy"
        elif "sizes" in attributes:
            attributes["sizes"] = sizes
        parts = [Markup('{}="{}"').format(name, value) for name, value in attributes.items()]
        image = Markup("<img {}>").format(Markup(" ").join(parts))
        return Markup(add_path_to_text(self._request.script_name, image))  # noqa: S704 (escaped above)

    def lead_image_of(self, entry: Any, among: Iterable[Any] = ()) -> Markup | None:
        """Return the picture of an entry to show above its text; None if the text has the picture, too."""
        media = self.media_of(entry, among)
        if media is None or f"/media/{media.digest}/" in entry.body_html:
            return None
        return self.image_of(entry, sizes=PAGE_SIZES)
