"""No error says the value of a setting that may be a secret: not to people, and not in a log."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa

from multisite.core.settings import Settings
from multisite.directory.models import AS_MULTISITE, SettingRow, raise_version
from multisite.directory.records import get_site
from multisite.errors import SettingError, SiteSettingError
from multisite.sites.archive.contents import SiteContents
from multisite.sites.bulk import JobContext, run_bulk
from multisite.sites.creation import add_site
from multisite.sites.settings.registry import SettingsRegistry
from multisite.sites.settings.setting import make_setting
from multisite.sites.settings.values import set_settings

SECRET = "s3cret-of-the-shop"


def refuse(value: str) -> None:
    raise ValueError(f"no {value!r}, and not {value}")


def declare(ini: dict[str, str] | None = None) -> SettingsRegistry:
    declared = SettingsRegistry(ini or {})
    for name in ("shop.api_key", "shop.color", "feed"):
        declared.add(make_setting(name, str, default=None, doc="A text.", check=refuse))
    return declared


def whole(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.fixture
def settings(tmp_path: Path, own_engine: sa.Engine) -> Settings:
    settings = Settings(sites_dir=tmp_path / "sites")
    add_site(own_engine, "a.example", settings=settings)
    return settings


def test_a_refused_value_is_hidden_if_it_may_be_a_secret(own_engine: sa.Engine, settings: Settings) -> None:
    with pytest.raises(SettingError) as caught:
        set_settings(own_engine, "a.example", {"shop.api_key": SECRET}, declared=declare())
    assert str(caught.value) == "shop.api_key = (hidden): expected a text that its check accepts: A text."
    assert SECRET not in whole(caught.value) + repr(vars(caught.value))
    with pytest.raises(SettingError, match=r"^shop.color = blue: expected no 'blue', and not blue$"):
        set_settings(own_engine, "a.example", {"shop.color": "blue"}, declared=declare())
    with pytest.raises(SettingError) as caught:
        set_settings(own_engine, "a.example", {"feed": f"https://ann:{SECRET}@feed.example/"}, declared=declare())
    assert str(caught.value).startswith("feed = https://ann:(hidden)@feed.example/: expected ")
    assert SECRET not in whole(caught.value)


def test_the_results_of_several_sites_show_no_secret(own_engine: sa.Engine, settings: Settings) -> None:
    context = JobContext(own_engine, settings, SiteContents(), lambda _line: None, "label", declare())
    result = run_bulk(context, "set", ["a.example"], {"settings": {"shop.api_key": SECRET}})
    assert result["failed"] == 1
    assert SECRET not in repr(result)


def test_a_stored_value_that_is_not_valid_is_hidden(
    own_engine: sa.Engine, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    site = get_site(own_engine, "a.example").site
    with own_engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        connection.execute(sa.insert(SettingRow).values(site_id=site.id, name="shop.api_key", value=SECRET))
        raise_version(connection)
    with caplog.at_level(logging.ERROR), pytest.raises(SiteSettingError) as caught:
        declare().settings_of(get_site(own_engine, "a.example").site)
    assert "a.example has the setting shop.api_key = (hidden), expected a text that" in caplog.text
    assert SECRET not in caplog.text + whole(caught.value) + repr(vars(caught.value))


def test_a_default_in_the_ini_file_is_hidden() -> None:
    with pytest.raises(SettingError) as caught:
        declare({"shop.api_key": SECRET}).defaults()
    assert SECRET not in whole(caught.value)
    assert "multisite.site.shop.api_key = (hidden)" in str(caught.value)
