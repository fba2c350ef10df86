"""Settings of sites: the application declares each with a type, a default and a description, and sites override them.

An application declares them with `config.add_site_setting` and reads them as `request.site.settings["name"]`. The ini
file can set defaults as `multisite.site.NAME`. The values of a site are rows of the table `multisite_settings`, which
the directory loads together with the site as one JSON text, so that reading a setting needs no query. Each distinct
text is parsed once for all sites that share it.
"""

from multisite.sites.settings.registry import SettingsRegistry, SettingValue, SiteSettings
from multisite.sites.settings.setting import Setting

__all__ = ["Setting", "SettingValue", "SettingsRegistry", "SiteSettings"]
