"""Underscores in host names: rejected in domains and requests, unless `multisite.allow_underscores` permits them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from click.testing import CliRunner
from databases import closing_engine
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp

import multisite.check
from multisite import all_sites, using_site
from multisite.alembic.migrate import _own_scripts, upgrade_own
from multisite.alembic.sqlite_transaction import ddl_transaction
from multisite.cli import main
from multisite.core.keys import DIRECTORY
from multisite.core.settings import Settings, parse_settings
from multisite.directory import engine_from_url
from multisite.directory.models import DomainRow
from multisite.directory.records import get_site
from multisite.errors import InvalidHost, MultisiteError
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain, remove_domain

SHOP = "my_shop.example.com"


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = engine_from_url(database_url)
    upgrade_own(engine)
    yield engine
    engine.dispose()


def settings_of(folder: Path, **more: str) -> dict[str, str]:
    return {
        "multisite.refresh_seconds": "0",
        "multisite.sites_dir": str(folder / "sites"),
        "multisite.templates_dir": str(folder / "templates"),
        **{f"multisite.{key}": value for key, value in more.items()},
    }


def parsed(folder: Path, **more: str) -> Settings:
    return parse_settings(settings_of(folder, **more))


@pytest.fixture
def make_app(engine: sa.Engine, tmp_path: Path) -> Iterator[Callable[..., TestApp]]:
    made: list[TestApp] = []

    def make(**more: str) -> TestApp:
        config = Configurator(settings=settings_of(tmp_path, tls_ask_path="/ask", **more))
        config.include("multisite")
        config.set_multisite_engine(engine)
        config.add_route("home", "/")
        config.add_view(
            lambda request: Response(request.site.host + " " + request.site_url(request.site)), route_name="home"
        )
        made.append(TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"}))
        return made[-1]

    (tmp_path / "templates").mkdir()
    yield make
    for app in made:
        app.app.registry[DIRECTORY].deactivate()


def get(app: TestApp, host: str, path: str = "/", status: int = 200) -> str:
    return str(app.get(path, headers={"Host": host}, status=status).text)


def test_the_setting_allows_them_in_domains_and_requests(
    engine: sa.Engine, tmp_path: Path, make_app: Callable[..., TestApp]
) -> None:
    app, strict = make_app(allow_underscores="true"), make_app()
    get(app, SHOP, status=404)
    add_site(engine, "My_Shop.example.com", settings=parsed(tmp_path, allow_underscores="true"), aliases=["web_1"])
    assert get(app, SHOP) == get(app, "MY_SHOP.example.com.:80") == f"{SHOP} http://{SHOP}/"
    assert get(app, "web_1:8080") == f"{SHOP} http://{SHOP}:8080/"
    # Names of the same length, which an underscore would match in a LIKE.
    for other in ("my-shop.example.com", "my.shop.example.com", "myxshop.example.com", "my_shop.example_com"):
        get(app, other, status=404)
    add_domain(engine, SHOP, "*.all_shops.example", allow_underscores=True)
    assert get(app, "any.all_shops.example").startswith(SHOP)
    assert get(app, "a_b.c_d.all_shops.example").startswith(SHOP)
    get(app, "any.allxshops.example", status=404)
    for host in (SHOP, "web_1", "any.all_shops.example", "my_other.example"):
        get(strict, host, status=400)
    with using_site(SHOP) as site:
        assert site.host == SHOP
    assert get(app, "127.0.0.1", f"/ask?domain={SHOP}") == ""
    get(strict, "127.0.0.1", f"/ask?domain={SHOP}", status=404)


def test_a_wildcard_without_them_matches_names_with_them(
    engine: sa.Engine, tmp_path: Path, make_app: Callable[..., TestApp]
) -> None:
    add_site(engine, "www.example.com", settings=parsed(tmp_path), aliases=["*.example.com"])
    assert get(make_app(allow_underscores="true"), SHOP).startswith("www.example.com")
    get(make_app(), SHOP, status=400)


def test_without_the_setting_no_domain_is_added_but_existing_ones_are_found_and_removed(
    engine: sa.Engine, tmp_path: Path
) -> None:
    strict = parsed(tmp_path)
    for call in (
        lambda: add_site(engine, SHOP, settings=strict),
        lambda: add_site(engine, "example.com", settings=strict, aliases=[SHOP]),
        lambda: add_domain(engine, "example.com", SHOP),
    ):
        with pytest.raises(InvalidHost, match=r"the setting allow_underscores"):
            call()
    add_site(engine, "example.com", settings=parsed(tmp_path, allow_underscores="true"), aliases=[SHOP])
    assert get_site(engine, SHOP).site.host == "example.com"
    assert [domain.host for domain in remove_domain(engine, SHOP).domains] == ["example.com"]


def test_the_command_line_follows_the_setting_in_the_ini(tmp_path: Path) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["-c", str(ini), *arguments])
        assert result.exit_code == code, result.output
        return result.output

    ini = tmp_path / "app.ini"
    lines = ["[app:main]", "use = egg:pyramid-multisite", f"sqlalchemy.url = sqlite:///{tmp_path}/sites.db"]
    lines += [f"{key} = {value}" for key, value in settings_of(tmp_path).items()]
    ini.write_text("\n".join(lines))
    run("migrate")
    assert "the setting allow_underscores" in run("add-site", SHOP, code=1)
    ini.write_text("\n".join([*lines, "multisite.allow_underscores = true"]))
    run("add-site", SHOP)
    run("add-domain", SHOP, "other_shop.Bücher.example")
    domains = ["my_shop.example.com", "other_shop.xn--bcher-kva.example"]
    assert [domain["host"] for domain in json.loads(run("show-site", SHOP, "--json"))["domains"]] == domains
    assert (tmp_path / "sites" / SHOP).is_dir()
    ini.write_text("\n".join(lines))
    assert "the setting allow_underscores" in run("add-domain", SHOP, "third_shop.example", code=1)
    assert SHOP in run("show-site", SHOP)
    run("remove-domain", domains[1])


def test_check_names_the_rejected_domains(engine: sa.Engine, tmp_path: Path, make_app: Callable[..., TestApp]) -> None:
    add_site(engine, "example.com", settings=parsed(tmp_path, allow_underscores="true"), aliases=[SHOP, "b.example"])

    def rejected(app: TestApp) -> list[str]:
        findings = multisite.check.run(app.app, metadata=())
        return [finding.subject for finding in findings if finding.kind == "refused-host"]

    assert rejected(make_app()) == [SHOP]
    assert rejected(make_app(allow_underscores="true")) == []


def test_the_revision_accepts_them_and_still_rejects_other_characters(database_url: str) -> None:
    with closing_engine(database_url) as engine, all_sites("a test of the tables themselves"):
        upgrade_own(engine)

        def revise(name: str) -> None:
            with engine.connect() as connection, ddl_transaction(connection):
                revision = _own_scripts().get_revision("0009").module
                getattr(revision, name)(Operations(MigrationContext.configure(connection)))

        def insert(host: str) -> None:
            with engine.begin() as connection:
                connection.execute(sa.insert(DomainRow).values(site_id=1, host=host, kind="alias"))

        with engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO sites (name, folder) VALUES ('one', 'one')")
        insert("one.example")
        revise("downgrade")
        with pytest.raises(sa.exc.IntegrityError):
            insert(SHOP)
        revise("upgrade")
        insert(SHOP)
        for host in ("My_shop.example", "my shop.example", "my_shop.example.", "my_shop..example", ""):
            with pytest.raises(sa.exc.IntegrityError):
                insert(host)
        with pytest.raises(MultisiteError, match="'my_shop.example.com' has an underscore"):
            revise("downgrade")
        with engine.connect() as connection:
            found = connection.scalars(sa.select(DomainRow.host).order_by(DomainRow.id)).all()
        assert found == ["one.example", SHOP]
