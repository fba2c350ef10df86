"""Sessions, logins and CSRF tokens that are only valid on the site that issued them.

Each takes one line:

    config.set_session_factory(per_site(SignedCookieSessionFactory, timeout=1200))
    config.set_csrf_storage_policy(per_site(CookieCSRFStoragePolicy))
    helper = per_site(AuthTktCookieHelper, timeout=1200)        # in a security policy

`per_site` takes the factory and the options for it. It calls the factory once for each site that is used, with a secret
and a cookie name of the site's own.
"""

from __future__ import annotations

import inspect
import secrets as random
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.request import Request
from pyramid.session import SignedCookieSessionFactory
from pyramid.util import SimpleSerializer
from webob.cookies import RequestCookies, parse_cookie

from multisite.core.lru_cache import LRUCache
from multisite.core.site import Site
from multisite.errors import InvalidHost, UnknownSite
from multisite.web.cookie_sessions import SignedCookieSessions
from multisite.web.request import escape_path
from multisite.web.secrets import SECRETS, secrets_of
from multisite.web.signer import Signer

if TYPE_CHECKING:
    from pyramid.authentication import AuthTktCookieHelper

__all__ = ["PerSite", "cookie_name", "per_site", "read_cookies"]

MAX_SITES = 1_000
"""Size of the LRU cache of objects made per site."""


def per_site(factory: Callable[..., Any], /, **options: Any) -> PerSite:
    """Return a replacement for `factory(**options)` that uses a separate object for the site of each request.

    The factory is passed those of the following arguments that it has parameters for: `secret` (64 hexadecimal digits),
    `cookie_name`, `path`, `secure` (also `cookie_path`, `cookie_secure`), and `key_prefix` for stored keys. `httponly`
    and `samesite` default to `True` and `"Lax"`. Cookies never have a Domain attribute.

    Args:
        factory: `SignedCookieSessionFactory`, `AuthTktCookieHelper`, `SessionAuthenticationHelper`,
            `SessionCSRFStoragePolicy`, `CookieCSRFStoragePolicy`, `RedisSessionFactory` of pyramid_session_redis, or a
            function or class of your own.
        options: Further arguments of the factory.

    Raises:
        TypeError: The factory has no parameter that separates sites, or does not have one of the options.
        ValueError: One of the options is set by the site.
    """
    return PerSite(factory, options)


class PerSite:
    """A session factory, helper or policy with a separate object per site; made by `per_site`.

    Calls are delegated to the object of the request's site. If the factory is a class, so are the methods of the class,
    all of which take the request first. A request without a site, as on an open path, raises `UnknownSite`, except
    in methods that return who is logged in: they return None, because pyramid_tm calls them for each request.
    """

    is_per_site = True
    """Tells `multisite check` that sites are separated. Set it on a factory of your own that does this by itself."""

    factory: Callable[..., Any] | None = None  # A default for `__getattr__` during unpickling.

    def __init__(self, factory: Callable[..., Any], options: dict[str, Any]) -> None:
        self.factory = factory
        self._options = options
        self._defaults = _defaults_of(factory)
        _check_options(factory, self._defaults, options)
        self.needs_secret = bool(_SIGNED & self._defaults.keys()) or factory is CookieCSRFStoragePolicy
        make: Callable[[], _Maker] | None = _MAKERS.get(factory)
        self._make_of_site: _Maker = _make_default if make is None else make()
        self._made: LRUCache[tuple[Any, ...], Any] = LRUCache(MAX_SITES)

    def of(self, request: Request) -> Any:
        """Return the object for the site of `request`."""
        site: Site = request.site
        read_cookies(request)
        is_secure = request.scheme == "https"
        script_name = request.environ.get("SCRIPT_NAME", "")
        # With the secrets, because a module-level object may serve two applications of one process.
        key = site.id, site.secret_generation, is_secure, script_name, request.registry.get(SECRETS)
        made = self._made.get(key)
        if made is None:
            made = self._make(request, site, is_secure, escape_path(script_name) or "/")
            self._made.set(key, made)
        return made

    def __call__(self, request: Request) -> Any:
        """Call the object for the site of `request` with `request`."""
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
        return f"per_site({_factory_name(self.factory)})"

    def _make(self, request: Request, site: Site, is_secure: bool, path: str) -> Any:
        keys: tuple[bytes, ...] = ()
        if self.needs_secret:
            # Separate keys per scheme: a cookie that was sent in clear text is not accepted over https.
            purpose = f"{self!r} {self._base_name('cookie_name')} {'https' if is_secure else 'http'}"
            keys = secrets_of(request.registry, repr(self)).derive(site, purpose)
        key_prefix = f"{site.id}.{site.secret_generation}."
        return self._make_of_site(self.factory, keys, self._arguments(site, is_secure, path, key_prefix, keys))

    def _arguments(
        self, site: Site, is_secure: bool, path: str, key_prefix: str, keys: tuple[bytes, ...]
    ) -> dict[str, Any]:
        """Return the arguments for the factory: the site's, where the factory has such parameters, and the options."""
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
            given[name] = f"{self._base_name(name)}{key_prefix}"
        if "id_generator" in self._defaults:
            given["id_generator"] = partial(
                _prefixed_id, key_prefix, self._options.get("id_generator", random.token_hex)
            )
        if "cookie_signer" in self._defaults:
            given["cookie_signer"] = Signer(keys, "multisite.session.", serializer=SimpleSerializer())
        elif keys:
            given["secret"] = keys[0].hex()
        return {name: value for name, value in given.items() if name in self._defaults}

    def _base_name(self, name: str) -> str:
        """Return the option `name`, or the factory's default, from which the site's own value is derived."""
        base = self._options.get(name, self._defaults.get(name))
        return base if isinstance(base, str) else ""


