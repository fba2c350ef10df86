"""The endpoint for on-demand TLS: certificates only for known domains, and only allowed clients may ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import make_own_tables
from pyramid.authorization import ACLHelper
from pyramid.config import Configurator
from webtest import TestApp

from multisite.core.keys import DIRECTORY
from multisite.core.settings import Settings, parse_settings
from multisite.directory import engine_from_url
from multisite.sites.availability import disable_site
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain

PATH = "/multisite/tls-ask"


class NobodyMay:
    """A security policy that denies every permission, like the default of a careful application."""

    def permits(self, request: Any, context: Any, permission: str) -> Any:
        return ACLHelper().permits(context, (), permission)

    def identity(self, request: Any) -> None:
        return None

    authenticated_userid = identity


@pytest.fixture
def engine(sqlite_database_url: str) -> Iterator[sa.Engine]:
    engine = engine_from_url(sqlite_database_url)
    make_own_tables(engine)
    yield engine
    engine.dispose()


def make_app(engine: sa.Engine, folder: Path, **more: str) -> TestApp:
    settings = {
        "multisite.tls_ask_path": PATH,
        "multisite.refresh_seconds": "0",
        "multisite.sites_dir": str(folder / "sites"),
        **{f"multisite.{key}": value for key, value in more.items()},
    }
    add_site(engine, "example.com", settings=parse_settings(settings), aliases=["alias.example"])
    add_domain(engine, "example.com", "old.example", redirect=True)
    config = Configurator(settings=settings)
    config.include("multisite")
    config.set_multisite_engine(engine)
    config.set_security_policy(NobodyMay())
    config.set_default_permission("view")
    return TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "127.0.0.1:6543"})


@pytest.fixture
def app(engine: sa.Engine, tmp_path: Path) -> Iterator[TestApp]:
    app = make_app(engine, tmp_path)
    yield app
    app.app.registry[DIRECTORY].deactivate()


def ask(app: TestApp, query: str, **environ: str) -> int:
    answer = app.get(f"{PATH}?{query}", extra_environ=environ, status="*")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers
    assert answer.body == b""
    status: int = answer.status_int
    return status


@pytest.mark.parametrize("domain", ["example.com", "EXAMPLE.com.", "alias.example", "old.example"])
def test_every_domain_of_a_site_gets_a_certificate(app: TestApp, domain: str) -> None:
    assert ask(app, f"domain={domain}") == 200


@pytest.mark.parametrize(
    "query",
    [
        "",
        "domain=",
        "domain=unknown.example",
        "domain=sub.example.com",
        "domain=example.com:443",
        "domain=example.com/",
        "domain=*.example.com",
        "domain=%c0%ae",
        "domain=127.0.0.1",
        "other=example.com",
    ],
)
def test_unknown_domains_get_no_certificate(app: TestApp, query: str) -> None:
    assert ask(app, query) == 404


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({"REMOTE_ADDR": "127.0.0.9"}, 200),
        ({"REMOTE_ADDR": "::1"}, 200),
        ({"REMOTE_ADDR": "::ffff:127.0.0.1"}, 200),
        ({"REMOTE_ADDR": "192.0.2.1"}, 403),
        ({"REMOTE_ADDR": "::ffff:192.0.2.1"}, 403),
        ({"REMOTE_ADDR": ""}, 403),
        ({"REMOTE_ADDR": "localhost"}, 403),
        ({"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, 403),
        ({"HTTP_FORWARDED": "for=127.0.0.1"}, 403),
        ({"HTTP_X_REAL_IP": "127.0.0.1"}, 403),
        ({"HTTP_VIA": "1.1 proxy"}, 403),
    ],
)
def test_only_the_local_machine_may_ask(app: TestApp, environ: dict[str, str], status: int) -> None:
    assert ask(app, "domain=example.com", **environ) == status


def test_below_the_path_of_a_site_it_is_a_404(app: TestApp, engine: sa.Engine, tmp_path: Path) -> None:
    # A proxy blocks only the configured path for visitors.
    parsed = parse_settings({"multisite.sites_dir": str(tmp_path / "sites")})
    add_site(engine, "example.com/shop", settings=parsed)
    assert ask(app, "domain=example.com") == 200
    app.get(f"/shop{PATH}?domain=example.com", headers={"Host": "example.com"}, status=404)


def test_a_disabled_site_gets_no_certificate_by_a_surrounding_wildcard(
    app: TestApp, engine: sa.Engine, tmp_path: Path
) -> None:
    add_domain(engine, "example.com", "*.example.org")
    add_site(engine, "shut.example.org", settings=Settings(sites_dir=tmp_path / "sites"))
    add_domain(engine, "shut.example.org", "half.example.org/shop")
    disable_site(engine, "shut.example.org")
    domains = ("any.example.org", "half.example.org", "shut.example.org")
    assert [ask(app, f"domain={domain}") for domain in domains] == [200, 200, 404]


def test_other_addresses_may_be_allowed(engine: sa.Engine, tmp_path: Path) -> None:
    app = make_app(engine, tmp_path, tls_ask_from="10.0.0.0/8 2001:db8::/32")
    for address, status in (("10.1.2.3", 200), ("2001:db8::7", 200), ("127.0.0.1", 403)):
        assert ask(app, "domain=example.com", REMOTE_ADDR=address) == status
    app.app.registry[DIRECTORY].deactivate()


def test_a_database_that_is_down_gets_no_certificate_for_new_domains(app: TestApp, engine: sa.Engine) -> None:
    assert ask(app, "domain=example.com") == 200
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE multisite_version RENAME TO gone")
    assert ask(app, "domain=example.com") == 200  # from memory
    assert ask(app, "domain=alias.example") == 503


def test_without_the_setting_the_path_is_ordinary(engine: sa.Engine, tmp_path: Path) -> None:
    config = Configurator()
    config.include("multisite")
    config.set_multisite_engine(engine)
    app = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "127.0.0.1"})
    assert app.get(f"{PATH}?domain=example.com", status=404).body == b"There is no site here.\n"
    app.app.registry[DIRECTORY].deactivate()
