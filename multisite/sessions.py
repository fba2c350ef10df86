"""Sessions, log-ins and CSRF tokens that belong to the site at which they were made, with one line each:

    config.set_session_factory(per_site(SignedCookieSessionFactory, timeout=1200))
    config.set_csrf_storage_policy(per_site(CookieCSRFStoragePolicy))
    helper = per_site(AuthTktCookieHelper, timeout=1200)        # in a security policy

`per_site` takes the factory itself and the options that it would have been called with. It calls it once for each site
that is asked for, with a secret and a cookie of that site's own.
"""

from __future__ import annotations

import inspect
import secrets as random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pyramid.authentication import AuthTktCookieHelper
from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.request import Request
from pyramid.session import BaseCookieSessionFactory, SignedCookieSessionFactory
from pyramid.util import SimpleSerializer
from webob.cookies import JSONSerializer, RequestCookies, parse_cookie

from multisite.directory.shelf import LRUCache
from multisite.errors import InvalidHost, UnknownSite
from multisite.request import escape_path
from multisite.secrets import SECRETS, secrets_of
from multisite.signer import Signer
from multisite.site import Site

__all__ = ["PerSite", "per_site"]

MAX_SITES = 1_000
"""For how many sites, at most, what was made is kept: those that were asked for last."""


def per_site(factory: Callable[..., Any], /, **options: Any) -> PerSite:
    """Return what can be used in the place of `factory(**options)`, and belongs to the site of each request.

    `factory` is `SignedCookieSessionFactory`, `AuthTktCookieHelper`, `SessionAuthenticationHelper`,
    `SessionCSRFStoragePolicy`, `CookieCSRFStoragePolicy`, `RedisSessionFactory` of pyramid_session_redis, or a function
    or class of your own. That gets those of these arguments that it has parameters for: `secret` (64 hexadecimal
    digits), `cookie_name`, `path`, `secure` (also `cookie_path`, `cookie_secure`), and `key_prefix` for what it stores.
    `httponly` and `samesite` are `True` and `"Lax"` unless said otherwise; a cookie never has a Domain.

    Raises `TypeError` for a factory that takes nothing which would make it a site's own, and for options that it does
    not have, `ValueError` for options that are the site's to decide.
    """
    return PerSite(factory, options)


