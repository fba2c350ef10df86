"""Forms made of declared settings."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from webob.multidict import MultiDict

from multisite.core.site import Site
from multisite.forms import SettingsForm, changed_texts, site_settings_form
from multisite.sites.settings.registry import SettingsRegistry
from multisite.sites.settings.setting import Setting, make_setting

SETTINGS: list[Setting] = [
    make_setting("size", int, default=10, doc="Entries.", check=lambda n: 1 <= n <= 100),
    make_setting("shop.price", Decimal, default=Decimal("4.90"), doc="A price."),
    make_setting("is_open", bool, default=False, doc="Whether it is open."),
    make_setting("colour", ("light", "dark"), default="light", doc="Colours."),
    make_setting("others", list[str], default=(), doc="Others."),
    make_setting("sender", str, default=None, doc="A sender.", check=lambda text: "@" in text),
]
TEXTS = {"size": "20", "shop.price": "4.90", "is_open": "true", "colour": "dark", "others": "a, b", "sender": None}
SENT = {"size": "20", "shop.price": "4.90", "is_open": "y", "colour": "dark", "others": "a, b", "sender": ""}


def form(**sent: Any) -> SettingsForm:
    return SettingsForm(SETTINGS, TEXTS, MultiDict({**SENT, **sent}))


def test_a_form_shows_the_current_values() -> None:
    shown = SettingsForm(SETTINGS, TEXTS)
    html = {field.name: str(field()) for field in shown}
    assert 'value="20"' in html["size"]
    assert "checked" in html["is_open"]
    assert '<option selected value="dark">' in html["colour"]
    assert 'value=""' in html["sender"]
    assert str(shown["size"].label.text) == "Entries."


def test_what_was_not_changed_stays() -> None:
    sent = form()
    assert sent.validate()
    assert sent.changes() == {**TEXTS, "shop.price": None}  # The default.


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("size", "5", "5"),
        ("size", "10", None),
        ("is_open", None, None),
        ("colour", "light", None),
        ("others", "", None),
        ("sender", "a@b", "a@b"),
        ("shop.price", "5", "5"),
    ],
)
def test_a_value_is_changed_or_has_its_default(name: str, text: str | None, expected: str | None) -> None:
    fields = {key: value for key, value in {**SENT, name: text}.items() if value is not None}
    sent = SettingsForm(SETTINGS, TEXTS, MultiDict(fields))
    assert sent.validate(), sent.errors
    assert sent.changes()[name] == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [("size", "0"), ("size", "x"), ("size", ""), ("colour", "pink"), ("shop.price", "1e5"), ("sender", "x"),
     ("others", "\0"), ("others", "x" * 20_000)],
)  # fmt: skip
def test_a_value_that_is_not_valid_is_explained_and_shown_again(name: str, text: str) -> None:
    sent = form(**{name: text})
    assert not sent.validate()
    assert list(sent.errors) == [name]
    assert sent.errors[name][0].startswith("Expected: ")


def test_markup_in_a_value_is_escaped() -> None:
    assert "<script>" not in "".join(str(field()) for field in form(sender='"><script>@'))


def test_a_file_is_not_a_value_and_a_missing_field_keeps_its_own() -> None:
    sent = form(size=object())
    assert sent.validate()
    assert sent.changes()["size"] == "20"


def test_a_label_names_a_field_and_the_description_is_its_hint() -> None:
    setting = make_setting("size", int, default=10, doc="Entries of a page.", label="Entries")
    field = SettingsForm([setting], {"size": "10"})["size"]
    assert (str(field.label.text), field.description) == ("Entries", "Entries of a page.")
    without = SettingsForm(SETTINGS, TEXTS)["size"]
    assert (str(without.label.text), without.description) == ("Entries.", "")


@pytest.mark.parametrize(
    ("locale", "timezone"), [("de", "Europe/Berlin"), ("pt-BR", "UTC"), ("sr-Latn", "Etc/GMT+3"), ("gsw-CH", "GMT")]
)
def test_languages_and_time_zones_are_chosen_from_a_list(locale: str, timezone: str) -> None:
    """A value that the list does not offer stays, unless another one is chosen."""
    site = Site(1, "a.example", "A", "a.example", locale, timezone)
    declared = SettingsRegistry({})
    form, texts = site_settings_form(declared, site, language="de")
    for name, value in (("locale", locale), ("timezone", timezone)):
        html = str(form[name]())
        assert html.count("selected") == 1
        assert f'value="{value}" selected' in html
    html = str(form["locale"]())
    assert '<option value="de-AT">Deutsch (\u00d6sterreich) \u00b7 de-AT</option>' in html
    assert '<option value="Europe/Vienna">' in str(form["timezone"]())
    assert "localtime" not in str(form["timezone"]())
    sent, _ = site_settings_form(declared, site, {"name": "A", "locale": locale, "timezone": timezone})
    assert sent.validate()
    assert changed_texts(sent, texts) == {}
    refused, _ = site_settings_form(declared, site, {"name": "A", "locale": "<x", "timezone": "Europe/Nowhere"})
    assert not refused.validate()
    assert '<option value="&lt;x" selected>&lt;x</option>' in str(refused["locale"]())
    assert set(refused.errors) == {"locale", "timezone"}
