"""Pyramid's cookie sessions, with one class for all sites instead of one for each.

Pyramid's factory makes a class with the options as its attributes, of some 10 kB. Sites differ only in the name, the
path and the security of their cookie, which their sessions get as attributes of their own, and in their keys. The
class has one serializer, which is passed only a value; so the signer of the site is set for the duration of each call
(`_signer`). Without one, the serializer raises: it has no key of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from pyramid.request import Request
from pyramid.response import Response
from pyramid.session import BaseCookieSessionFactory
from webob.cookies import JSONSerializer

from multisite.web.signer import Signer

__all__ = ["SignedCookieSessions"]

_signer: ContextVar[Signer] = ContextVar("multisite.session_signer")
"""The signer of the session that is being read or written."""

_OF_SITE = {"cookie_name": "_cookie_name", "path": "_cookie_path", "secure": "_cookie_secure"}
"""The options that differ by site, and the attributes in which Pyramid's class keeps them."""


class _CurrentSigner:
    """A serializer that calls the signer of the current session."""

    def dumps(self, value: Any) -> bytes:
        return _signer.get().dumps(value)

    def loads(self, text: bytes) -> Any:
        return _signer.get().loads(text)


class SignedCookieSessions:
    """Does what `SignedCookieSessionFactory` does, for each site, and accepts previous secrets."""

    def __init__(self) -> None:
        self._class: type[Any] | None = None

    def __call__(self, _factory: object, keys: Sequence[bytes], arguments: dict[str, Any]) -> Callable[[Request], Any]:
        """Return the session factory of one site.

        Args:
            keys: Those of the site; the first signs.
            arguments: Those of `SignedCookieSessionFactory`. Only `secret`, `cookie_name`, `path` and `secure` may
                differ from those of the first call.
        """
        given = {"salt": "pyramid.session.", "hashalg": "sha512", **arguments}
        signer = Signer(
            keys,
            given.pop("salt"),
            hashalg=given.pop("hashalg"),
            serializer=given.pop("serializer", None) or JSONSerializer(),
        )
        del given["secret"]
        if self._class is None:
            self._class = _session_class(given)
        if self._class is None:
            # A release of Pyramid that keeps the options otherwise: each site gets a class of its own.
            factory: Callable[[Request], Any] = BaseCookieSessionFactory(signer, **given)
            return factory
        return _SiteSessions(self._class, signer, tuple(given[option] for option in _OF_SITE))


class _SiteSessions:
    """The session factory of one site: the class of all sites, the signer and the options of this one."""

    __slots__ = ("_class", "_of_site", "_signer")

    def __init__(self, session_class: type[Any], signer: Signer, of_site: tuple[Any, ...]) -> None:
        self._class = session_class
        self._signer = signer
        self._of_site = of_site

    def __call__(self, request: Request) -> Any:
        """Return the session of `request`."""
        return self._class(request, self._signer, self._of_site)


def _session_class(options: Mapping[str, Any]) -> type[Any] | None:
    """Return the class of the sessions of all sites; None if Pyramid's class does not have the attributes."""
    base: Any = BaseCookieSessionFactory(
        _CurrentSigner(), **{name: value for name, value in options.items() if name not in _OF_SITE}
    )
    if not all(hasattr(base, name) for name in (*_OF_SITE.values(), "_set_cookie")):
        return None

    class SiteSession(base):  # type: ignore[misc]
        """A session of the site whose signer it has."""

        def __init__(self, request: Request, signer: Signer, of_site: tuple[Any, ...]) -> None:
            self._signer = signer
            self._cookie_name, self._cookie_path, self._cookie_secure = of_site
            token = _signer.set(signer)
            try:
                super().__init__(request)
            finally:
                _signer.reset(token)

        def _set_cookie(self, response: Response) -> Any:
            token = _signer.set(self._signer)
            try:
                return super()._set_cookie(response)
            finally:
                _signer.reset(token)

    return SiteSession
