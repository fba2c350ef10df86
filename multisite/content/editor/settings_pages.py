"""The page of settings for owners: name, language and time zone of the site, and settings declared for owners."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request

from multisite.content.editor.layout_pages import new_link
from multisite.content.editor.pages import N_, add_page, translate, variables
from multisite.content.layout_links import LayoutChanges
from multisite.core.keys import DIRECTORY
from multisite.forms import SITE_TEXTS, SettingsForm, changed_texts, save_settings, site_settings_form
from multisite.private_pages import field
from multisite.sites.settings import SettingsRegistry
from multisite.web.site_settings import SITE_SETTINGS

if TYPE_CHECKING:  # Its packages are another extra.
    from multisite.media.library import MediaLibrary

__all__ = ["includeme"]

MAX_IMAGES = 100
"""A setting that is a picture offers this many of the newest."""

DECLARED = (
    N_("Name"),
    N_("Language"),
    N_("Time zone"),
    N_("1 to 200 printable characters"),
    N_("a language such as en, de or pt-BR"),
    N_("a time zone such as Europe/Berlin"),
    N_("Entries per page"),
    N_("Entries on one page of the home page and of a tag."),
    N_("Entries in the feed"),
    N_("How many of the newest entries the feed has."),
    N_("Tagline"),
    N_("A sentence below the name of the site."),
    N_("a whole number from 1 to 100"),
    N_("a whole number"),
    N_("Expected:"),
)
"""Texts of the declarations in `multisite.content.settings`, and of the form."""


def settings(request: Request) -> Any:
    """The form with the settings, and the change."""
    declared: SettingsRegistry = request.registry[SITE_SETTINGS]
    sent = request.POST if request.method == "POST" else None
    form, texts = site_settings_form(declared, request.site, sent, owners=True, translate=partial(translate, request))
    error = None
    if request.method == "POST":
        if form.validate():
            changed = changed_texts(form, texts)
            if field(request, "action") == "preview":
                columns = {name: changed.pop(name) for name in SITE_TEXTS if name in changed}
                return new_link(request, LayoutChanges(columns, changed))
            directory = request.registry[DIRECTORY]
            save_settings(directory.engine, request.site.domain, texts, changed, declared=declared)
            directory.refresh_soon()
            return HTTPSeeOther(request.route_path("editor_settings", _query={"done": "1"}))
        error = translate(request, "Nothing was saved: some values are not valid.")
        request.response.status_int = 400
    done = translate(request, "The settings are saved.") if request.GET.get("done") else None
    images = _images(request, form)
    return variables(request, form=form, images=images, error=error, done=None if error else done)


def _images(request: Request, form: SettingsForm) -> list[tuple[str, str]]:
    """Return path and name of the newest pictures of the site, if one of the settings is a picture."""
    library: MediaLibrary | None = getattr(request, "media_library", None)
    if library is None or not form.has_images:
        return []
    pictures = (media for media in library.list_all(request.dbsession) if media.width is not None)
    return [(media.path, media.name) for media in islice(pictures, MAX_IMAGES)]


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "settings", "/edit/settings", settings, "settings", role="owner")
