"""The language, the time zone and the formats of a site, in requests and outside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multisite.core.lazy import lazy_names

if TYPE_CHECKING:
    from multisite.language.formats import formats_for
    from multisite.language.local_time import local_bounds, zone_of
    from multisite.language.request import TRANSLATIONS, includeme, vary_by_language

__all__ = ["TRANSLATIONS", "formats_for", "includeme", "local_bounds", "vary_by_language", "zone_of"]

__getattr__ = lazy_names(
    __name__,
    {
        "formats_for": "multisite.language.formats",
        "local_bounds": "multisite.language.local_time",
        "zone_of": "multisite.language.local_time",
        "TRANSLATIONS": "multisite.language.request",
        "includeme": "multisite.language.request",
        "vary_by_language": "multisite.language.request",
    },
)
