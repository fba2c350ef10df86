"""`multisite.testing`: temporary sites, and requests and WebTest applications for a host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.csrf import CookieCSRFStoragePolicy, SessionCSRFStoragePolicy
from pyramid.response import Response
from pyramid.router import Router
from pyramid.session import SignedCookieSessionFactory
from scoped_models import Base, Book
from sqlalchemy.orm import Session

from multisite import InvalidHost, UnknownSite, all_sites, current_site
from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.directory.models import SiteRow
from multisite.sessions import per_site
from multisite.sites.creation import add_site
from multisite.testing import csrf_token, plant_site, real_site, request_for, webtest_app


@pytest.fixture
def app(own_engine: sa.Engine, tmp_path: Path) -> Iterator[Router]:
    Base.metadata.create_all(own_engine)
    settings = {"multisite.sites_dir": str(tmp_path / "sites"), "multisite.templates_dir": str(tmp_path / "templates")}
    config = Configurator(settings=settings)
    config.include("multisite")
    config.set_multisite_engine(own_engine)
    config.add_view(lambda request: Response(f"{request.site.host} {request.site.locale}"))
    yield config.make_wsgi_app()
    config.registry[DIRECTORY].deactivate()


def test_a_site_in_memory_only(app: Router, own_engine: sa.Engine) -> None:
    site = plant_site(app, "Planted.example.", locale="de")
    assert webtest_app(app, "planted.example").get("/").text == "planted.example de"
    with all_sites("a test"), Session(own_engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(SiteRow)) == 0
    app.registry[DIRECTORY].remove_override(site)
    webtest_app(app, "planted.example").get("/", status=404)


def test_planting_again_replaces(app: Router) -> None:
    first = plant_site(app, "planted.example")
    second = plant_site(app.registry, "planted.example", locale="fr")
    assert first.id != second.id
    assert webtest_app(app, "planted.example").get("/").text == "planted.example fr"


def test_a_site_that_rolls_back_with_its_session(app: Router, own_engine: sa.Engine) -> None:
    with Session(own_engine) as session:
        site = plant_site(app, "planted.example", session)
        session.add(Book(slug="book", secret="x"))
        session.flush()
        assert session.scalars(sa.select(Book.site_id)).all() == [site.id]
        assert webtest_app(app, "planted.example").get("/").text == "planted.example en"
    with all_sites("a test"), Session(own_engine) as session:
        assert session.scalars(sa.select(SiteRow)).all() == []


def test_an_existing_site_is_used_unchanged(app: Router, own_engine: sa.Engine) -> None:
    there = add_site(own_engine, "there.example", settings=app.registry[SETTINGS], locale="da")
    with Session(own_engine) as session:
        assert plant_site(app, "there.example", session, locale="fr") == there


def test_a_request_for_a_host(app: Router) -> None:
    site = plant_site(app, "planted.example")
    with request_for(app, "planted.example:8080", "/path?a=b") as request:
        assert (request.site, request.path, current_site()) == (site, "/path", site)
    assert current_site() is None
    with pytest.raises(UnknownSite), request_for(app, "unknown.example"):
        pass


def test_an_invalid_host(app: Router) -> None:
    with pytest.raises(InvalidHost):
        plant_site(app, "a..b")


def test_a_real_site_is_current_on_request(app: Router) -> None:
    with real_site(app, "one.example") as site:
        assert current_site() is None
        with real_site(app, "two.example", current=True) as other:
            assert (current_site(), site == other) == (other, False)
        assert current_site() is None
        webtest_app(app, "two.example").get("/", status=404)


@pytest.mark.parametrize("policy", [CookieCSRFStoragePolicy, SessionCSRFStoragePolicy])
def test_a_csrf_token_for_a_form(own_engine: sa.Engine, tmp_path: Path, policy: type) -> None:
    config = Configurator(settings={"multisite.secret": "0123456789abcdef" * 3})
    config.include("multisite")
    config.set_multisite_engine(own_engine)
    config.set_session_factory(per_site(SignedCookieSessionFactory))
    config.set_csrf_storage_policy(per_site(policy) if policy is CookieCSRFStoragePolicy else policy())
    config.set_default_csrf_options(require_csrf=True)
    config.add_view(lambda request: Response("sent"))
    app = config.make_wsgi_app()
    for host in ("one.example", "two.example"):
        plant_site(app, host)
    one, two = webtest_app(app, "one.example"), webtest_app(app, "two.example")
    token = csrf_token(one)
    assert csrf_token(one) == token != csrf_token(two)
    assert one.post("/", {"csrf_token": token}).text == "sent"
    one.post("/", {"csrf_token": csrf_token(two)}, status=400)
    two.post("/", {"csrf_token": token}, status=400)
    with pytest.raises(UnknownSite):
        csrf_token(webtest_app(app, "nobody.example"))
    config.registry[DIRECTORY].deactivate()
