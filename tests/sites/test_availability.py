"""Availability and removal of a site, and that running servers notice each change at the next request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp

from multisite import MultisiteError, UnknownSite, all_sites, using_site
from multisite.core.keys import DIRECTORY
from multisite.core.settings import Settings, parse_settings
from multisite.directory import Directory
from multisite.directory.matching import BYPASS_NAME
from multisite.directory.models import DomainRow, SiteRow
from multisite.directory.records import get_site, list_sites
from multisite.sites.availability import MAX_MESSAGE_CHARACTERS, disable_site, enable_site, maintain_site
from multisite.sites.creation import add_site
from multisite.sites.domains import add_domain, move_domain, set_canonical
from multisite.sites.removal import TRASH, plan_removal, remove_site
from multisite.sites.updates import refresh
from multisite.web.maintenance import cookie_name

Add = Callable[..., Any]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "templates").mkdir()
    return {
        "multisite.sites_dir": str(tmp_path / "sites"),
        "multisite.templates_dir": str(tmp_path / "templates"),
        "multisite.refresh_seconds": "0",
    }


@pytest.fixture
def parsed(settings: dict[str, Any]) -> Settings:
    return parse_settings(settings)


@pytest.fixture
def add(own_engine: sa.Engine, parsed: Settings) -> Add:
    def add(domain: str, **details: Any) -> Any:
        return add_site(own_engine, domain, settings=parsed, **details)

    return add


def page_view(request: Request) -> Response:
    return Response(f"the pages of {request.site}")


@pytest.fixture
def app(own_engine: sa.Engine, settings: dict[str, Any]) -> Iterator[TestApp]:
    config = Configurator(settings=settings)
    config.include("multisite")
    config.set_multisite_engine(own_engine)
    config.add_route("page", "/*rest")
    config.add_view(page_view, route_name="page")
    app = TestApp(config.make_wsgi_app())
    yield app
    app.app.registry[DIRECTORY].deactivate()


def get(app: TestApp, host: str, path: str = "/", status: int = 200, **headers: str) -> Any:
    return app.get(path, headers={"Host": host, "Accept": "text/html", **headers}, status=status)


# Availability.


def test_a_disabled_site_answers_404_until_it_is_enabled(add: Add, app: TestApp, own_engine: sa.Engine) -> None:
    add("one.example", aliases=["alias.example", "*.one.example"])
    add("two.example")
    unknown = get(app, "unknown.example", status=404)
    assert disable_site(own_engine, "alias.example").status == "disabled"
    for host in ("one.example", "alias.example", "x.one.example"):
        answer = get(app, host, status=404)
        assert (answer.body, answer.headers["Cache-Control"]) == (unknown.body, "no-store")
    assert get(app, "two.example").text == "the pages of two.example"
    # Code outside of requests still finds the site.
    with using_site("one.example") as site:
        assert site.host == "one.example"
    assert enable_site(own_engine, "one.example").status == "active"
    assert get(app, "one.example").text == "the pages of one.example"


def test_a_disabled_site_hides_its_path_from_the_site_of_the_host(
    add: Add, app: TestApp, own_engine: sa.Engine
) -> None:
    add("one.example")
    add("one.example/shop")
    disable_site(own_engine, "one.example/shop")
    get(app, "one.example", "/shop/x", status=404)
    assert get(app, "one.example", "/x").text == "the pages of one.example"


def test_a_site_in_maintenance_answers_503_with_a_message_and_retry_after(
    add: Add, app: TestApp, own_engine: sa.Engine, parsed: Settings
) -> None:
    site = add("one.example", timezone="Europe/Berlin")
    add("two.example")
    until = datetime.now(UTC) + timedelta(hours=1)
    record, _token = maintain_site(own_engine, "one.example", message="Moving <house>", until=until)
    assert record.status == "maintenance"
    answer = get(app, "one.example", "/x", status=503)
    assert 3500 < int(answer.headers["Retry-After"]) <= 3600
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Moving &lt;house&gt;" in answer.text
    (parsed.sites_dir / site.folder / "503.mako").write_text("Closed at ${request.site.name}: ${detail}")
    refresh(own_engine)
    assert get(app, "one.example", status=503).text == "Closed at one.example: Moving &lt;house&gt;"
    assert get(app, "two.example").text == "the pages of two.example"
    maintain_site(own_engine, "one.example")
    assert get(app, "one.example", status=503).headers["Retry-After"] == "300"
    enable_site(own_engine, "one.example")
    assert get(app, "one.example").text == "the pages of one.example"


def test_only_operators_with_the_link_bypass_maintenance(add: Add, app: TestApp, own_engine: sa.Engine) -> None:
    name = cookie_name(add("one.example"))
    add("two.example")
    _record, bypass_token = maintain_site(own_engine, "one.example")
    _record, other = maintain_site(own_engine, "two.example")
    answer = get(app, "one.example", f"/a%20b?x=1&{BYPASS_NAME}={bypass_token}&y=%C3%A4", status=303)
    assert answer.location == "http://one.example/a%20b?x=1&y=%C3%A4"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "domain" not in cookie.lower()
    app.reset()
    passed = get(app, "one.example", Cookie=f"{name}={bypass_token}")
    assert (passed.text, passed.headers["Cache-Control"]) == ("the pages of one.example", "no-store")
    for wrong in (other, "", bypass_token + "x", "%00", "\xe4"):
        get(app, "one.example", Cookie=f"{name}={wrong}", status=503)
        get(app, "one.example", f"/?{BYPASS_NAME}={wrong}".encode("latin-1").decode("ascii", "ignore"), status=503)
    get(app, "one.example", Cookie=rf'{name}="\377"', status=503)
    # A token is valid until the next maintenance, and is not stored.
    maintain_site(own_engine, "one.example")
    get(app, "one.example", Cookie=f"{name}={bypass_token}", status=503)
    with all_sites("a test"), own_engine.connect() as connection:
        assert bypass_token not in str(connection.execute(sa.select(SiteRow.__table__)).all())


def test_the_cookie_is_secure_over_https_and_limited_to_the_path_of_the_site(
    add: Add, app: TestApp, own_engine: sa.Engine
) -> None:
    add("one.example/shop")
    _record, bypass_token = maintain_site(own_engine, "one.example/shop")
    answer = app.get(
        f"/shop/?{BYPASS_NAME}={bypass_token}",
        headers={"Host": "one.example"},
        extra_environ={"wsgi.url_scheme": "https"},
        status=303,
    )
    assert "; secure" in answer.headers["Set-Cookie"]
    assert "Path=/shop" in answer.headers["Set-Cookie"]


def test_operators_bypass_maintenance_of_several_sites_on_one_host(
    add: Add, app: TestApp, own_engine: sa.Engine
) -> None:
    tokens = {}
    for domain in ("one.example", "one.example/shop", "one.example:8080"):
        add(domain)
        _record, tokens[domain] = maintain_site(own_engine, domain)
    cookies = {
        domain: get(app, host, f"{path}?{BYPASS_NAME}={tokens[domain]}", status=303)
        .headers["Set-Cookie"]
        .partition(";")[0]
        for domain, host, path in (
            ("one.example", "one.example", "/"),
            ("one.example/shop", "one.example", "/shop/"),
            ("one.example:8080", "one.example:8080", "/"),
        )
    }
    app.reset()
    # Cookies are shared by all ports, and those of a longer path come first (RFC 6265 sections 5.4 and 8.5).
    assert len({cookie.partition("=")[0] for cookie in cookies.values()}) == 3
    both = f"{cookies['one.example/shop']}; {cookies['one.example']}; {cookies['one.example:8080']}"
    assert get(app, "one.example", "/shop/", Cookie=both).text == "the pages of one.example/shop"
    assert get(app, "one.example", Cookie=both).text == "the pages of one.example"
    assert get(app, "one.example:8080", Cookie=both).text == "the pages of one.example:8080"
    get(app, "one.example", "/shop/", Cookie=cookies["one.example"], status=503)


def test_no_bytes_in_a_path_redirect_to_another_host(add: Add, app: TestApp, own_engine: sa.Engine) -> None:
    add("one.example")
    _record, bypass_token = maintain_site(own_engine, "one.example")
    for path in ("//evil.example/x", "/\\\\evil.example", "/\xff\r\nX: y"):
        environ = {"HTTP_HOST": "one.example", "PATH_INFO": path, "QUERY_STRING": f"{BYPASS_NAME}={bypass_token}"}
        answer = Request.blank("/", environ=environ).get_response(app.app)
        assert answer.status_int == 303
        assert urlsplit(answer.location).netloc == "one.example"
        assert "X" not in answer.headers


@pytest.mark.parametrize("message", ["", " ", "x" * (MAX_MESSAGE_CHARACTERS + 1)])
def test_an_invalid_message_is_rejected(add: Add, own_engine: sa.Engine, message: str) -> None:
    add("one.example")
    with pytest.raises(MultisiteError, match="a message has 1 to 500 characters"):
        maintain_site(own_engine, "one.example", message=message)


def test_until_is_in_the_time_zone_of_the_site_and_in_the_future(add: Add, own_engine: sa.Engine) -> None:
    add("one.example", timezone="Asia/Tokyo")
    maintain_site(own_engine, "one.example", until=datetime(2100, 1, 1, 9, 0))  # noqa: DTZ001  # That is what is tested.
    with all_sites("a test"), own_engine.connect() as connection:
        stored = connection.execute(sa.select(SiteRow.maintenance_until)).scalar_one()
    assert stored is not None
    assert stored.replace(tzinfo=stored.tzinfo or UTC) == datetime(2100, 1, 1, tzinfo=UTC)
    with pytest.raises(MultisiteError, match="2020-01-01 00:00:00.* has already passed"):
        maintain_site(own_engine, "one.example", until=datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("text", ["9999-12-31T23:59-05:00", "0001-01-01T00:00+05:00"])
def test_a_time_outside_of_the_calendar_in_utc_is_rejected(add: Add, own_engine: sa.Engine, text: str) -> None:
    add("one.example")
    with pytest.raises(MultisiteError, match="is not between the years 1 and 9999"):
        maintain_site(own_engine, "one.example", until=datetime.fromisoformat(text))


def test_an_incomplete_site_cannot_be_enabled(add: Add, own_engine: sa.Engine) -> None:
    add("one.example")
    for column, value, command in (("status", "pending", "add-site"), ("availability", "removing", "remove-site")):
        with all_sites("a test"), own_engine.begin() as connection:
            connection.execute(sa.update(SiteRow).values({"status": "active", "availability": "open", column: value}))
        with pytest.raises(MultisiteError, match=f"multisite {command} one.example"):
            enable_site(own_engine, "one.example")


def test_the_database_rejects_an_unknown_availability(add: Add, own_engine: sa.Engine) -> None:
    add("one.example")
    with all_sites("a test"), pytest.raises(sa.exc.IntegrityError), own_engine.begin() as connection:
        connection.execute(sa.update(SiteRow).values(availability="closed"))


# Removal.

TABLES = sa.MetaData()
_SITE = sa.ForeignKey(SiteRow.__table__.c.id)


def _site_column() -> sa.Column[int]:
    return sa.Column("site_id", sa.BigInteger, sa.ForeignKey(SiteRow.__table__.c.id), nullable=False)


sa.Table(
    "life_posts",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    _site_column(),
    sa.Column("parent_id", sa.Integer),
    sa.UniqueConstraint("site_id", "id"),
    sa.ForeignKeyConstraint(["site_id", "parent_id"], ["life_posts.site_id", "life_posts.id"]),
)
sa.Table(
    "life_comments",
    TABLES,
    sa.Column("post_id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    _site_column(),
    sa.ForeignKeyConstraint(["site_id", "post_id"], ["life_posts.site_id", "life_posts.id"]),
)
sa.Table("life_marks", TABLES, _site_column(), sa.Column("mark", sa.Integer))
sa.Table("life_statistics", TABLES, sa.Column("id", sa.Integer, primary_key=True), sa.Column("site_id", sa.Integer))

POSTS = 23


@pytest.fixture
def filled(own_engine: sa.Engine, add: Add) -> sa.Engine:
    """Two sites with posts in chains and one cycle, comments, marks, and statistics of an unknown site."""
    TABLES.create_all(own_engine)
    sites = [add(host).id for host in ("one.example", "two.example")]
    with all_sites("filling"), own_engine.begin() as connection:
        for number, site in enumerate(sites):
            first = 100 * number + 1
            posts = [
                {"id": first + n, "site_id": site, "parent_id": first + n - 1 if n else None} for n in range(POSTS)
            ]
            connection.execute(TABLES.tables["life_posts"].insert(), posts)
            circle = sa.update(TABLES.tables["life_posts"]).where(TABLES.tables["life_posts"].c.id == first)
            connection.execute(circle.values(parent_id=first + 2))
            comments = [{"post_id": first + n, "number": m, "site_id": site} for n in range(POSTS) for m in range(2)]
            connection.execute(TABLES.tables["life_comments"].insert(), comments)
            connection.execute(TABLES.tables["life_marks"].insert(), [{"site_id": site, "mark": n} for n in range(5)])
            connection.execute(TABLES.tables["life_statistics"].insert().values(site_id=site))
    return own_engine


EACH = {"life_comments": 2 * POSTS, "life_posts": POSTS, "life_marks": 5}


def counts(engine: sa.Engine, site_id: int) -> dict[str, int]:
    with all_sites("counting"), engine.connect() as connection:
        found = {
            name: connection.execute(
                sa.select(sa.func.count()).select_from(table).where(table.c.site_id == site_id)
            ).scalar_one()
            for name, table in TABLES.tables.items()
        }
    return {name: number for name, number in found.items() if number}


def test_a_site_is_removed_with_its_rows_and_no_others(filled: sa.Engine, app: TestApp, parsed: Settings) -> None:
    site, other = (get_site(filled, host).site for host in ("one.example", "two.example"))
    add_domain(filled, "one.example", "alias.example")
    assert get(app, "one.example").text == "the pages of one.example"
    plan = plan_removal(filled, "alias.example", settings=parsed)
    assert plan.rows == EACH
    assert counts(filled, site.id) == {**EACH, "life_statistics": 1}
    lines: list[str] = []
    done = remove_site(filled, "one.example", settings=parsed, batch_rows=4, progress=lines.append)
    assert done.rows == EACH
    assert f"life_comments: 4 of {2 * POSTS} rows" in lines
    assert f"life_posts: {POSTS} of {POSTS} rows" in lines
    # A table whose site_id does not reference sites is not multisite's.
    assert counts(filled, site.id) == {"life_statistics": 1}
    assert counts(filled, other.id) == {**EACH, "life_statistics": 1}
    assert not (parsed.sites_dir / site.folder).exists()
    assert done.folder is not None
    assert done.folder.parent == parsed.sites_dir / TRASH
    assert [record.site.host for record in list_sites(filled)] == ["two.example"]
    for host in ("one.example", "alias.example"):
        get(app, host, status=404)
        with pytest.raises(UnknownSite):
            get_site(filled, host)
    assert get(app, "two.example").text == "the pages of two.example"


def test_the_id_of_a_removed_site_is_never_used_again(filled: sa.Engine, add: Add, parsed: Settings) -> None:
    last = get_site(filled, "two.example").site.id
    remove_site(filled, "two.example", settings=parsed)
    again = add("two.example")
    assert again.id > last
    assert (parsed.sites_dir / again.folder).is_dir()
    assert counts(filled, again.id) == {}


class Killed(BaseException):
    """Interrupts a removal, like a signal."""


def test_a_removal_interrupted_at_any_point_is_completed_by_the_next_call(
    filled: sa.Engine, app: TestApp, parsed: Settings
) -> None:
    site = get_site(filled, "one.example").site
    lines = 0

    def stop_later(line: str) -> None:
        nonlocal lines
        lines += 1
        raise Killed

    stops = 0
    while True:
        try:
            remove_site(filled, "one.example", settings=parsed, batch_rows=10, progress=stop_later)
            break
        except Killed:
            stops += 1
        get(app, "one.example", status=404)
        assert get_site(filled, "one.example").status == "removing"
        with pytest.raises(
            MultisiteError, match="is being removed; complete the removal: multisite remove-site one.example"
        ):
            enable_site(filled, "one.example")
    assert stops == lines > 8
    assert counts(filled, site.id) == {"life_statistics": 1}
    with all_sites("a test"), filled.connect() as connection:
        assert connection.execute(sa.select(DomainRow.host)).scalars().all() == ["two.example"]


def test_a_site_that_is_being_removed_gets_no_domains(own_engine: sa.Engine, add: Add) -> None:
    add("one.example", aliases=["alias.example"])
    add("two.example", aliases=["moved.example"])
    with all_sites("a test"), own_engine.begin() as connection:
        connection.execute(sa.update(SiteRow).where(SiteRow.name == "one.example").values(availability="removing"))
    # They would be removed together with the site.
    for change in (
        lambda: add_domain(own_engine, "one.example", "new.example"),
        lambda: move_domain(own_engine, "moved.example", "one.example"),
        lambda: set_canonical(own_engine, "alias.example"),
    ):
        with pytest.raises(
            MultisiteError, match="one.example is being removed; complete the removal: multisite remove-site"
        ):
            change()


def test_a_folder_that_is_a_symbolic_link_is_kept(add: Add, own_engine: sa.Engine, parsed: Settings) -> None:
    site = add("one.example")
    place = parsed.sites_dir / site.folder
    elsewhere = parsed.sites_dir.parent / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    assert remove_site(own_engine, "one.example", settings=parsed).folder is None
    assert elsewhere.is_dir()


def test_rows_changed_by_hand_are_seen_after_refresh(add: Add, own_engine: sa.Engine) -> None:
    add("one.example")
    add("two.example")
    now = 0.0
    directory = Directory(own_engine, refresh_seconds=1, max_age_seconds=3600, clock=lambda: now)

    def names() -> list[str]:
        return [match.site.name for host in ("one.example", "two.example") if (match := directory.find(host))]

    assert names() == ["one.example", "two.example"]
    with all_sites("a test"), own_engine.begin() as connection:
        connection.exec_driver_sql("UPDATE sites SET name = 'by hand'")
    now = 2.0
    # The version is unchanged, so that only a refresh reads the changed row.
    assert names() == ["by hand", "two.example"]
    refresh(own_engine)
    now = 4.0
    assert names() == ["by hand", "by hand"]


def test_tokens_are_long_and_unique(add: Add, own_engine: sa.Engine) -> None:
    add("one.example")
    tokens = {maintain_site(own_engine, "one.example")[1] for _ in range(20)}
    assert len(tokens) == 20
    assert all(re.fullmatch(r"[\w-]{32}", token) for token in tokens)
