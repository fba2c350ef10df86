"""Sessions, tickets, logins and CSRF tokens are only valid on the site that issued them, with negative controls.

Each credential is replayed by an attacker under the original cookie name and under the name that the target site reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.cookies import Morsel, SimpleCookie
from itertools import permutations
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from databases import make_own_tables
from pyramid.authentication import AuthTktCookieHelper, SessionAuthenticationHelper
from pyramid.config import Configurator
from pyramid.csrf import CookieCSRFStoragePolicy, SessionCSRFStoragePolicy, get_csrf_token
from pyramid.request import Request, apply_request_extensions
from pyramid.response import Response
from pyramid.session import BaseCookieSessionFactory, SignedCookieSessionFactory
from pyramid_session_redis import RedisSessionFactory
from sqlalchemy.orm import Session

from multisite import SettingError, Site, UnknownSite, all_sites
from multisite.check import run
from multisite.core import domains
from multisite.core.keys import DIRECTORY
from multisite.directory import engine_from_url
from multisite.directory.models import DomainRow, SiteRow
from multisite.sessions import PerSite, per_site
from multisite.sites.rotate_secret import rotate_secret
from multisite.testing import request_for

SECRET = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
HOSTS = tuple(f"site{number}.example" for number in range(20))
PLACES = ("shared.example", "shared.example/shop", "shared.example/shop/deep", "shared.example:8080")

Make = Callable[..., Any]


def plain(factory: Any, **options: Any) -> Any:
    """The negative control of `per_site`: the same secret for all sites."""
    if factory in {SignedCookieSessionFactory, AuthTktCookieHelper, RedisSessionFactory}:
        options["secret"] = SECRET
    return factory(**options)


def set_view(request: Request) -> Response:
    """Issue a credential of each kind, and return the CSRF token for a form."""
    request.session["who"] = "visitor"
    request.app_login.remember(request, "admin")
    headers = request.app_ticket.remember(request, "admin")
    return Response(get_csrf_token(request), headerlist=[*headers, ("Content-Type", "text/plain; charset=utf-8")])


def get_view(request: Request) -> Response:
    """Return which credentials are accepted."""
    identity = request.app_ticket.identify(request)
    found = {
        "session": request.session.get("who"),
        "login": request.app_login.authenticated_userid(request),
        "ticket": identity and identity["userid"],
    }
    return Response(" ".join(name for name, value in found.items() if value))


def post_view(request: Request) -> Response:
    return Response("csrf")


def application(settings: dict[str, str], make: Make, csrf: Any = CookieCSRFStoragePolicy, **options: Any) -> Any:
    session_factory = options.pop("session_factory", None) or make(SignedCookieSessionFactory, **options)
    ticket, login = make(AuthTktCookieHelper), make(SessionAuthenticationHelper)
    with Configurator(settings=settings) as config:
        config.include("multisite")
        config.set_session_factory(session_factory)
        config.set_csrf_storage_policy(make(csrf))
        config.add_request_method(lambda request: ticket, "app_ticket", property=True)
        config.add_request_method(lambda request: login, "app_login", property=True)
        for name, view in (("set", set_view), ("get", get_view)):
            config.add_route(name, f"/{name}")
            config.add_view(view, route_name=name)
        config.add_route("post", "/post")
        config.add_view(post_view, route_name="post", require_csrf=True)
    return config.make_wsgi_app()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of an application with all the sites."""
    folder = tmp_path_factory.mktemp("sessions")
    (folder / "templates").mkdir()
    found = {
        "sqlalchemy.url": f"sqlite:///{folder / 'sessions.db'}",
        "multisite.sites_dir": str(folder / "sites"),
        "multisite.templates_dir": str(folder / "templates"),
        "multisite.secret": SECRET,
        "multisite.open_paths": "/set-nowhere",
    }
    engine = engine_from_url(found["sqlalchemy.url"])
    make_own_tables(engine)
    with all_sites("a test"), Session(engine) as session, session.begin():
        for place in (*HOSTS, *PLACES):
            row = SiteRow(name=place, folder=place.translate({ord(":"): "_", ord("/"): "_"}))
            session.add(row)
            session.flush()
            host, port, path = domains.parse(place)
            session.add(DomainRow(site_id=row.id, host=host, port=port or 0, path=path, kind="canonical"))
    engine.dispose()
    return found


@pytest.fixture(scope="module")
def app(settings: dict[str, str]) -> Iterator[Any]:
    made = application(settings, per_site)
    yield made
    made.registry[DIRECTORY].engine.dispose()


Jar = dict[str, "Morsel[str]"]


