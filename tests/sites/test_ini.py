"""Ini files are read by the loader that plaster would find, without a look at every installed distribution."""

from __future__ import annotations

from pathlib import Path

import plaster
import pytest
from plaster import loaders

from multisite.sites import ini
from multisite.sites.ini import read_ini
from multisite.web.loading import load

TEXT = """
[DEFAULT]
folder = %(here)s/sites
[app:main]
use = egg:pyramid-multisite
sqlalchemy.url = sqlite:///main.db
multisite.sites_dir = %(folder)s
[app:other]
use = main
sqlalchemy.url = sqlite:///other.db
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "some.ini"
    file.write_text(TEXT)
    return file


def test_the_loader_is_the_one_that_plaster_finds(file: Path) -> None:
    for uri in (str(file), f"{file}#other", f"{file}?a=b", f"file+ini://{file}#main", f"pastedeploy://{file}"):
        found = plaster.get_loader(ini.with_distribution(uri), protocols=["wsgi"])
        expected = plaster.get_loader(uri, protocols=["wsgi"])
        assert type(found) is type(expected)
        assert (found.uri.path, found.uri.fragment) == (expected.uri.path, expected.uri.fragment)
        assert found.uri.options == expected.uri.options
        assert found.get_sections() == expected.get_sections()
        for section in (None, "app:main", "app:other", "DEFAULT"):
            assert found.get_settings(section) == expected.get_settings(section), (uri, section)


def test_no_other_distribution_is_looked_at(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_ini(file)

    def distributions(*arguments: object, **options: object) -> object:
        raise AssertionError("all distributions are read")

    # The tests remember what plaster has found.
    monkeypatch.setattr(loaders, "find_loaders", getattr(loaders.find_loaders, "__wrapped__", loaders.find_loaders))
    monkeypatch.setattr(loaders.metadata, "distributions", distributions)
    assert read_ini(file) == expected
    with pytest.raises(AssertionError, match="all distributions are read"):
        plaster.get_loader(str(file), protocols=["wsgi"])


def test_a_name_that_is_no_ini_file_is_an_error_as_before(tmp_path: Path) -> None:
    for name in ("some.yaml", "some"):
        with pytest.raises(plaster.PlasterError) as before:
            plaster.get_loader(str(tmp_path / name), protocols=["wsgi"])
        with pytest.raises(type(before.value)):
            plaster.get_loader(ini.with_distribution(str(tmp_path / name)), protocols=["wsgi"])


def test_an_application_is_loaded_without_a_look_at_other_distributions(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, schemes = loaders.find_loaders, []

    def find_loaders(scheme: str, protocols: list[str] | None = None) -> object:
        schemes.append(scheme)
        return find(scheme, protocols)

    monkeypatch.setattr(loaders, "find_loaders", find_loaders)
    assert load(str(file)).registry.settings["multisite.sites_dir"] == str(file.parent / "sites")
    assert set(schemes) == {"plaster_pastedeploy+file+ini"}
