"""Settings of a site: declared by the application, with type, default and sentence; set for each site.

An application declares them with `config.add_site_setting`, and reads them as `request.site.settings["name"]`. Defaults
may stand in the ini below `multisite.site.`; values of a site are rows of the table `multisite_settings`, which come
with the site when the directory reads it. A site so carries its own values as one text, and reading a setting asks no
database; what a text means is worked out once for all sites that have the same.
"""

from multisite.site_settings.declared import SettingsRegistry, SettingValue, SiteSettings
from multisite.site_settings.setting import Setting

__all__ = ["Setting", "SettingValue", "SettingsRegistry", "SiteSettings"]