class PerSite:
    """A factory of sessions, a helper or a policy whose parts belong to sites; made by `per_site`.

    Called with a request it calls what was made for the site of the request. So do its methods, which are those of the
    factory where that is a class, and all take the request first. Where a request has no site, as on an open path,
    `UnknownSite` is raised; but methods that say who is logged in return None, since pyramid_tm asks at each request.
    """

    is_per_site = True
    """What `multisite check` looks for. A factory of your own that keeps sites apart by itself may say so as well."""

    factory: Callable[..., Any] | None = None  # As it is while an object is unpickled, and asked for attributes.

    def __init__(self, factory: Callable[..., Any], options: dict[str, Any]) -> None:
        self.factory = factory
        self._options = options
        self._defaults = _defaults_of(factory)
        _check_options(factory, self._defaults, options)
        self.needs_secret = bool(_SIGNED & self._defaults.keys()) or factory is CookieCSRFStoragePolicy
        self._made: LRUCache[tuple[Any, ...], Any] = LRUCache(MAX_SITES)

    def of(self, request: Request) -> Any:
        """Return what `factory` has made for the site of `request`."""
        site: Site = request.site
        _read_cookies(request)
        is_secure = request.scheme == "https"
        script_name = request.environ.get("SCRIPT_NAME", "")
        # The secrets too: an object of a module may serve two applications of one process.
        key = site.id, site.secret_generation, is_secure, script_name, request.registry.get(SECRETS)
        made = self._made.get(key)
        if made is None:
            made = self._make(request, site, is_secure, escape_path(script_name) or "/")
            self._made.set(key, made)
        return made

    def __call__(self, request: Request) -> Any:
        return self.of(request)(request)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not callable(getattr(self.factory, name, None)):
            raise AttributeError(f"{self!r} has no attribute '{name}'")

        def method(request: Request, *args: Any, **kwargs: Any) -> Any:
            if name in _IDENTIFYING and not _has_site(request):
                return None
            return getattr(self.of(request), name)(request, *args, **kwargs)

        return method

    def __repr__(self) -> str:
        return f"per_site({_name_of(self.factory)})"

    def _make(self, request: Request, site: Site, is_secure: bool, path: str) -> Any:
        keys: tuple[bytes, ...] = ()
        if self.needs_secret:
            # Of the scheme as well: a cookie that went over an open network is worth nothing over https.
            purpose = f"{self!r} {self._base_name('cookie_name')} {'https' if is_secure else 'http'}"
            keys = secrets_of(request.registry, repr(self)).derive(site, purpose)
        mark = f"{site.id}.{site.secret_generation}."
        make: Callable[..., Any] = _MAKERS.get(self.factory, _make_default)
        return make(self.factory, keys, self._arguments(site, is_secure, path, mark, keys))

    def _arguments(self, site: Site, is_secure: bool, path: str, mark: str, keys: tuple[bytes, ...]) -> dict[str, Any]:
        """Return what the factory is called with: of all that a site can give, what it has a parameter for."""
        given: dict[str, Any] = {
            **dict.fromkeys(_DOMAINS, None),
            **dict.fromkeys(_WIDER_DOMAINS, False),
            **dict.fromkeys(_HTTP_ONLY, True),
            **dict.fromkeys(_SAME_SITE, "Lax"),
            **self._options,
            **dict.fromkeys(_PATHS, path),
            **dict.fromkeys(_SECURE, is_secure),
        }
        if "cookie_name" in self._defaults:
            given["cookie_name"] = cookie_name(self._base_name("cookie_name"), site, is_secure=is_secure, path=path)
        for name in _PREFIXES & self._defaults.keys():
            given[name] = f"{self._base_name(name)}{mark}"
        if "id_generator" in self._defaults:
            given["id_generator"] = partial(_marked_id, mark, self._options.get("id_generator", random.token_hex))
        if "cookie_signer" in self._defaults:
            given["cookie_signer"] = Signer(keys, "multisite.session.", serializer=SimpleSerializer())
        elif keys:
            given["secret"] = keys[0].hex()
        return {name: value for name, value in given.items() if name in self._defaults}

    def _base_name(self, name: str) -> str:
        """Return the text that the site's own is made of: as it was given, or the factory's default."""
        base = self._options.get(name, self._defaults.get(name))
        return base if isinstance(base, str) else ""


def cookie_name(name: str, site: Site, *, is_secure: bool, path: str) -> str:
    """Return the name of the cookie that is `name` to the application.

    It holds the id of the site, since a browser does not tell ports apart, and sends cookies of `/` to `/shop` too
    (RFC 6265 sections 8.5 and 5.4). Over https it has one of the prefixes that the browser itself looks after (RFC
    6265bis section 4.1.3): `__Host-`, which is for `/` alone, and which no other host has set; or `__Secure-`, which
    nobody has set on an open network.
    """
    prefix = ("__Host-" if path == "/" else "__Secure-") if is_secure else ""
    return f"{prefix}{name}_{site.id}"


def _read_cookies(request: Request) -> None:
    """Read the cookies where one of them is not UTF-8: because of that one WebOb would read none.

    A page of a subdomain, which may be another site, can set such a one for the domain above, and its visitors would
    get errors there until it is gone.
    """
    try:
        request.cookies.get("")
    except UnicodeDecodeError:
        header = request.environ["HTTP_COOKIE"]
        found = {name.decode(): value.decode("utf-8", "replace") for name, value in parse_cookie(header)}
        # Where WebOb remembers what it has read.
        request.environ[RequestCookies._cache_key] = found, header


def _has_site(request: Request) -> bool:
    try:
        request.site  # noqa: B018
    except (UnknownSite, InvalidHost):
        return False
    return True


_IDENTIFYING = {"identify", "authenticated_userid", "unauthenticated_userid"}
"""The methods of Pyramid's helpers that say who is logged in, for each of which None means nobody."""

