"""Links in the texts of a site that has a path, such as `example.com/shop`.

Texts are stored with links as if the site had none (`/media/…`, `/entries/…`, `/about/`), so that they remain right
when it moves. The path is added when a text is shown, which costs nothing where there is none.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from sqlalchemy.orm.attributes import set_committed_value

from multisite.content.models import Entry

if TYPE_CHECKING:  # The command line lists entries without Pyramid.
    from pyramid.request import Request

__all__ = ["TAG", "add_path", "add_path_to_text", "below"]

TAG = re.compile(r'<[a-z](?:"[^"]*"|[^"<>])*>')
"""Matches an element's tag in sanitized HTML, where `<` in texts is escaped but quotation marks are not."""

_ADDRESS = re.compile(r'(?<= )(href|src|srcset|poster|cite)="([^"]*)"')
_CANDIDATES = re.compile(r"(?:^|(?<=,)|(?<=, ))/(?!/)")
"""Matches the beginnings of the paths of `srcset`."""


def below(path: str, address: str) -> str:
    """Return an address of the site with the path of the site; one that has it, or leads elsewhere, is unchanged."""
    is_own = address.startswith("/") and not address.startswith("//")
    return f"{path}{address}" if is_own and not f"{address}/".startswith(f"{path}/") else address


def add_path_to_text(path: str, html: str) -> str:
    """Return sanitized HTML with `path`, escaped, before the addresses of the site."""
    if not path:
        return html
    before = escape(path)

    def attribute(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        new = _CANDIDATES.sub(f"{before}/", value) if name == "srcset" else below(before, value)
        return f'{name}="{new}"'

    return TAG.sub(lambda tag: _ADDRESS.sub(attribute, tag[0]), html)


def add_path(request: Request, entry: Entry) -> None:
    """Add the path of the request's site to the links of an entry that is shown; the row is not changed."""
    if request.environ.get("SCRIPT_NAME"):  # Without the property, which decodes it for each page of each site.
        set_committed_value(entry, "body_html", add_path_to_text(request.script_name, entry.body_html))
