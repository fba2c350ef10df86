"""Two applications of one process, each with a database whose sites have the same ids, do not mix up their sites."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from databases import closing_engine, make_own_tables
from dogpile.cache.api import NO_VALUE
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from webtest import TestApp

from multisite import Site, carry, metrics, using_site
from multisite.caching import SiteRegion, make_region
from multisite.core.application import using_application
from multisite.core.keys import DIRECTORY
from multisite.core.settings import parse_settings
from multisite.sites.creation import add_site
from multisite.users import LoginThrottle, SiteUser, TooManyAttempts
from multisite.web.site_settings import SITE_SETTINGS

HOSTS = ("one.example", "two.example")

region: SiteRegion = make_region("both")


class Base(DeclarativeBase):
    pass


class Member(SiteUser, Base):
    __tablename__ = "test_members"
    password_hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    login_throttle = LoginThrottle(limit=2)

    id: Mapped[int] = mapped_column(primary_key=True)


def view(request: Request) -> Response:
    return Response(region.get_or_create("price", lambda: f"price of {request.site.host}"))


def make_app(folder: Path, host: str) -> Any:
    settings = {
        "sqlalchemy.url": f"sqlite:///{folder}/{host}.db",
        "multisite.sites_dir": f"{folder}/sites",
        "multisite.templates_dir": f"{folder}/templates",
    }
    with closing_engine(settings["sqlalchemy.url"]) as engine:
        make_own_tables(engine)
        Base.metadata.create_all(engine)
        add_site(engine, host, settings=parse_settings(settings))
    with Configurator(settings=settings) as config:
        config.include("multisite")
        config.include("multisite.metrics")
        config.add_route("home", "/")
        config.add_view(view, route_name="home")
    return config.make_wsgi_app()


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    folder = tmp_path_factory.mktemp("two")
    made = []
    for host in HOSTS:
        with using_application(host.partition(".")[0]):  # As multisite.vhosts loads them.
            made.append(make_app(folder, host))
    yield made
    for app in made:
        app.registry[DIRECTORY].deactivate()
        app.registry[DIRECTORY].engine.dispose()


def sites_of(apps: list[Any]) -> list[Site]:
    found = [app.registry[DIRECTORY].resolve(host) for app, host in zip(apps, HOSTS, strict=True)]
    assert [site.id for site in found] == [1, 1]
    return found


def ask(app: Any, host: str) -> str:
    return str(TestApp(app).get("/", headers={"Host": host}).text)


@pytest.mark.parametrize("backend", ["memory", "dbm"])
def test_a_region_that_both_import_keeps_their_sites_apart(apps: list[Any], tmp_path: Path, backend: str) -> None:
    arguments = {"filename": str(tmp_path / "kept.dbm")} if backend == "dbm" else {}
    region.configure(f"dogpile.cache.{backend}", arguments=arguments, replace_existing_backend=True)
    for app, host in zip(apps, HOSTS, strict=True):
        assert ask(app, host) == f"price of {host}"
    one, two = sites_of(apps)
    # In a thread no application is current, but the site knows its own.
    with ThreadPoolExecutor(1) as pool:
        for site in (one, two):
            with using_site(site):
                assert pool.submit(carry(region.get), "price").result() == f"price of {site.host}"
    # A copy belongs to the current application.
    with using_application("two"), using_site(pickle.loads(pickle.dumps(two))):
        region.invalidate()
        assert region.get("price") is NO_VALUE
    with using_site(one):
        assert region.get("price") == "price of one.example"


def test_sites_are_also_kept_apart_if_no_application_has_a_name(
    apps: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for app in apps:
        monkeypatch.setattr(app.registry[SITE_SETTINGS], "application", None)
    region.configure("dogpile.cache.memory", replace_existing_backend=True)
    for app, host in zip(apps, HOSTS, strict=True):
        assert ask(app, host) == f"price of {host}"


def test_shared_keys_do_not_depend_on_the_url_of_the_database(
    apps: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    region.configure(
        "dogpile.cache.dbm", arguments={"filename": str(tmp_path / "kept.dbm")}, replace_existing_backend=True
    )
    declared = apps[0].registry[SITE_SETTINGS]
    monkeypatch.setattr(declared, "application", None)
    with using_site(sites_of(apps)[0]):
        region.set("price", "by the server")
        monkeypatch.setattr(declared, "database", "of a script, which reaches it through another port")
        assert region.get("price") == "by the server"


def test_metrics_are_labelled_with_the_site_of_their_application(apps: list[Any]) -> None:
    assert [metrics.metric_label(site) for site in sites_of(apps)] == list(HOSTS)


def test_failed_logins_at_one_do_not_lock_the_other(apps: list[Any]) -> None:
    sessions = [
        Session(app.registry[DIRECTORY].engine, info={"site": site})
        for app, site in zip(apps, sites_of(apps), strict=True)
    ]
    with sessions[0] as one, sessions[1] as two:
        for _ in range(2):
            assert Member.log_in(one, "admin", "wrong") is None
        with pytest.raises(TooManyAttempts):
            Member.log_in(one, "admin", "wrong")
        assert Member.log_in(two, "admin", "wrong") is None
