"""The page of settings for owners: name, language and time zone of the site, and settings declared for owners."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request

from multisite.content.editor.pages import N_, add_page, translate, variables
from multisite.core.keys import DIRECTORY
from multisite.errors import MultisiteError
from multisite.forms import SettingsForm
from multisite.sites.settings import SettingsRegistry
from multisite.sites.settings.setting import SITE_COLUMNS, Setting
from multisite.sites.settings.types import SettingType
from multisite.sites.settings.values import set_settings, unset_settings
from multisite.sites.updates import rename_site
from multisite.sites.validation import check_locale, check_name, check_timezone
from multisite.web.site_settings import SITE_SETTINGS

if TYPE_CHECKING:  # Its packages are another extra.
    from multisite.media.library import MediaLibrary

__all__ = ["includeme"]

MAX_IMAGES = 100
"""A setting that is a picture offers this many of the newest."""


def _column(name: str, doc: str, expected: str, check: Callable[[str], str]) -> Setting:
    def parse(text: str) -> str:
        try:
            return check(text)
        except MultisiteError:
            raise ValueError from None  # `expected` says it in a form's words.

    return Setting(name, SettingType("text", expected, parse), None, doc, owner=True)


COLUMNS = (
    _column("name", N_("The name of the site."), N_("1 to 200 printable characters"), check_name),
    _column("locale", N_("The language of the site."), N_("a language such as en, de or pt-BR"), check_locale),
    _column("timezone", N_("The time zone of the site."), N_("a time zone such as Europe/Berlin"), check_timezone),
)
"""The columns of a site that an owner may change, in the order of the form."""

DECLARED = (
    N_("Entries on one page of the home page and of a tag."),
    N_("Entries in the feed."),
    N_("A sentence below the name of the site."),
    N_("a whole number from 1 to 100"),
    N_("a whole number"),
    N_("Expected:"),
)
"""Texts of the declarations in `multisite.content.settings`, and of the form."""


def settings(request: Request) -> Any:
    """The form with the settings, and the change."""
    declared: SettingsRegistry = request.registry[SITE_SETTINGS]
    site = request.site
    known = {each.name: each.text for each in declared.describe(site)}
    texts = {"name": site.name, "locale": site.locale, "timezone": site.timezone, **known}
    defaults = declared.defaults()  # The defaults of the ini file, if it has any.
    owners = [replace(each, default=defaults[each.name]) for each in declared if each.owner]
    fields = [*COLUMNS, *sorted(owners, key=lambda each: each.name), *_theme_fields(request, declared)]
    submitted = request.POST if request.method == "POST" else None
    form = SettingsForm(fields, texts, submitted, partial(translate, request))
    error = None
    if request.method == "POST":
        if form.validate():
            _save(request, declared, texts, form.changes())
            return HTTPSeeOther(request.route_path("editor_settings", _query={"done": "1"}))
        error = translate(request, "Nothing was saved: some values are not valid.")
        request.response.status_int = 400
    done = translate(request, "The settings are saved.") if request.GET.get("done") else None
    images = _images(request, fields)
    return variables(request, form=form, images=images, error=error, done=None if error else done)


def _theme_fields(request: Request, declared: SettingsRegistry) -> list[Setting]:
    """Return the settings of the site's theme, each with its label in the language of the site."""
    theme, language = request.site.theme, request.site.locale
    return [
        replace(setting, doc=declared.theme_label(theme, name, language))
        for name, setting in declared.of_theme(theme).items()
    ]


def _images(request: Request, fields: Iterable[Setting]) -> list[tuple[str, str]]:
    """Return path and name of the newest pictures of the site, if one of `fields` is a picture."""
    library: MediaLibrary | None = getattr(request, "media_library", None)
    if library is None or not any(field.kind.name == "image" for field in fields):
        return []
    pictures = (media for media in library.list_all(request.dbsession) if media.width is not None)
    return [(media.path, media.name) for media in islice(pictures, MAX_IMAGES)]


def _save(
    request: Request, declared: SettingsRegistry, texts: Mapping[str, str | None], changes: Mapping[str, str | None]
) -> None:
    """Write what has changed: the name, then the values, then the defaults, each in a transaction of its own."""
    engine, site = request.registry[DIRECTORY].engine, request.site
    host = site.domain
    changed = {name: text for name, text in changes.items() if (text or "") != (texts[name] or "")}
    name = changed.pop("name", None)
    if name is not None:
        rename_site(engine, host, name)
    values = {key: text for key, text in changed.items() if text is not None}
    if values:
        set_settings(engine, host, values, declared=declared)
    defaults = [key for key, text in changed.items() if text is None and key not in SITE_COLUMNS]
    if defaults:
        unset_settings(engine, host, defaults, declared=declared)
    request.registry[DIRECTORY].refresh_soon()


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "settings", "/edit/settings", settings, "settings", role="owner")
