"""The settings of a site: a form made from their declarations, and its name, language and time zone."""

from __future__ import annotations

from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request

from multisite.console.pages import N_, add_page, done, translate
from multisite.console.site_list_pages import explain
from multisite.console.site_pages import SITE_PATTERN, find_record, site_variables
from multisite.errors import MultisiteError
from multisite.forms import SettingsForm, save_settings, site_settings_form
from multisite.sites.hidden_values import HIDDEN, is_secret_name

__all__ = ["includeme"]

DECLARED = (
    N_("Name"),
    N_("Language"),
    N_("Time zone"),
    N_("Entries per page"),
    N_("Entries in the feed"),
    N_("Tagline"),
    N_("How many of the newest entries the feed has."),
    N_("1 to 200 printable characters"),
    N_("A sentence below the name of the site."),
    N_("Entries on one page of the home page and of a tag."),
    N_("Expected:"),
    N_("a language such as en, de or pt-BR"),
    N_("a time zone such as Europe/Berlin"),
    N_("a whole number"),
    N_("a whole number from 1 to 100"),
    N_("Own menu"),
    N_("Whether the main menu is the one that an owner has arranged in the editor."),
    N_("Content-Security-Policy"),
    N_("The Content-Security-Policy of the pages; empty for none."),
    N_("Search engines"),
    N_("Whether search engines may list the pages; disallow also asks them not to read any."),
    N_("Sender of mail"),
    N_("The sender of the site's mail; by default noreply@ its domain."),
    N_("Space for media"),
    N_("How many bytes the media of the site may have."),
    N_("Further languages"),
    N_("Further languages of the site, negotiated by Accept-Language."),
    N_("Currency"),
    N_("The currency of prices, such as EUR."),
)
"""Texts of the form, and of the settings that the reference application and the includes of multisite declare."""


def settings(request: Request) -> Any:
    """The form with all settings, and the change."""
    record, console, error = find_record(request), request.console, None
    sent = request.POST if request.method == "POST" else None
    form, texts = site_settings_form(
        console.declared, record.site, sent, language=request.locale_name, translate=partial(translate, request)
    )
    if request.method == "POST":
        error = _change(request, record.site, form, texts)
        if error is None:
            console.directory.refresh_soon()
            return done(request, "saved", "settings", id=record.site.id)
        request.response.status_int = 400
    sources = {each.name: each for each in console.declared.describe(record.site)}
    return site_variables(
        request, record, form=form, sources=sources, error=error, is_secret=is_secret_name, HIDDEN=HIDDEN
    )


def _change(request: Request, site: Any, form: SettingsForm, texts: dict[str, str | None]) -> str | None:
    console = request.console
    try:
        if form.validate():
            save_settings(console.engine, site.domain, texts, form.changes(), declared=console.declared)
        else:
            return translate(request, "Nothing was saved: some values are not valid.")
    except MultisiteError as error:
        return explain(request, error)
    return None


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "settings", SITE_PATTERN + "/settings", settings, "settings", role="look", change_role="run")
