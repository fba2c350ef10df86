"""The editor: people of a site log in on its own host, and write its entries there.

    config.include("multisite.content.editor")

adds `/login`, `/logout` and `/edit/` to an application that includes `multisite.content.users`. It needs no
`multisite.secret`, and no security policy: only its own pages ask who is logged in.
"""

from __future__ import annotations

from pyramid.config import Configurator

__all__ = ["includeme"]


def includeme(config: Configurator) -> None:
    """Add the pages of the editor, and their static files."""
    # Pyramid's own view, as these files are the same for all sites, and must not be replaced by a site's.
    config.add_static_view("edit/static", "multisite.content.editor:static", cache_max_age=3600)
    config.include("multisite.content.editor.login_pages")
    config.include("multisite.content.editor.account_pages")
    config.include("multisite.content.editor.entry_pages")
    config.include("multisite.content.editor.revision_pages")
    config.include("multisite.content.editor.media_pages")
    config.include("multisite.content.editor.preview_pages")
    config.include("multisite.content.editor.site_pages")
    config.include("multisite.content.editor.menu_pages")
    config.include("multisite.content.editor.autosaves")
    config.include("multisite.content.editor.people_pages")
    config.include("multisite.content.editor.settings_pages")
    config.include("multisite.content.editor.layout_pages")
    config.include("multisite.content.editor.theme_pages")