def cookie_name(name: str, site: Site, *, is_secure: bool, path: str) -> str:
    """Return the site's own name for the cookie that the application calls `name`.

    It contains the id of the site, because browsers do not separate cookies by port, and send cookies of `/` to `/shop`
    too (RFC 6265 sections 8.5 and 5.4). Over https it has a prefix that browsers enforce (RFC 6265bis section 4.1.3):
    `__Host-` for the path `/`, which no other host can set, and `__Secure-` otherwise, which cannot be set over http.
    """
    prefix = ("__Host-" if path == "/" else "__Secure-") if is_secure else ""
    return f"{prefix}{name}_{site.id}"


def read_cookies(request: Request) -> None:
    """Parse cookies leniently: WebOb rejects all of them if one is not valid UTF-8.

    A page of a subdomain, which may be another site, can set such a cookie for the parent domain, where its visitors
    would then get errors until the cookie expires.
    """
    try:
        request.cookies.get("")
    except UnicodeDecodeError:
        header = request.environ["HTTP_COOKIE"]
        found = {name.decode(): value.decode("utf-8", "replace") for name, value in parse_cookie(header)}
        # WebOb's own cache of parsed cookies.
        request.environ[RequestCookies._cache_key] = found, header


def _has_site(request: Request) -> bool:
    try:
        request.site  # noqa: B018
    except (UnknownSite, InvalidHost):
        return False
    return True


_IDENTIFYING = {"identify", "authenticated_userid", "unauthenticated_userid"}
"""The methods of Pyramid's helpers that return who is logged in; None means nobody."""

_DOMAINS = ("domain", "cookie_domain")
_WIDER_DOMAINS = ("wild_domain", "parent_domain")
_PATHS = ("path", "cookie_path")
_SECURE = ("secure", "cookie_secure")
_HTTP_ONLY = ("httponly", "http_only", "cookie_httponly")
_SAME_SITE = ("samesite", "cookie_samesite")
_SIGNED = {"secret", "cookie_signer"}
_PREFIXES = {"prefix", "key", "key_prefix"}
"""The names by which factories call the same parameter."""

_SET_BY_SITE = {*_DOMAINS, *_WIDER_DOMAINS, *_PATHS, *_SECURE, *_SIGNED}


def _defaults_of(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the parameters of `factory`, with their defaults."""
    parameters = inspect.signature(factory).parameters.values()
    named = [
        parameter for parameter in parameters if parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
    ]
    return {parameter.name: parameter.default for parameter in named}


def _check_options(factory: Callable[..., Any], defaults: dict[str, Any], options: dict[str, Any]) -> None:
    name = _factory_name(factory)
    if not (defaults.keys() & (_SIGNED | _PREFIXES) or factory is CookieCSRFStoragePolicy):
        raise TypeError(
            f"{name} cannot be made for each site: it has no parameter for a secret or a prefix of the site's own"
        )
    for option in options:
        if option not in defaults:
            raise TypeError(f"{name} has no parameter '{option}'")
        if option in _SET_BY_SITE:
            raise ValueError(f"'{option}' cannot be set: per_site takes it from the site")


def _factory_name(factory: Any) -> str:
    return getattr(factory, "__qualname__", type(factory).__qualname__)


def _make_default(factory: Callable[..., Any], keys: Sequence[bytes], arguments: dict[str, Any]) -> Any:
    from pyramid.authentication import AuthTktCookieHelper  # Not at the start: most applications have sessions only.

    made = factory(**arguments)
    if isinstance(made, AuthTktCookieHelper):
        # The helper calls this attribute to parse a ticket.
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


def _csrf_cookies(_factory: object, keys: Sequence[bytes], arguments: dict[str, Any]) -> Any:
    return _SignedCSRFStoragePolicy(Signer(keys, "multisite.csrf.", serializer=SimpleSerializer()), **arguments)


class _SignedCSRFStoragePolicy(CookieCSRFStoragePolicy):  # type: ignore[misc]  # Pyramid has no types.
    """Pyramid's policy with a signed cookie: otherwise each site accepts any token that comes with an equal cookie."""

    def __init__(self, signer: Signer, **options: Any) -> None:
        super().__init__(**options)
        self.cookie_profile.serializer = self._signer = signer

    def new_csrf_token(self, request: Request) -> str:
        token: str = super().new_csrf_token(request)
        # The policy reads the cookie again in this request, in the form that the browser will send.
        request.cookies[self.cookie_name] = self._signer.dumps(token).decode()
        return token


_Maker = Callable[[Any, Sequence[bytes], dict[str, Any]], Any]

_MAKERS: dict[Any, Callable[[], _Maker]] = {
    SignedCookieSessionFactory: SignedCookieSessions,
    CookieCSRFStoragePolicy: lambda: _csrf_cookies,
}
"""Factories that are replaced instead of called; the values return the replacement for one `PerSite`."""


def _prefixed_id(prefix: str, generate: Callable[[], str]) -> str:
    """Return the id of a new server-side session, which is also its key in the store."""
    return f"{prefix}{generate()}"
