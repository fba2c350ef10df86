"""`SiteMedia`, the mixin for an application's table of media."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Mapped, Mapper, mapped_column

from multisite.directory.tables import BigId, UtcDateTime
from multisite.media.formats import format_named
from multisite.scoping import SiteScoped
from multisite.scoping.column import SITE_COLUMN

__all__ = ["DIGESTS_IN_TEXT", "SiteMedia"]

DIGESTS_IN_TEXT = re.compile(r"/media/([0-9a-f]{64})/")
"""Finds the media that a text refers to."""


class SiteMedia(SiteScoped):
    """A declarative mixin for the media of one site: pictures in several sizes, and other files.

    Attributes:
        digest: The SHA-256 of the uploaded bytes, in hexadecimal digits; unique within the site.
        token: Names the folder of its files in the store, together with `digest`.
        name: The last part of its URL, such as `leaf-mould.jpg`.
        format: The name of its format (`multisite.media.formats`).
        width: Pixels of a picture; None for other files.
        height: Pixels of a picture; None for other files.
        widths: The pixels of the smaller versions of a picture, which are WebP.
        bytes: The size of all its files in the store.
        alt: What a picture shows, for those who do not see it; may be empty.
        decorative: Whether a picture needs no such text.
        uploaded: When it was added.
    """

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    digest: Mapped[str] = mapped_column(sa.String(64))
    token: Mapped[str] = mapped_column(sa.String(32))
    name: Mapped[str] = mapped_column(sa.String(100))
    format: Mapped[str] = mapped_column(sa.String(20))
    width: Mapped[int | None] = mapped_column(sa.Integer)
    height: Mapped[int | None] = mapped_column(sa.Integer)
    widths: Mapped[list[int]] = mapped_column(sa.JSON, default=list)
    bytes: Mapped[int] = mapped_column(sa.BigInteger)
    alt: Mapped[str] = mapped_column(sa.Text, default="")
    decorative: Mapped[bool] = mapped_column(sa.Boolean, default=False)
    uploaded: Mapped[datetime] = mapped_column(UtcDateTime, default=lambda: datetime.now(UTC))

    @property
    def path(self) -> str:
        """The path of its URL."""
        return f"/media/{self.digest}/{self.name}"

    @property
    def folder(self) -> str:
        """The folder of its files in the store."""
        return f"{self.digest[:2]}/{self.digest}-{self.token}"

    def content_type_of(self, file_name: str) -> str | None:
        """Return the media type of one of its files by name; None if it has no such file."""
        if file_name == self.name:
            return format_named(self.format).content_type
        return "image/webp" if file_name in map(self.smaller_name, self.widths) else None

    def smaller_name(self, width: int) -> str:
        """Return the file name of its version with this width in pixels."""
        return f"{self.name.rpartition('.')[0]}-{width}.webp"

    def image_attributes(self) -> dict[str, str]:
        """Return the attributes of an HTML image: `src`, `width`, `height`, and `srcset` and `sizes` if it has sizes.

        For a file that is not a picture, only `src`.
        """
        attributes = {"src": self.path}
        if self.width is not None and self.height is not None:
            attributes |= {"width": str(self.width), "height": str(self.height)}
            if self.widths:
                folder = f"/media/{self.digest}"
                smaller = [f"{folder}/{self.smaller_name(width)} {width}w" for width in self.widths]
                attributes["srcset"] = ", ".join([*smaller, f"{self.path} {self.width}w"])
                # Layouts differ: a browser that knows "auto" takes the width of the image on the page.
                attributes["sizes"] = "auto, 100vw"
        return attributes


@event.listens_for(SiteMedia, "instrument_class", propagate=True)
def _add_unique_key(mapper: Mapper[Any], cls: type[SiteMedia]) -> None:
    """Make the digest unique within the site, whatever `__table_args__` say."""
    table = mapper.local_table
    if isinstance(table, sa.Table) and "digest" in table.columns:
        table.append_constraint(sa.UniqueConstraint(SITE_COLUMN, "digest"))
