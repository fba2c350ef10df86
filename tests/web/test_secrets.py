"""Secrets: derived as in RFC 5869, bound to site, generation, purpose and application; and their validation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from databases import make_own_tables
from pyramid.config import Configurator
from pyramid.response import Response

import multisite
from multisite import MultisiteError, SettingError, Site, UnknownSite, site_secret
from multisite.cli import main
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.sites.creation import add_site
from multisite.sites.rotate_secret import rotate_secret
from multisite.testing import request_for, webtest_app
from multisite.web.secrets import expand, extract, hkdf, site_secrets

ONE = Site(1, "one.example", "One", "one.example")
TWO = Site(2, "two.example", "Two", "two.example")
SECRET = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"

RFC_5869 = [
    (
        "0b" * 22,
        bytes(range(0x0D)).hex(),
        bytes(range(0xF0, 0xFA)).hex(),
        42,
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        "0b" * 22,
        "",
        "",
        42,
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]
"""Appendix A.1 to A.3: input keying material, salt, info, length, pseudorandom key, output keying material."""


@pytest.mark.parametrize(("key_material", "salt", "info", "length", "key", "output"), RFC_5869)
def test_the_test_cases_of_rfc_5869(
    key_material: str, salt: str, info: str, length: int, key: str, output: str
) -> None:
    material, salted, about = (bytes.fromhex(text) for text in (key_material, salt, info))
    assert extract(material, salted).hex() == key
    assert expand(bytes.fromhex(key), about, length).hex() == output
    assert hkdf(material, about, salt=salted, length=length).hex() == output


def application(tmp_path: Path, **settings: str) -> Any:
    """Return an application with these settings below `multisite.`, whose one view shows a secret."""
    url = f"sqlite:///{tmp_path / 'secrets.db'}"
    every = {
        "sqlalchemy.url": url,
        "multisite.sites_dir": str(tmp_path / "sites"),
        "multisite.templates_dir": str(tmp_path),
    }
    for name, value in settings.items():
        every[f"multisite.{name}"] = value
    with Configurator(settings=every) as config:
        config.include("multisite")
        config.add_view(lambda request: Response(site_secret(request.site, "test").hex()))
    return config.make_wsgi_app()


@pytest.fixture
def with_site(tmp_path: Path) -> Iterator[sa.Engine]:
    """The database of `application`, with one site."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'secrets.db'}")
    make_own_tables(engine)
    settings = {"multisite.sites_dir": str(tmp_path / "sites"), "multisite.templates_dir": str(tmp_path)}
    add_site(engine, "one.example", settings=parse_settings(settings))
    yield engine
    engine.dispose()


def test_keys_differ_by_site_generation_purpose_and_secret(tmp_path: Path) -> None:
    registries = [application(tmp_path, secret=secret).registry for secret in (SECRET, OTHER)]
    # A purpose that looks like the number of another generation or site is still a purpose.
    purposes = ["session", "session\0", "sessionx", "\0", "\0" * 8, "\0" * 16, "1", "é"]
    sites = [replace(site, id=number, secret_generation=generation) for site, number, generation in
             product([ONE], [1, 2, 256, 2**40], [0, 1, 2, 256])]  # fmt: skip
    found = {
        site_secret(site, purpose, registry=registry)
        for registry, site, purpose in product(registries, sites, purposes)
    }
    assert len(found) == len(registries) * len(sites) * len(purposes)
    assert {len(key) for key in found} == {32}


def test_a_secret_needs_a_purpose(tmp_path: Path) -> None:
    registry = application(tmp_path, secret=SECRET).registry
    for purpose in ("", None, b"session"):
        with pytest.raises(ValueError, match="purpose"):
            site_secret(ONE, purpose, registry=registry)  # type: ignore[arg-type]


def test_two_applications_in_a_process_use_their_own_secrets(tmp_path: Path, with_site: sa.Engine) -> None:
    mine, other = application(tmp_path, secret=SECRET), application(tmp_path, secret=OTHER)
    expected = {app: site_secret(ONE, "test", registry=app.registry) for app in (mine, other)}
    for app in (mine, other):
        assert webtest_app(app, "one.example").get("/").text == expected[app].hex()
        with request_for(app, "one.example") as request:
            assert site_secret(request.site, "test") == expected[app]
    # Outside of requests the secret is ambiguous, unless all applications have the same one.
    with pytest.raises(MultisiteError, match="several"):
        site_secret(ONE, "test")


def test_a_script_with_one_application_need_not_pass_a_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multisite.web.secrets.global_registries", [])
    with pytest.raises(MultisiteError, match="no application in this process uses multisite"):
        site_secret(ONE, "test")
    apps = [application(tmp_path, secret=SECRET) for _ in range(2)]
    monkeypatch.setattr("multisite.web.secrets.global_registries", [app.registry for app in apps])
    # Two applications with the same secret are not ambiguous.
    assert site_secret(ONE, "test") == site_secret(ONE, "test", registry=apps[0].registry)


def test_previous_secrets_are_accepted_but_not_used_for_signing(tmp_path: Path) -> None:
    before = application(tmp_path, secret=SECRET).registry
    after = application(tmp_path, secret=OTHER, previous_secrets=f"{SECRET}\n  {'x' * 40}").registry
    keys = site_secrets(ONE, "test", registry=after)
    assert len(set(keys)) == 3
    assert keys[0] == site_secret(ONE, "test", registry=after) != site_secret(ONE, "test", registry=before)
    assert keys[1] == site_secret(ONE, "test", registry=before)


