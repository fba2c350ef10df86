"""Forms made of declared settings, with WTForms: a field for each, checked as `multisite set` checks its value.

    form = SettingsForm(declared, texts, request.POST)
    changes = form.changes() if form.validate() else {}     # a text for each setting, None for its default

Requires WTForms (`pyramid-multisite[editor]`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from markupsafe import Markup
from sqlalchemy.engine import Engine
from webob.multidict import MultiDict

from multisite.core.site import Site
from multisite.directory.records import get_site
from multisite.errors import MultisiteError
from multisite.site_choices import CHOSEN_COLUMNS, choice_options
from multisite.sites.settings import SettingsRegistry
from multisite.sites.settings.registry import parse_own_settings
from multisite.sites.settings.setting import SITE_COLUMNS, Setting
from multisite.sites.settings.types import SettingType
from multisite.sites.settings.values import set_settings, unset_settings
from multisite.sites.updates import rename_site
from multisite.sites.validation import check_locale, check_name, check_timezone

try:
    from wtforms import BooleanField, ColorField, Field, SelectField, StringField
    from wtforms.form import BaseForm
    from wtforms.validators import ValidationError
    from wtforms.widgets import html_params
except ModuleNotFoundError as error:
    if error.name != "wtforms":
        raise
    raise ImportError("multisite.forms needs WTForms: pip install 'pyramid-multisite[editor]'") from error

__all__ = ["IMAGES_ID", "SITE_TEXTS", "SettingsForm", "changed_texts", "save_settings", "site_settings_form"]

Translate = Callable[[str], str]

IMAGES_ID = "images"


class SettingsForm(BaseForm):  # type: ignore[misc]  # WTForms has no types.
    """A form with a field for each of `settings`, under its name, labelled with its label or description.

    A yes or no is a checkbox, a choice, a language and a time zone a list, a colour what the browser has for it, and
    everything else a line of text in the form that `multisite set` takes; for an image, the page may have a `datalist`
    with the id `IMAGES_ID`. If a setting has a label, its description is that of the field.

    Args:
        settings: The settings.
        texts: The text of the current value of each, None for a default that is None.
        submitted: The fields that a browser has sent; None to show the current values.
        translate: Translates labels, descriptions and messages.
        language: The language of the names of languages.
    """

    def __init__(
        self,
        settings: Iterable[Setting],
        texts: Mapping[str, str | None],
        submitted: Mapping[str, Any] | None = None,
        translate: Translate = str,
        language: str = "en",
    ) -> None:
        self._language = language
        self._settings = {setting.name: setting for setting in settings}
        self._translate = translate
        super().__init__({name: self._field(setting) for name, setting in self._settings.items()})
        shown = {
            name: texts[name] == "true" if is_boolean(setting) else texts[name] or ""
            for name, setting in self._settings.items()
        }
        # A field may also be sent as a file, which no setting takes.
        sent = None if submitted is None else [pair for pair in submitted.items() if isinstance(pair[1], str)]
        self.process(None if sent is None else MultiDict(sent), data=shown)

    def _field(self, setting: Setting) -> Field:
        options = {"label": self._translate(setting.label or setting.doc), "validators": [self._check(setting)]}
        if setting.label:
            options["description"] = self._translate(setting.doc)
        if is_boolean(setting):
            return BooleanField(**options)
        if setting.name in CHOSEN_COLUMNS:
            return StringField(**options, widget=_ChoiceList(setting.name, self._language))
        if setting.kind.choices:
            # The check of the setting rejects other choices, in the language of the form.
            return SelectField(**options, choices=list(setting.kind.choices), validate_choice=False)
        if setting.kind.name == "image":
            return StringField(**options, render_kw={"list": IMAGES_ID})
        if setting.kind.name == "colour":
            return ColorField(**options)
        return StringField(**options)

    def _check(self, setting: Setting) -> Callable[[Any, Field], None]:
        def check(_form: Any, field: Field) -> None:
            text = _text_of(field)
            if not text and setting.default is None:
                return
            try:
                setting.parse(text)
            except ValueError as error:
                raise ValidationError(f"{self._translate('Expected:')} {self._translate(str(error))}") from error

        return check

    @property
    def has_images(self) -> bool:
        """Whether one of the settings is an image."""
        return any(setting.kind.name == "image" for setting in self._settings.values())

    def text_of(self, name: str) -> str:
        """Return the text of the field of a setting, as it was sent."""
        return _text_of(self[name])

    def changes(self) -> dict[str, str | None]:
        """Return the text of each setting, None for one that has its default. Call it after `validate`."""
        found: dict[str, str | None] = {}
        for name, setting in self._settings.items():
            text = _text_of(self[name])
            is_default = text == (setting.serialize(setting.default) or "")
            found[name] = None if is_default else text
        return found


class _ChoiceList:
    """Shows a column of a site as a list with its own value, which a `SelectField` might not offer."""

    def __init__(self, column: str, language: str) -> None:
        self._column, self._language = column, language

    def __call__(self, field: Field, **attributes: Any) -> Markup:
        params = html_params(**{"id": field.id, "name": field.name, **attributes})
        options = choice_options(self._column, self._language, field.data or "")
        return Markup(f"<select {params}>{options}</select>")  # noqa: S704  Both are escaped.


SITE_TEXTS = {
    "name": ("Name", "1 to 200 printable characters"),
    "locale": ("Language", "a language such as en, de or pt-BR"),
    "timezone": ("Time zone", "a time zone such as Europe/Berlin"),
}
"""The columns of a site that a form may change, in its order: the label, and what is expected of a value."""


def _column(name: str, check: Callable[[str], str]) -> Setting:
    doc, expected = SITE_TEXTS[name]

    def parse(text: str) -> str:
        try:
            return check(text)
        except MultisiteError:
            raise ValueError from None  # `expected` says it in a form's words.

    return Setting(name, SettingType("text", expected, parse), None, doc, owner=True)


_COLUMNS = (_column("name", check_name), _column("locale", check_locale), _column("timezone", check_timezone))


def site_settings_form(
    declared: SettingsRegistry,
    site: Site,
    submitted: Mapping[str, Any] | None = None,
    *,
    owners: bool = False,
    language: str | None = None,
    translate: Translate = str,
) -> tuple[SettingsForm, dict[str, str | None]]:
    """Return a form with name, language, time zone and settings of `site` and of its theme, and the text of each.

    Args:
        declared: The settings that the application declares.
        site: The site.
        submitted: As for `SettingsForm`.
        owners: Only the settings that an owner of the site may change, and those of its theme.
        language: The language of the labels of a theme's settings, and of the names of languages; None for that of the
            site.
        translate: As for `SettingsForm`.
    """
    known = {each.name: each.text for each in declared.describe(site)}
    texts = {"name": site.name, "locale": site.locale, "timezone": site.timezone, **known}
    defaults = declared.defaults()  # The defaults of the ini file, if it has any.
    chosen = [replace(each, default=defaults[each.name]) for each in declared if each.owner or not owners]
    of_theme = [
        replace(setting, doc=declared.theme_label(site.theme, name, language or site.locale))
        for name, setting in declared.of_theme(site.theme).items()
    ]
    fields = [*_COLUMNS, *sorted(chosen, key=lambda each: each.name), *of_theme]
    return SettingsForm(fields, texts, submitted, translate, language or site.locale), texts


def changed_texts(form: SettingsForm, texts: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return those of `form.changes()` that differ from `texts`; `site_settings_form` returns both."""
    return {name: text for name, text in form.changes().items() if form.text_of(name) != (texts[name] or "")}