def ask(
    app: Any, place: str, path: str, cookies: dict[str, str] | None = None, token: str = "", **how: Any
) -> Response:
    """Return the response to a request for `path` at a site."""
    host, slash, prefix = place.partition("/")
    blank = Request.blank(slash + prefix + path, base_url=f"{how.pop('scheme', 'http')}://{host}", **how)
    if ":" in host:
        blank.environ["SERVER_PORT"] = host.rpartition(":")[2]
    if cookies:
        blank.headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    if token:
        blank.headers["X-CSRF-Token"] = token
        blank.headers["Origin"] = blank.host_url
    return blank.get_response(app)


def credentials(app: Any, place: str, **how: Any) -> tuple[dict[str, str], str]:
    """Return the cookies that a site sets for a visitor, and the token of its form."""
    answer = ask(app, place, "/set", **how)
    assert answer.status_code == 200, answer.text
    return {name: morsel.value for name, morsel in set_cookies(answer).items()}, answer.text


def set_cookies(answer: Response) -> Jar:
    jar: Jar = {}
    for header in answer.headers.getall("Set-Cookie"):
        parsed: SimpleCookie = SimpleCookie()
        parsed.load(header)
        jar.update(parsed)
    return jar


def accepted(app: Any, place: str, cookies: dict[str, str], token: str, **how: Any) -> set[str]:
    """Return which of the credentials a site accepts: of session, login, ticket and csrf."""
    found = set(ask(app, place, "/get", cookies, **how).text.split())
    answer = ask(app, place, "/post", cookies, token, method="POST", **how)
    return found | ({answer.text} if answer.status_code == 200 else set())


def renamed(stolen: dict[str, str], own: dict[str, str]) -> dict[str, str]:
    """Return the stolen cookies, under their own names and under the names that the attacked site uses."""

    def kind(name: str) -> str:
        return name.removeprefix("__Host-").removeprefix("__Secure-").rpartition("_")[0] or name

    kinds = {kind(name): name for name in own}
    return {**stolen, **{kinds.get(kind(name), name): value for name, value in stolen.items()}}


ALL = {"session", "login", "ticket", "csrf"}


def test_no_site_accepts_credentials_of_another(app: Any) -> None:
    given = {host: credentials(app, host) for host in HOSTS}
    assert all(accepted(app, host, *given[host]) == ALL for host in HOSTS)
    wrong = {
        (thief, host): found
        for thief, host in permutations(HOSTS, 2)
        if (found := accepted(app, host, renamed(given[thief][0], given[host][0]), given[thief][1]))
    }
    assert wrong == {}


def test_with_pyramids_own_factories_every_site_accepts_them(settings: dict[str, str]) -> None:
    app = application(settings, plain)
    given = {host: credentials(app, host) for host in HOSTS}
    found = [accepted(app, host, *given[thief]) for thief, host in permutations(HOSTS, 2)]
    assert found == [ALL] * 380
    app.registry[DIRECTORY].engine.dispose()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_sites_of_one_host_neither_accept_nor_overwrite_each_others(app: Any, scheme: str) -> None:
    # One browser, which ignores ports, and sends cookies of / to everything below.
    jar: dict[str, str] = {}
    tokens = {}
    given = {}
    for place in PLACES:
        given[place], tokens[place] = credentials(app, place, scheme=scheme)
        assert not jar.keys() & given[place].keys()
        jar |= given[place]
    for place in PLACES:
        assert accepted(app, place, jar, tokens[place], scheme=scheme) == ALL
    for thief, place in permutations(PLACES, 2):
        stolen = renamed(given[thief], given[place])
        assert accepted(app, place, stolen, tokens[thief], scheme=scheme) == set()


def test_credentials_issued_over_http_are_invalid_over_https(app: Any) -> None:
    host = HOSTS[0]
    over = {scheme: credentials(app, host, scheme=scheme) for scheme in ("http", "https")}
    for given, other in permutations(over, 2):
        cookies, token = over[given]
        assert accepted(app, host, cookies, token, scheme=given) == ALL
        assert accepted(app, host, renamed(cookies, over[other][0]), token, scheme=other) == set()


