"""A setting of sites, as an application declares it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from multisite.core.lazy import lazy_pattern
from multisite.sites.hidden_values import shown_text
from multisite.sites.settings.types import MAX_VALUE_CHARACTERS, SettingType, setting_type_for

__all__ = ["SITE_COLUMNS", "THEME_PREFIX", "Setting", "make_setting"]

SITE_COLUMNS = ("locale", "timezone")
"""Columns of the table of sites that `multisite set` can change too."""

THEME_PREFIX = "theme."
"""The names of the settings that a theme declares begin with this."""

_NAME = lazy_pattern(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_MAX_NAME_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Setting:
    """A declared setting. The ini file can override `default`; `doc` is the description.

    `owner` is whether an owner of a site may change it; an operator always may. `label` names it in a form, which then
    shows `doc` as a hint; None for `doc` itself.
    """

    name: str
    kind: SettingType
    default: Any
    doc: str
    check: Callable[[Any], object] | None = None
    owner: bool = False
    label: str | None = None

    def parse(self, text: str) -> Any:
        """Return the value of `text`.

        Raises:
            ValueError: It is not valid. The message says what was expected, and never quotes a secret.
        """
        try:
            return self._parse(text)
        except ValueError:
            if shown_text(self.name, text) == text:
                raise
        raise ValueError(f"{self.kind.expected} that its check accepts: {self.doc}")

    def _parse(self, text: str) -> Any:
        if len(text) > MAX_VALUE_CHARACTERS:
            raise ValueError(f"at most {MAX_VALUE_CHARACTERS} characters")
        try:
            value = self.kind.parse(text)
        except Exception as error:
            # Any exception of the application's callable: a value of one site must not break the others.
            raise ValueError(self.kind.expected + (f" ({error})" if str(error) else "")) from error
        self.check_value(value)
        return value

    def check_value(self, value: Any) -> None:
        """Raise `ValueError` with what was expected if the declared check rejects `value`."""
        if self.check is None:
            return
        try:
            is_rejected = self.check(value) is False
        except ValueError as error:
            raise ValueError(str(error) or self.doc) from error
        except Exception as error:
            raise ValueError(f"{self.kind.expected} that its check accepts ({error!r})") from error
        if is_rejected:
            raise ValueError(f"{self.kind.expected} that its check accepts: {self.doc}")

    def serialize(self, value: Any) -> str | None:
        """Return the text of `value`, None for None."""
        return None if value is None else self.kind.serialize(value)


def make_setting(
    name: str,
    kind: Any,
    *,
    default: Any,
    doc: str,
    check: Callable[[Any], object] | None = None,
    owner: bool = False,
    label: str | None = None,
) -> Setting:
    """Return a setting. Raises `ValueError` or `TypeError` with the reason if it cannot be declared."""
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME_CHARACTERS:
        raise ValueError(
            f"{name!r} is not a valid setting name: expected 1 to {_MAX_NAME_CHARACTERS} lowercase letters a-z, digits "
            "and underscores, with dots between words"
        )
    if name in SITE_COLUMNS:
        raise ValueError(f"{name!r} cannot be the name of a setting: every site already has it as site.{name}")
    if not doc.strip():
        raise ValueError(f"the setting {name} needs a description (doc=...)")
    setting = Setting(name, setting_type_for(kind), default, " ".join(doc.split()), check, owner, label)
    if default is None:
        return setting
    try:
        value = default if setting.kind.is_open else setting.kind.parse(setting.kind.serialize(default))
        setting.check_value(value)
    except (TypeError, ValueError) as error:
        expected = str(error) or setting.kind.expected
        raise ValueError(f"the default of the setting {name}, {default!r}: expected {expected}") from error
    return Setting(name, setting.kind, value, setting.doc, check, owner, label)
