"""Settings: valid values, invalid ones, and defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from multisite.core.settings import Settings, parse_settings
from multisite.errors import SettingError


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sites_dir", ""),
        ("templates_dir", "a\0b"),
        ("database_url", "app.db"),
        *(("refresh_seconds", value) for value in ("soon", "-1", "nan", "inf", "86401", "")),
        *(("max_age_seconds", value) for value in ("1 s", "-0.1")),
        *(("unknown_host", value) for value in ("405", "a..b", "")),
        ("open_paths", "/health status"),
        ("notify", "yes"),
        *(("snapshot", value) for value in ("", "var/", "a\0b")),
        *(("development_suffix", value) for value in ("", ".localhost", "a..b", "localhost:80", "x/y")),
        *(("max_requests_per_site", value) for value in ("-1", "none", "")),
        *(("max_waiting_requests_per_site", value) for value in ("-1", "some", "1")),
        *(("tls_ask_path", value) for value in ("", "/", "ask", "/ask/", "/{x}", "/a b")),
        *(("tls_ask_from", value) for value in ("localhost", "10.0.0.1/8", "127.0.0.0/8, ::1")),
        *(("directory_size", value) for value in ("0", "-1", "1.5", "1e3", "٣", "100000001")),
    ],
)
def test_an_invalid_value_is_rejected_with_key_and_value(key: str, value: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings({f"multisite.{key}": value})
    assert (caught.value.key, caught.value.value) == (f"multisite.{key}", value)
    assert caught.value.expected


def test_an_unknown_key_is_rejected_and_other_prefixes_are_ignored() -> None:
    parse_settings({"pyramid.includes": "x", "multisitex": "1", "refresh_seconds": "soon"})
    with pytest.raises(SettingError) as raised:
        parse_settings({"multisite.site_dir": "x"})
    assert str(raised.value) == "there is no setting multisite.site_dir; did you mean multisite.sites_dir?"
    assert (raised.value.key, raised.value.value, raised.value.expected) == (
        "multisite.site_dir", "x", "multisite.sites_dir"
    )  # fmt: skip
    with pytest.raises(SettingError) as raised:
        parse_settings({"multisite.nonsense": "x"})
    assert str(raised.value) == "there is no setting multisite.nonsense; the existing ones: docs/settings.md"


def test_values_of_any_type_are_parsed() -> None:
    parsed = parse_settings(
        {
            "multisite.refresh_seconds": 0,
            "multisite.directory_size": " 50 ",
            "multisite.unknown_host": "WWW.Example.com.",
            "multisite.open_paths": " /health\n /_debug/ ",
        }
    )
    assert (parsed.refresh_seconds, parsed.directory_size) == (0.0, 50)
    assert (parsed.unknown_host, parsed.open_paths) == ("www.example.com", ("/health", "/_debug/"))


@pytest.mark.parametrize("given", [{}, {"multisite.sites_dir": "sites", "multisite.templates_dir": Path("templates")}])
def test_relative_folders_are_resolved_at_startup(
    given: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parsed = parse_settings(given)
    assert (parsed.sites_dir, parsed.templates_dir) == (tmp_path / "sites", tmp_path / "templates")


def test_all_settings_have_defaults() -> None:
    assert parse_settings({"multisite.sites_dir": "sites", "multisite.templates_dir": "templates"}) == Settings(
        sites_dir=Path.cwd() / "sites", templates_dir=Path.cwd() / "templates", media_url=str(Path.cwd() / "media")
    )


@pytest.mark.parametrize("folder", ["static", "static/sites", "themes", "themes/sites", "link"])
def test_sites_dir_must_not_be_in_a_folder_that_all_sites_serve(tmp_path: Path, folder: str) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "link").symlink_to("static")
    settings = {"multisite.templates_dir": str(tmp_path), "multisite.sites_dir": str(tmp_path / folder)}
    with pytest.raises(SettingError, match=r"multisite\.sites_dir = .*: expected a folder outside of "):
        parse_settings(settings)
    settings["multisite.sites_dir"] = str(tmp_path / "sites")
    assert parse_settings(settings).sites_dir == tmp_path / "sites"