_DOMAINS = ("domain", "cookie_domain")
_WIDER_DOMAINS = ("wild_domain", "parent_domain")
_PATHS = ("path", "cookie_path")
_SECURE = ("secure", "cookie_secure")
_HTTP_ONLY = ("httponly", "http_only", "cookie_httponly")
_SAME_SITE = ("samesite", "cookie_samesite")
_SIGNED = {"secret", "cookie_signer"}
_PREFIXES = {"prefix", "key", "key_prefix"}
"""What the parameters are called by which factories take one thing."""

_OF_THE_SITE = {*_DOMAINS, *_WIDER_DOMAINS, *_PATHS, *_SECURE, *_SIGNED}


def _defaults_of(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the parameters of `factory`, with their defaults."""
    parameters = inspect.signature(factory).parameters.values()
    named = [
        parameter for parameter in parameters if parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
    ]
    return {parameter.name: parameter.default for parameter in named}


def _check_options(factory: Callable[..., Any], defaults: dict[str, Any], options: dict[str, Any]) -> None:
    name = _name_of(factory)
    if not (defaults.keys() & (_SIGNED | _PREFIXES) or factory is CookieCSRFStoragePolicy):
        raise TypeError(
            f"{name} cannot be made for each site: it has no parameter for a secret or a prefix of the site's own"
        )
    for option in options:
        if option not in defaults:
            raise TypeError(f"{name} has no parameter '{option}'")
        if option in _OF_THE_SITE:
            raise ValueError(f"'{option}' is not for the application to say: per_site takes it from the site")


def _name_of(factory: Any) -> str:
    return getattr(factory, "__qualname__", type(factory).__qualname__)


def _make_default(factory: Callable[..., Any], keys: Sequence[bytes], arguments: dict[str, Any]) -> Any:
    made = factory(**arguments)
    if isinstance(made, AuthTktCookieHelper):
        # The helper's own way to be given another function for this.
        made.parse_ticket = partial(_parse_ticket, made, made.parse_ticket, [key.hex() for key in keys])
    return made


def _parse_ticket(
    helper: AuthTktCookieHelper, parse: Callable[..., Any], secrets: Sequence[str], _secret: str, *ticket: Any
) -> Any:
    """Parse a ticket that is signed with any of `secrets`."""
    for secret in secrets[:-1]:
        try:
            return parse(secret, *ticket)
        except helper.BadTicket:
            pass
    return parse(secrets[-1], *ticket)


def _signed_cookie_sessions(_factory: object, keys: Sequence[bytes], arguments: dict[str, Any]) -> Any:
    """Make what `SignedCookieSessionFactory` makes, but that it accepts previous secrets."""
    given = {"salt": "pyramid.session.", "hashalg": "sha512", **arguments}
    signer = Signer(
        keys,
        given.pop("salt"),
        hashalg=given.pop("hashalg"),
        serializer=given.pop("serializer", None) or JSONSerializer(),
    )
    del given["secret"]
    return BaseCookieSessionFactory(signer, **given)


def _csrf_cookies(_factory: object, keys: Sequence[bytes], arguments: dict[str, Any]) -> Any:
    return _SignedCSRFStoragePolicy(Signer(keys, "multisite.csrf.", serializer=SimpleSerializer()), **arguments)


class _SignedCSRFStoragePolicy(CookieCSRFStoragePolicy):  # type: ignore[misc]  # Pyramid has no types.
    """Pyramid's policy, whose cookie holds the token signed: else any site accepts a token with a cookie that says the
    same."""

    def __init__(self, signer: Signer, **options: Any) -> None:
        super().__init__(**options)
        self.cookie_profile.serializer = self._signer = signer

    def new_csrf_token(self, request: Request) -> str:
        token: str = super().new_csrf_token(request)
        # Read again later in this request, as the browser will send it.
        request.cookies[self.cookie_name] = self._signer.dumps(token).decode()
        return token


_MAKERS: dict[Any, Callable[[Any, Sequence[bytes], dict[str, Any]], Any]] = {
    SignedCookieSessionFactory: _signed_cookie_sessions,
    CookieCSRFStoragePolicy: _csrf_cookies,
}
"""What is made in another way than by calling the factory."""


def _marked_id(mark: str, generate: Callable[[], str]) -> str:
    """Return the id of a new session on a server, which is also the key it is stored by."""
    return f"{mark}{generate()}"
