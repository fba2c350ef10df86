"""Forms made of declared settings, with WTForms: a field for each, checked as `multisite set` checks its value.

    form = SettingsForm(declared, texts, request.POST)
    changes = form.changes() if form.validate() else {}     # a text for each setting, None for its default

Requires WTForms (`pyramid-multisite[editor]`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from webob.multidict import MultiDict

from multisite.sites.settings.setting import Setting

try:
    from wtforms import BooleanField, ColorField, Field, SelectField, StringField
    from wtforms.form import BaseForm
    from wtforms.validators import ValidationError
except ModuleNotFoundError as error:
    if error.name != "wtforms":
        raise
    raise ImportError("multisite.forms needs WTForms: pip install 'pyramid-multisite[editor]'") from error

__all__ = ["IMAGES_ID", "SettingsForm"]

Translate = Callable[[str], str]

IMAGES_ID = "images"


class SettingsForm(BaseForm):  # type: ignore[misc]  # WTForms has no types.
    """A form with a field for each of `settings`, under its name, labelled with its description.

    A yes or no is a checkbox, a choice a list, a colour what the browser has for it, and everything else a line of text
    in the form that `multisite set` takes; for an image, the page may have a `datalist` with the id `IMAGES_ID`.

    Args:
        settings: The settings.
        texts: The text of the current value of each, None for a default that is None.
        submitted: The fields that a browser has sent; None to show the current values.
        translate: Translates descriptions and messages.
    """

    def __init__(
        self,
        settings: Iterable[Setting],
        texts: Mapping[str, str | None],
        submitted: Mapping[str, Any] | None = None,
        translate: Translate = str,
    ) -> None:
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
        options = {"label": self._translate(setting.doc), "validators": [self._check(setting)]}
        if is_boolean(setting):
            return BooleanField(**options)
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

    def changes(self) -> dict[str, str | None]:
        """Return the text of each setting, None for one that has its default. Call it after `validate`."""
        found: dict[str, str | None] = {}
        for name, setting in self._settings.items():
            text = _text_of(self[name])
            is_default = text == (setting.serialize(setting.default) or "")
            found[name] = None if is_default else text
        return found


def is_boolean(setting: Setting) -> bool:
    """Return whether the values of `setting` are true and false."""
    return setting.kind.name == "true or false"


def _text_of(field: Field) -> str:
    if isinstance(field, BooleanField):
        return "true" if field.data else "false"
    return field.data or ""
