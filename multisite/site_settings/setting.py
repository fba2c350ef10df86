"""A setting as an application declares it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from multisite.site_settings.kinds import MAX_VALUE_CHARACTERS, SettingType, setting_type_for

__all__ = ["SITE_COLUMNS", "Setting", "make_setting"]

SITE_COLUMNS = ("locale", "timezone")
"""What `multisite set` changes as well, although it is no setting: columns of the table of sites."""

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_MAX_NAME_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Setting:
    """A declared setting; `default` is the declared one, which an ini may replace. `doc` is a sentence for people."""

    name: str
    kind: SettingType
    default: Any
    doc: str
    check: Callable[[Any], object] | None = None

    def parse(self, text: str) -> Any:
        """Return the value that `text` means. Raises `ValueError`, which says what was expected, if it means none."""
        if len(text) > MAX_VALUE_CHARACTERS:
            raise ValueError(f"{MAX_VALUE_CHARACTERS} characters at most")
        try:
            value = self.kind.parse(text)
        except Exception as error:
            # Whatever a callable of the application raises: the value of one site must not be an error of all.
            raise ValueError(self.kind.expected + (f" ({error})" if str(error) else "")) from error
        self.check_value(value)
        return value

    def check_value(self, value: Any) -> None:
        """Raise `ValueError`, which says what was expected, if the declared check does not take `value`."""
        if self.check is None:
            return
        try:
            is_refused = self.check(value) is False
        except ValueError as error:
            raise ValueError(str(error) or self.doc) from error
        except Exception as error:
            raise ValueError(f"{self.kind.expected} that its check takes ({error!r})") from error
        if is_refused:
            raise ValueError(f"{self.kind.expected} that its check takes: {self.doc}")

    def serialize(self, value: Any) -> str | None:
        """Return the text that means `value`, None for None."""
        return None if value is None else self.kind.serialize(value)


def make_setting(
    name: str, kind: Any, *, default: Any, doc: str, check: Callable[[Any], object] | None = None
) -> Setting:
    """Return a declared setting. Raises `ValueError` or `TypeError` for one that cannot be, with the reason."""
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME_CHARACTERS:
        raise ValueError(
            f"{name!r} cannot be the name of a setting: expected 1 to {_MAX_NAME_CHARACTERS} small letters a-z, digits "
            "and underscores, with points between words"
        )
    if name in SITE_COLUMNS:
        raise ValueError(f"{name!r} cannot be the name of a setting: every site has it already, as site.{name}")
    if not doc.strip():
        raise ValueError(f"the setting {name} needs a sentence that says what it is (doc=...)")
    setting = Setting(name, setting_type_for(kind), default, " ".join(doc.split()), check)
    if default is None:
        return setting
    try:
        value = default if setting.kind.is_open else setting.kind.parse(setting.kind.serialize(default))
        setting.check_value(value)
    except (TypeError, ValueError) as error:
        expected = str(error) or setting.kind.expected
        raise ValueError(f"the default of the setting {name}, {default!r}: expected {expected}") from error
    return Setting(name, setting.kind, value, setting.doc, check)
