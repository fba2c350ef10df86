"""What a site, a domain, the current site and a setting are: values and rules, without input or output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multisite.core.lazy import lazy_names

if TYPE_CHECKING:
    from multisite.core.settings import parse_settings

__all__ = ["parse_settings"]

__getattr__ = lazy_names(
    __name__,
    {
        "parse_settings": "multisite.core.settings",
    },
)
