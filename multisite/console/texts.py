"""Texts of the console that are shown by a key: the menu, statuses of sites, error pages, and what has been done."""

from __future__ import annotations

__all__ = ["COUNTS", "DONE", "ERRORS", "NAVIGATION", "N_", "SITE_ROUTES", "STATUSES", "TITLES"]


def N_(text: str) -> str:  # noqa: N802  The usual name for a text that is translated where it is shown.
    """Return `text`, which is listed for translation."""
    return text


STATUSES = {
    "active": N_("Active"),
    "maintenance": N_("Maintenance"),
    "disabled": N_("Disabled"),
    "pending": N_("Incomplete"),
    "removing": N_("Being removed"),
}
"""The texts of the statuses of sites."""

COUNTS = {
    "sites": (N_("1 site"), N_("{number} sites")),
    "domains": (N_("1 domain"), N_("{number} domains")),
    "rows": (N_("1 row"), N_("{number} rows")),
    "requests": (N_("1 request"), N_("{number} requests")),
    "errors": (N_("1 error"), N_("{number} errors")),
    "users": (N_("1 user"), N_("{number} users")),
    "hidden": (
        N_("1 file of the site hides one of the theme"),
        N_("{number} files of the site hide those of the theme"),
    ),
}
"""What is counted: the text for one, and the text for any other number. That is the rule of English and German."""

SITE_ROUTES = (
    "site",
    "domains",
    "settings",
    "theme",
    "state",
    "users",
    "sign_in",
    "copy",
    "export",
    "traffic",
    "remove",
)
"""The routes of the pages of a site."""

NAVIGATION = [
    (
        "sites",
        N_("Sites"),
        "look",
        frozenset({"sites", "add_site", "import", "bulk", *SITE_ROUTES}),
    ),
    ("removed", N_("Removed sites"), "look", frozenset({"removed"})),
    ("jobs", N_("Jobs"), "look", frozenset({"jobs", "job"})),
    ("log", N_("Log"), "look", frozenset({"log"})),
    ("health", N_("Health"), "look", frozenset({"health"})),
    ("operators", N_("Operators"), "everything", frozenset({"operators"})),
]
"""The menu: the route, the text, the role of those who see it, and the routes of which it is the entry."""

TITLES = (
    N_("Bad Request"),
    N_("Forbidden"),
    N_("Not Found"),
    N_("Request Entity Too Large"),
    N_("Internal Server Error"),
    N_("Insufficient Storage"),
)
"""The titles of error pages, which are those of Pyramid."""

ERRORS = {
    400: N_("This request is not valid. Go back, load the page again, and repeat what you did."),
    403: N_("You may not do this."),
    413: N_("This is larger than the console takes."),
    507: N_("There is no space left on the server for this file."),
    404: N_("There is no such page, or no such site any more."),
    500: N_("This page failed. The log of the server says why."),
}
"""The texts of error pages, by status."""

DONE = {
    "saved": N_("Saved."),
    "added": N_("The site is added."),
    "job": N_("The job is added."),
    "cancelled": N_("The job is cancelled."),
    "passkey": N_("The passkey is added."),
    "link_withdrawn": N_("The link is withdrawn."),
    "password": N_("The password is changed, and all other log-ins have ended."),
}
"""What has been done, by the value of the query parameter `done`."""