def test_without_a_secret_the_application_starts_and_only_deriving_fails(tmp_path: Path) -> None:
    registry = application(tmp_path).registry
    with pytest.raises(SettingError, match=r"multisite.secret = \(not set\): .*'test' is derived from it.*token_hex"):
        site_secret(ONE, "test", registry=registry)


def test_a_secret_comes_from_the_settings_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITES_SECRET", SECRET)
    (tmp_path / "secret").write_text(f"{SECRET}\n", "utf-8")
    keys = {
        site_secret(ONE, "test", registry=application(tmp_path, secret=secret).registry)
        for secret in (SECRET, "env:SITES_SECRET", f"file:{tmp_path / 'secret'}")
    }
    assert len(keys) == 1


BAD = [
    ("secret", "", "at least 32 characters"),
    ("secret", "short", "at least 32 characters"),
    ("secret", SECRET[1:], "at least 32 characters"),
    ("secret", f"{SECRET} {SECRET}", "none of them a space"),
    ("previous_secrets", f"{SECRET} short", "at least 32 characters"),
    ("secret", "env:", "env:NAME or file:PATH"),
    ("secret", "file:\0", "env:NAME or file:PATH"),
    ("secret", "env:NO_SUCH_SECRET", "the environment variable NO_SUCH_SECRET to be set"),
    ("secret", "env:SHORT_SECRET", "at least 32 characters"),
    ("previous_secrets", "env:SHORT_SECRET", "at least 32 characters"),
    ("secret", "file:no/such/file", "a file that can be read"),
    ("secrets", SECRET, r"did you mean multisite\.secret\?"),
]


@pytest.mark.parametrize(("name", "value", "expected"), BAD)
def test_an_invalid_secret_is_a_startup_error_that_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv("SHORT_SECRET", "confidential")
    settings = {"secret": SECRET} if name == "previous_secrets" else {}
    with pytest.raises(SettingError, match=expected) as raised:
        application(tmp_path, **settings, **{name: value})
    text = str(raised.value)
    assert f"multisite.{name}" in text
    assert "\n" not in text
    assert not any(secret in text for secret in (SECRET, SECRET[1:], "short ", "confidential"))


def test_previous_secrets_alone_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="a secret to sign with"):
        application(tmp_path, previous_secrets=SECRET)


def test_settings_show_no_secret() -> None:
    settings = parse_settings({"multisite.secret": SECRET, "multisite.previous_secrets": OTHER})
    assert (settings.secret, settings.previous_secrets) == (SECRET, (OTHER,))
    assert SECRET not in repr(settings)
    assert OTHER not in repr(settings)


def test_commands_do_not_need_the_secret(tmp_path: Path) -> None:
    assert parse_settings({"multisite.secret": "env:NO_SUCH_SECRET"}).secret == "env:NO_SUCH_SECRET"


def test_rotating_replaces_the_secrets_of_one_site(own_engine: sa.Engine, tmp_path: Path) -> None:
    url = own_engine.url.render_as_string(hide_password=False)
    ini = tmp_path / "app.ini"
    ini.write_text(
        f"[app:main]\nuse = egg:pyramid-multisite\nsqlalchemy.url = {url.replace('%', '%%')}\n"
        f"multisite.secret = {SECRET}\n"
        f"multisite.sites_dir = {tmp_path}/sites\nmultisite.templates_dir = {tmp_path}\nmultisite.refresh_seconds = 0\n"
        "[server:main]\n"
    )
    settings = {
        "sqlalchemy.url": url,
        "multisite.sites_dir": str(tmp_path / "sites"),
        "multisite.templates_dir": str(tmp_path),
        "multisite.refresh_seconds": "0",
        "multisite.secret": SECRET,
    }
    hosts = ("one.example", "two.example")
    for host in hosts:
        add_site(own_engine, host, settings=parse_settings(settings))
    with Configurator(settings=settings) as config:
        config.include("multisite")
        config.add_view(lambda request: Response(site_secret(request.site, "test").hex()))
    app = config.make_wsgi_app()

    def keys() -> list[str]:
        return [webtest_app(app, host).get("/").text for host in hosts]

    before = keys()
    ran = CliRunner().invoke(main, ["-c", str(ini), "rotate-secret", "TWO.example", "--json"])
    assert (ran.exit_code, json.loads(ran.output)["secret_generation"]) == (0, 1)
    after = keys()  # In the running server, which is not notified.
    assert after[0] == before[0]
    assert after[1] != before[1]
    ran = CliRunner().invoke(main, ["-c", str(ini), "rotate-secret", "two.example"])
    assert (ran.exit_code, ran.output.count("\n"), "generation 2" in ran.output) == (0, 1, True)
    assert len({*after, *before, *keys()}) == 4
    ran = CliRunner().invoke(main, ["-c", str(ini), "rotate-secret", "no.example"])
    assert (ran.exit_code, "no.example" in ran.output) == (1, True)
    with pytest.raises(UnknownSite):
        rotate_secret(own_engine, "no.example")
    app.registry[DIRECTORY].engine.dispose()


def test_the_public_name_is_that_of_the_module() -> None:
    assert multisite.site_secret is site_secret