@pytest.mark.parametrize(
    ("place", "scheme", "prefix", "path"),
    [
        ("site0.example", "http", "", "/"),
        ("site0.example", "https", "__Host-", "/"),
        ("shared.example/shop", "http", "", "/shop"),
        ("shared.example/shop", "https", "__Secure-", "/shop"),
    ],
)
def test_cookies_have_all_restricting_attributes(app: Any, place: str, scheme: str, prefix: str, path: str) -> None:
    answers = [ask(app, place, "/set", scheme=scheme), forget(app, place, scheme)]
    for answer in answers:
        cookies = set_cookies(answer)
        assert len(cookies) == (3 if answer is answers[0] else 1)
        for name, cookie in cookies.items():
            assert name.startswith(prefix)
            assert (cookie["path"], cookie["domain"], cookie["samesite"]) == (path, "", "Lax")
            assert (bool(cookie["secure"]), bool(cookie["httponly"])) == (scheme == "https", True)


def forget(app: Any, place: str, scheme: str) -> Response:
    """Return a response that removes the ticket."""
    host, slash, prefix = place.partition("/")
    with request_for(app, host, slash + prefix + "/") as request:
        request.scheme = scheme
        request.environ["SCRIPT_NAME"] = slash + prefix
        if slash:
            request.site = app.registry[DIRECTORY].find(host, 80, slash + prefix).site
        return Response(headerlist=request.app_ticket.forget(request))


def test_plain_tickets_have_a_domain_which_subdomains_share(settings: dict[str, str]) -> None:
    app = application(settings, plain)
    assert set_cookies(ask(app, HOSTS[0], "/set"))["auth_tkt"]["domain"] == HOSTS[0]


def test_options_are_passed_on_unless_the_site_sets_them(app: Any) -> None:
    made = per_site(SignedCookieSessionFactory, cookie_name="visit", max_age=60, samesite="Strict", httponly=False)
    with request_for(app, HOSTS[0]) as request:
        session = made(request)
        session["who"] = "visitor"
        response = Response()
        request._process_response_callbacks(response)
    cookie = set_cookies(response)["visit_1"]
    assert (cookie["max-age"], cookie["samesite"], cookie["httponly"]) == ("60", "Strict", "")
    for option in ("domain", "path", "secure", "secret"):
        with pytest.raises(ValueError, match=f"'{option}' cannot be set"):
            per_site(SignedCookieSessionFactory, **{option: "x"})
    for option in ("wild_domain", "parent_domain"):
        with pytest.raises(ValueError, match="cannot be set"):
            per_site(AuthTktCookieHelper, **{option: True})


def test_a_factory_that_cannot_separate_sites_is_rejected() -> None:
    with pytest.raises(TypeError, match="BaseCookieSessionFactory cannot be made for each site"):
        per_site(BaseCookieSessionFactory, serializer=None)
    with pytest.raises(TypeError, match="no parameter 'time_out'"):
        per_site(SignedCookieSessionFactory, time_out=60)


@pytest.mark.parametrize("bad", ['x="\\377"', 'x="\xff"', 'x="a; \\377"'])
def test_a_cookie_that_is_not_utf8_breaks_no_page(app: Any, settings: dict[str, str], bad: str) -> None:
    own, _token = credentials(app, HOSTS[0])
    header = "; ".join([bad, *(f"{name}={value}" for name, value in own.items()), bad])
    blank = Request.blank("/get", base_url=f"http://{HOSTS[0]}", environ={"HTTP_COOKIE": header})
    assert blank.copy().get_response(app).text == "session login ticket"
    shared = application(settings, plain)
    assert blank.copy().get_response(shared).status_code == 500
    shared.registry[DIRECTORY].engine.dispose()


def test_csrf_tokens_in_the_session_belong_to_the_site(settings: dict[str, str]) -> None:
    def shared_sessions(factory: Any, **options: Any) -> Any:
        # Only the policy and the helper are per site: a session that all sites accept shows that they matter.
        return (plain if factory is SignedCookieSessionFactory else per_site)(factory, **options)

    app = application(settings, shared_sessions, SessionCSRFStoragePolicy)
    thief, host = HOSTS[:2]
    stolen, token = credentials(app, thief)
    assert accepted(app, thief, stolen, token) == ALL
    assert accepted(app, host, stolen, token) == {"session"}
    app.registry[DIRECTORY].engine.dispose()


def test_a_cookie_equal_to_the_form_token_is_not_enough(app: Any) -> None:
    own, _ = credentials(app, HOSTS[0])
    name = next(name for name in own if name.startswith("csrf_token"))
    assert accepted(app, HOSTS[0], {name: "made-up"}, "made-up") == set()


def test_a_new_csrf_token_is_valid_for_the_rest_of_its_request(app: Any) -> None:
    with request_for(app, HOSTS[0]) as request:
        assert get_csrf_token(request) == get_csrf_token(request)


