"""The registry of the settings that an application declares, and their values for a site."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from multisite.core import program
from multisite.core.application import current_application
from multisite.core.lru_cache import LRUCache
from multisite.core.settings import SITE_PREFIX
from multisite.core.site import Site
from multisite.errors import SettingError, SiteSettingError, UndeclaredSetting, UnknownSetting
from multisite.sites.hidden_values import shown_text
from multisite.sites.settings.setting import THEME_PREFIX, Setting

if TYPE_CHECKING:  # Processes without themes do not load it.
    from multisite.sites.settings.theme_file import ThemeFile, ThemeFiles

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

    `source` is `default`, `ini`, `theme` or `site`, and `text` the text from there, None if the default is None. If the
    text is not valid, `fault` says what was expected, and `value` is None. `default` is the value without one of the
    site's own. `kind` is None for a value whose setting is not declared.
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
        self.themes_dir: Path | None = None
        """The folder of the themes, which may declare more settings; None if there is none."""
        self._themes: ThemeFiles | None = None
        self._forget()

    def _forget(self) -> None:
        self._defaults: dict[str, Any] | None = None
        self._read: LRUCache[tuple[str, ThemeFile | None], SiteSettings | _Fault] = LRUCache(self._size)
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

    def of_theme(self, theme: str | None) -> Mapping[str, Setting]:
        """Return the settings of a theme, by name. One that the application declares itself has precedence."""
        found = self._theme_file(theme)
        return {} if found is None else {k: each for k, each in found.settings.items() if k not in self._settings}

    def theme_label(self, theme: str | None, name: str, language: str) -> str:
        """Return the label of the setting `name` of a theme in a language such as `de-AT`."""
        found = self._theme_file(theme)
        return name if found is None or name not in found.labels else found.label_of(name, language)

    def _theme_file(self, theme: str | None) -> ThemeFile | None:
        if theme is None or self.themes_dir is None:
            return None
        if self._themes is None:
            from multisite.sites.settings.theme_file import ThemeFiles

            self._themes = ThemeFiles(self.themes_dir)
        return self._themes.of(theme)

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
            shown = shown_text(setting.name, text)
            raise SettingError(SITE_PREFIX + setting.name, shown, str(error)) from error

    def settings_of(self, site: Site) -> SiteSettings:
        """Return the settings of `site`.

        Raises:
            SiteSettingError: A value of the site is not valid. The first time, the error is logged.
        """
        theme = self._theme_file(site.theme)
        key = site.own_settings, theme
        found = self._read.get(key)
        if found is None:
            found = self._parse_values(site.own_settings, {} if theme is None else theme.settings)
            self._read.set(key, found)
        if isinstance(found, SiteSettings):
            return found
        name, text, expected = found
        setting, unset = program.command(f"set {site} {name}=..."), program.command(f"unset {site} {name}")
        error = SiteSettingError(str(site), name, text, expected, f"set another value with '{setting}', or '{unset}'")
        if not self._logged.get((site.id, site.own_settings)):
            self._logged.set((site.id, site.own_settings), True)
            log.error("%s; it answers 503 until then", error)
        raise error

    def _parse_values(self, own: str, of_theme: Mapping[str, Setting]) -> SiteSettings | _Fault:
        values = {name: setting.default for name, setting in of_theme.items()} | self.defaults()
        for name, text in parse_own_settings(own).items():
            if name in of_theme and name not in self._settings:
                # What the theme does not accept was set with another theme, or before the theme changed.
                with suppress(ValueError):
                    values[name] = of_theme[name].parse(text)
            # A value that is no longer declared does not make the site unavailable.
            if name in self._settings:
                try:
                    values[name] = self._settings[name].parse(text)
                except ValueError as error:
                    return _Fault(name, shown_text(name, text), str(error))
        return SiteSettings(values)

    def describe(self, site: Site) -> list[SettingValue]:
        """Return all settings with their values for `site`, sorted by name, and its values that are not declared."""
        own, of_theme = parse_own_settings(site.own_settings), self.of_theme(site.theme)
        return [
            self._describe_of_theme(of_theme[name], own.get(name))
            if name in of_theme
            else self._describe(name, own.get(name))
            for name in sorted({*self._settings, *of_theme, *own})
        ]

    @staticmethod
    def _describe_of_theme(setting: Setting, own: str | None) -> SettingValue:
        value, text, source = setting.default, setting.default, "theme"
        if own is not None:
            with suppress(ValueError):
                value, text, source = setting.parse(own), own, "site"
        return SettingValue(setting.name, setting.kind.name, value, text, source, setting.default, setting.doc)

    def _describe(self, name: str, own: str | None) -> SettingValue:
        setting = self._settings.get(name)
        if setting is None:
            by = "theme of the site" if name.startswith(THEME_PREFIX) else "application"
            return SettingValue(name, None, own, own, "site", None, f"Not declared by the {by}.")
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
