"""Settings of each site of the reference application, which `multisite set` changes."""

from __future__ import annotations

from pyramid.config import Configurator

__all__ = ["FEED_ENTRIES", "POSTS_PER_PAGE", "includeme"]

POSTS_PER_PAGE = 10
"""Default of the setting `posts_per_page`."""

FEED_ENTRIES = 20
"""Default of the setting `feed_entries`."""


def _check_size(number: int) -> None:
    if not 1 <= number <= 100:
        raise ValueError("a whole number from 1 to 100")


def includeme(config: Configurator) -> None:
    """Declare the settings."""
    sentence = "Entries on one page of the home page and of a tag."
    config.add_site_setting(
        "posts_per_page", int, default=POSTS_PER_PAGE, doc=sentence, check=_check_size, owner=True,
        label="Entries per page",
    )  # fmt: skip
    config.add_site_setting(
        "feed_entries", int, default=FEED_ENTRIES, doc="How many of the newest entries the feed has.",
        check=_check_size, owner=True, label="Entries in the feed",
    )  # fmt: skip
    sentence = "Whether the main menu is the one that an owner has arranged in the editor."
    config.add_site_setting("own_menu", bool, default=False, doc=sentence, label="Own menu")
    sentence = "A sentence below the name of the site."
    config.add_site_setting("tagline", str, default="", doc=sentence, owner=True, label="Tagline")