def test_rotating_a_secret_invalidates_the_credentials_of_one_site(settings: dict[str, str]) -> None:
    app = application({**settings, "multisite.refresh_seconds": "0"}, per_site)
    rotated, other = HOSTS[10:12]
    given = {host: credentials(app, host) for host in (rotated, other)}
    engine = engine_from_url(settings["sqlalchemy.url"])
    rotate_secret(engine, rotated)
    engine.dispose()
    assert accepted(app, rotated, *given[rotated]) == set()
    assert accepted(app, other, *given[other]) == ALL
    assert accepted(app, rotated, *credentials(app, rotated)) == ALL
    app.registry[DIRECTORY].engine.dispose()


def test_credentials_signed_with_a_previous_secret_are_accepted_and_signed_again(settings: dict[str, str]) -> None:
    former = application(settings, per_site)
    given, token = credentials(former, HOSTS[0])
    both = {**settings, "multisite.secret": OTHER, "multisite.previous_secrets": SECRET}
    during = application(both, per_site, reissue_time=-1)  # Without waiting for the next second.
    after = application({**settings, "multisite.secret": OTHER}, per_site)
    assert accepted(during, HOSTS[0], given, token) == ALL
    assert accepted(after, HOSTS[0], given, token) == set()
    # A session is reissued from time to time, and then signed with the new secret.
    renewed = {name: morsel.value for name, morsel in set_cookies(ask(during, HOSTS[0], "/get", given)).items()}
    assert "session" in accepted(after, HOSTS[0], renewed, "")
    # New signatures are not accepted by an application that has only the previous secret.
    assert accepted(former, HOSTS[0], *credentials(during, HOSTS[0])) == set()
    for app in (former, during, after):
        app.registry[DIRECTORY].engine.dispose()


def test_one_object_serves_two_applications_with_the_secret_of_each(settings: dict[str, str]) -> None:
    of_the_module: dict[Any, PerSite] = {}

    def shared(factory: Any, **options: Any) -> PerSite:
        return of_the_module.setdefault(factory, per_site(factory, **options))

    mine = application(settings, shared)
    theirs = application({**settings, "multisite.secret": OTHER}, shared)
    given = {app: credentials(app, HOSTS[0]) for app in (mine, theirs)}
    for one, other in permutations(given, 2):
        assert accepted(one, HOSTS[0], *given[one]) == ALL
        assert accepted(other, HOSTS[0], *given[one]) == set()
        one.registry[DIRECTORY].engine.dispose()


# pyramid_session_redis 1.8 calls what redis 8 would have called otherwise.
@pytest.mark.filterwarnings("ignore:Call to deprecated setex")
def test_server_side_sessions_have_keys_of_the_site(settings: dict[str, str]) -> None:
    store = fakeredis.FakeRedis()

    def redis_sessions(make: Make) -> Any:
        return make(RedisSessionFactory, redis_client_callable=lambda request, **options: store)

    app = application(settings, per_site, session_factory=redis_sessions(per_site))
    given = {host: credentials(app, host) for host in HOSTS[:3]}
    assert sorted(key.partition(b".")[0] for key in store.scan_iter()) == [b"1", b"2", b"3"]
    assert all(accepted(app, host, *of_host) == ALL for host, of_host in given.items())
    for thief, host in permutations(given, 2):
        assert accepted(app, host, renamed(given[thief][0], given[host][0]), given[thief][1]) == set()
    # The control: the one secret for all sites.
    app = application(settings, plain, session_factory=redis_sessions(plain))
    assert accepted(app, HOSTS[1], *credentials(app, HOSTS[0])) == ALL


def test_a_custom_factory_gets_the_arguments_it_has_parameters_for(app: Any) -> None:
    seen: list[tuple[Any, ...]] = []

    def factory(secret: str, cookie_name: str, path: str, secure: bool, key_prefix: str, lifetime: int) -> Any:
        seen.append((len(secret), cookie_name, path, secure, key_prefix, lifetime))
        return lambda request: {}

    made = per_site(factory, lifetime=5, cookie_name="visit")
    for host in (*HOSTS[:2], HOSTS[0]):
        with request_for(app, host) as request:
            made(request)
    assert seen == [(64, "visit_1", "/", False, "1.0.", 5), (64, "visit_2", "/", False, "2.0.", 5)]


def test_unused_sites_cost_nothing_and_the_cache_is_bounded(app: Any) -> None:
    made = per_site(SignedCookieSessionFactory)
    with request_for(app, HOSTS[0]) as request:
        assert made.of(request) is made.of(request)
        assert len(made._made) == 1
        for number in range(1, 2500):
            request.site = Site(number, "x.example", "x", "x")
            made.of(request)
    assert len(made._made) <= 1000