def save_settings(
    engine: Engine,
    host: str,
    texts: Mapping[str, str | None],
    changes: Mapping[str, str | None],
    *,
    declared: SettingsRegistry,
) -> None:
    """Write what a form has changed: the name, then the values, then the defaults, each in a transaction of its own.

    Args:
        engine: The database of the directory.
        host: A domain of the site.
        texts: The texts before, as `site_settings_form` returns them.
        changes: As `SettingsForm.changes` returns them.
        declared: The settings that the application declares.
    """
    changed = {name: text for name, text in changes.items() if (text or "") != (texts[name] or "")}
    name = changed.pop("name", None)
    if name is not None:
        rename_site(engine, host, name)
    values = {key: text for key, text in changed.items() if text is not None}
    if values:
        set_settings(engine, host, values, declared=declared)
    defaults = [key for key, text in changed.items() if text is None and key not in SITE_COLUMNS]
    if defaults:
        # The form of a site without own settings shows the defaults too.
        own = parse_own_settings(get_site(engine, host).site.own_settings)
        defaults = [key for key in defaults if key in own]
    if defaults:
        unset_settings(engine, host, defaults, declared=declared)


def is_boolean(setting: Setting) -> bool:
    """Return whether the values of `setting` are true and false."""
    return setting.kind.name == "true or false"


def _text_of(field: Field) -> str:
    if isinstance(field, BooleanField):
        return "true" if field.data else "false"
    return field.data or ""
