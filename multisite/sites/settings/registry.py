"""The registry of the settings that an application declares, and their values for a site."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from multisite.core import program
from multisite.core.application import current_application
from multisite.core.lru_cache import LRUCache
from multisite.core.settings import SITE_PREFIX
from multisite.core.site import Site
from multisite.errors import SettingError, SiteSettingError, UndeclaredSetting, UnknownSetting
from multisite.sites.settings.setting import Setting

__all__ = ["SettingValue", "SettingsRegistry", "SiteSettings"]

log = logging.getLogger(__name__)


class SiteSettings(Mapping[str, Any]):
    """The settings of a site: a read-only mapping from each declared name to its value.

    A name that is not declared raises `UndeclaredSetting`, a `KeyError`.
    """

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise UndeclaredSetting(name, self._values) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"SiteSettings({self._values!r})"


@dataclass(frozen=True, slots=True)
class SettingValue:
    """A setting with its value for one site, for display.

    `source` is `default`, `ini` or `site`, and `text` the text from there, None if the default is None. If the text is
    not valid, `fault` says what was expected, and `value` is None. `default` is the value without one of the site's
    own. `kind` is None for a value whose setting is not declared.
    """

    name: str
    kind: str | None
    value: Any
    text: str | None
    source: str
    default: Any
    doc: str
    fault: str | None = None


class _Fault(NamedTuple):
    """Why the settings of a site are not valid: the name, its text, and what was expected."""

    name: str
    text: str
    expected: str


class SettingsRegistry:
    """The settings that an application declares. `ini` has the texts of the keys `multisite.site.NAME`, by name.

    The parsed settings of sites are cached by their text, the `size` most recently used ones.
    """

    def __init__(self, ini: Mapping[str, str], size: int = 1000) -> None:
        self._ini = dict(ini)
        self._size = size
        self._settings: dict[str, Setting] = {}
        self.application = current_application.get()
        self.database = ""
        """What tells the database of the application's sites apart from others; the directory sets it."""
        self._forget()

    def _forget(self) -> None:
        self._defaults: dict[str, Any] | None = None
        self._read: LRUCache[str, SiteSettings | _Fault] = LRUCache(self._size)
        self._logged: LRUCache[tuple[int, str], bool] = LRUCache(self._size)

    def __iter__(self) -> Iterator[Setting]:
        return iter(self._settings.values())

    def __contains__(self, name: object) -> bool:
        return name in self._settings

    def __getitem__(self, name: str) -> Setting:
        return self._settings[name]

    def add(self, setting: Setting) -> None:
        """Declare `setting`, in place of one of the same name."""
        self._settings[setting.name] = setting
        self._forget()

    def check_ini(self) -> None:
        """Raise `SettingError` if a key of the ini is not declared, or its value is not valid."""
        for name, text in self._ini.items():
            if name not in self._settings:
                raise UnknownSetting(name, text, self._settings, prefix=SITE_PREFIX)
        self.defaults()

    def defaults(self) -> dict[str, Any]:
        """Return the default of each setting. Raises `SettingError` if one in the ini is not valid."""
        if self._defaults is None:
            self._defaults = {name: self._default(setting) for name, setting in self._settings.items()}
        return self._defaults

    def _default(self, setting: Setting) -> Any:
        text = self._ini.get(setting.name)
        if text is None:
            return setting.default
        try:
            return setting.parse(text)
        except ValueError as error:
            raise SettingError(SITE_PREFIX + setting.name, text, str(error)) from error

    def settings_of(self, site: Site) -> SiteSettings:
        """Return the settings of `site`.

        Raises:
            SiteSettingError: A value of the site is not valid. The first time, the error is logged.
        """
        found = self._read.get(site.own_settings)
        if found is None:
            found = self._parse_values(site.own_settings)
            self._read.set(site.own_settings, found)
        if isinstance(found, SiteSettings):
            return found
        key, text, expected = found
        setting, unset = program.command(f"set {site} {key}=..."), program.command(f"unset {site} {key}")
        error = SiteSettingError(str(site), key, text, expected, f"set another value with '{setting}', or '{unset}'")
        if not self._logged.get((site.id, site.own_settings)):
            self._logged.set((site.id, site.own_settings), True)
            log.error("%s; it answers 503 until then", error)
        raise error

    def _parse_values(self, own: str) -> SiteSettings | _Fault:
        values = dict(self.defaults())
        for name, text in parse_own_settings(own).items():
            # A value that is no longer declared does not make the site unavailable.
            if name in self._settings:
                try:
                    values[name] = self._settings[name].parse(text)
                except ValueError as error:
                    return _Fault(name, text, str(error))
        return SiteSettings(values)

    def describe(self, site: Site) -> list[SettingValue]:
        """Return all settings with their values for `site`, sorted by name, and its values that are not declared."""
        own = parse_own_settings(site.own_settings)
        return [self._describe(name, own.get(name)) for name in sorted({*self._settings, *own})]

    def _describe(self, name: str, own: str | None) -> SettingValue:
        setting = self._settings.get(name)
        if setting is None:
            return SettingValue(name, None, own, own, "site", None, "Not declared by the application.")
        default = value = self.defaults()[name]
        fault: str | None = None
        text: str | None
        if own is not None:
            try:
                value = setting.parse(own)
            except ValueError as error:
                value, fault = None, str(error)
            text, source = own, "site"
        elif name in self._ini:
            text, source = self._ini[name], "ini"
        else:
            text, source = setting.serialize(default), "default"
        return SettingValue(name, setting.kind.name, value, text, source, default, setting.doc, fault)


def parse_own_settings(own: str) -> dict[str, str]:
    """Return the texts of a site's own settings by name, from the JSON in `Site.own_settings`."""
    return json.loads(own) if own else {}