def test_without_a_site_there_is_no_session(app: Any) -> None:
    made = per_site(SignedCookieSessionFactory)
    request = Request.blank("/set-nowhere", environ={"HTTP_HOST": "unknown.example"})
    request.registry = app.registry
    apply_request_extensions(request)
    with pytest.raises(UnknownSite):
        made(request)


def test_without_a_secret_a_request_that_needs_one_fails(settings: dict[str, str], tmp_path: Path) -> None:
    without = {key: value for key, value in settings.items() if key != "multisite.secret"}
    with Configurator(settings=without) as config:
        config.include("multisite")
    app = config.make_wsgi_app()
    made = per_site(SignedCookieSessionFactory)
    with request_for(app, HOSTS[0]) as request, pytest.raises(SettingError, match="SignedCookieSessionFactory"):
        made(request)
    app.registry[DIRECTORY].engine.dispose()


# Unscoped credentials are reported; a missing secret is a startup error.


class SharedPolicy:
    """A security policy as in Pyramid's documentation."""

    def __init__(self, make: Make) -> None:
        self.helper = make(AuthTktCookieHelper)
        self.session_helper = make(SessionAuthenticationHelper)


class NestedPolicy:
    """A policy that keeps its helper in an attribute of an attribute."""

    inner = SharedPolicy(plain)


def configured(settings: dict[str, str], make: Make, policy: Any, csrf: bool = True) -> Configurator:
    config = Configurator(settings=settings)
    config.include("multisite")
    config.set_session_factory(make(SignedCookieSessionFactory))
    config.set_security_policy(policy)
    if csrf:
        config.set_csrf_storage_policy(make(CookieCSRFStoragePolicy))
    return config


def found_in(app: Any) -> list[str]:
    findings = [finding for finding in run(app, metadata=[]) if finding.kind == "shared-credentials"]
    app.registry[DIRECTORY].engine.dispose()
    return [finding.subject for finding in findings]


def test_unscoped_credentials_are_reported_at_startup_and_by_check(
    settings: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    app = configured(settings, plain, SharedPolicy(plain)).make_wsgi_app()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    subjects = found_in(app)
    assert [subject.partition(" (")[0] for subject in subjects] == [
        "session factory",
        "CSRF storage policy",
        "SharedPolicy.helper",
        "SharedPolicy.session_helper",
    ]
    assert [warning.partition(" is shared by all sites")[0] for warning in warnings] == subjects
    assert "pyramid.authentication.AuthTktCookieHelper" in warnings[2]
    assert found_in(configured(settings, per_site, NestedPolicy()).make_wsgi_app()) == [
        "NestedPolicy.inner.helper (pyramid.authentication.AuthTktCookieHelper)"
    ]


def test_per_site_credentials_are_not_reported(settings: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    assert found_in(configured(settings, per_site, SharedPolicy(per_site)).make_wsgi_app()) == []
    with Configurator(settings=settings) as config:
        config.include("multisite")

        def own_factory(request: Request) -> dict[str, str]:
            return {}

        own_factory.is_per_site = True  # type: ignore[attr-defined]
        config.set_session_factory(own_factory)
    assert found_in(config.make_wsgi_app()) == []
    # A helper that stores the login in a session of the site needs nothing else.
    kept_in_session = SharedPolicy(per_site)
    kept_in_session.session_helper = SessionAuthenticationHelper()
    assert found_in(configured(settings, per_site, kept_in_session).make_wsgi_app()) == []
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.parametrize("part", ["session factory", "CSRF policy", "helper"])
def test_an_application_that_needs_a_secret_does_not_start_without_one(settings: dict[str, str], part: str) -> None:
    config = Configurator(settings={key: value for key, value in settings.items() if key != "multisite.secret"})
    config.include("multisite")
    if part == "session factory":
        config.set_session_factory(per_site(SignedCookieSessionFactory))
    elif part == "CSRF policy":
        config.set_csrf_storage_policy(per_site(CookieCSRFStoragePolicy))
    else:
        config.set_security_policy(SharedPolicy(per_site))
    with pytest.raises(SettingError, match=r"multisite\.secret = \(not set\)"):
        config.make_wsgi_app()
    config.registry[DIRECTORY].engine.dispose()


def test_an_application_that_derives_nothing_starts_without_a_secret(settings: dict[str, str]) -> None:
    config = Configurator(settings={key: value for key, value in settings.items() if key != "multisite.secret"})
    config.include("multisite")
    config.set_csrf_storage_policy(per_site(SessionCSRFStoragePolicy))
    config.make_wsgi_app()
    config.registry[DIRECTORY].engine.dispose()
