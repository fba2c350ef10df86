"""The language and the local time of a request, taken from its site.

`request.locale_name` and `request.localizer` are Pyramid's own, so that everything that uses them (deform, WTForms,
other template engines) gets the language of the site too.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pyramid.config import PHASE3_CONFIG, Configurator
from pyramid.i18n import Localizer
from pyramid.interfaces import ILocaleNegotiator
from pyramid.request import Request
from pyramid.response import Response

from multisite.core.site import Site, site_or_none
from multisite.errors import MultisiteError
from multisite.language.formats import Formats, formats_for
from multisite.language.local_time import local_bounds, local_time, zone_of
from multisite.language.negotiation import MAX_HEADER_CHARACTERS, best_language, locale_name

__all__ = ["TRANSLATIONS", "includeme", "languages_of", "negotiate_locale", "template_names", "vary_by_language"]

TRANSLATIONS = "multisite.translations"
"""Registry key of the `SiteTranslations`."""


def languages_of(site: Site) -> tuple[str, ...]:
    """Return the languages of `site` as BCP 47 tags: its `locale`, then those of its setting `languages`."""
    more = () if site.settings_provider is None else site.settings.get("languages") or ()
    return (site.locale,) if not more else tuple(dict.fromkeys((site.locale, *more)))


def negotiate_locale(request: Request) -> str | None:
    """Return the locale name for `request`, or None without a site. A Pyramid locale negotiator.

    If the application has set `request._LOCALE_`, that is returned unchanged. If the site has several languages, the
    best match for Accept-Language is returned, and the response gets `Vary: Accept-Language`.
    """
    explicit: str | None = getattr(request, "_LOCALE_", None)
    if explicit is not None:
        return explicit
    site = site_or_none(request)
    if site is None:
        return None
    languages = languages_of(site)
    if len(languages) == 1:
        return locale_name(languages[0])
    request.add_response_callback(vary_by_language)
    header = request.environ.get("HTTP_ACCEPT_LANGUAGE", "")
    if not header or len(header) > MAX_HEADER_CHARACTERS:
        return locale_name(languages[0])
    # `parsed` is None for an invalid header.
    return locale_name(best_language(languages, request.accept_language.parsed or ()))


def vary_by_language(_request: Request, response: Response) -> None:
    """Add `Vary: Accept-Language` to a response (RFC 9110 section 12.5.5). A response callback."""
    vary = response.vary or ()
    if "*" not in vary and "accept-language" not in {name.lower() for name in vary}:
        response.vary = (*vary, "Accept-Language")


def _localizer(request: Request) -> Localizer:
    application = _application_localizer(request)
    site = site_or_none(request)
    if site is None:
        return application
    return request.registry[TRANSLATIONS].localizer(site, application)


def _application_localizer(request: Request) -> Localizer:
    # Pyramid's own attribute, which `request.localizer` overrides.
    return Request.localizer.wrapped(request)


def _formats(request: Request) -> Formats:
    site: Site = request.site
    currency = site.settings.get("currency") if site.settings_provider is not None else None
    return formats_for(request.locale_name.replace("_", "-"), zone_of(site), currency)


def _now(request: Request) -> datetime:
    return datetime.now(zone_of(request.site))


def _localtime(request: Request, when: datetime) -> datetime:
    return local_time(when, zone_of(request.site))


def _local_bounds(
    request: Request, year: int, month: int | None = None, day: int | None = None
) -> tuple[datetime, datetime]:
    return local_bounds(zone_of(request.site), year, month, day)


class _TemplateNames:
    """The language-dependent names of templates, evaluated lazily.

    A page that uses none of them is the same in all languages, and caches need not vary it by language.
    """

    __slots__ = ("_request",)

    def __init__(self, request: Request) -> None:
        self._request = request

    def translate(self, message: str, mapping: Mapping[str, Any] | None = None, domain: str | None = None) -> str:
        """Translate `message`, with `${name}` replaced from `mapping`; `_()` in templates."""
        translated: str = self._request.localizer.translate(message, domain=domain, mapping=mapping)
        return translated

    def pluralize(
        self, singular: str, plural: str, n: int, mapping: Mapping[str, Any] | None = None, domain: str | None = None
    ) -> str:
        """Translate the form for the number `n`; `ngettext()` in templates. `${n}` is the number by default."""
        localizer = self._request.localizer
        return str(localizer.pluralize(singular, plural, n, domain=domain, mapping={"n": n, **(mapping or {})}))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request.format, name)

    def __call__(self, value: object, spec: str = "") -> str:
        """Call Python's built-in `format`, which this name hides in templates."""
        return builtins.format(value, spec)


def template_names(request: Request) -> dict[str, Any]:
    """Return the names that templates have in addition to the view's: `_`, `ngettext` and `format`."""
    names = _TemplateNames(request)
    return {"_": names.translate, "ngettext": names.pluralize, "format": names}


def _check_languages(languages: tuple[str, ...]) -> None:
    from multisite.sites.validation import check_locale

    for language in languages:
        try:
            check_locale(language)
        except MultisiteError as error:
            raise ValueError(f"language tags such as de, pt-BR ({error})") from error


def _check_currency(code: str) -> None:
    from babel.numbers import is_currency

    if not is_currency(code):
        raise ValueError("a currency code (ISO 4217), such as EUR")


def includeme(config: Configurator) -> None:
    """Add request methods for language and time, and the site settings `languages` and `currency`.

    Sets the locale negotiator if the application has none.
    """
    registry = config.registry
    config.add_request_method(_localizer, "localizer", reify=True)
    config.add_request_method(_formats, "format", reify=True)
    config.add_request_method(_now, "now")
    config.add_request_method(_localtime, "localtime")
    config.add_request_method(_local_bounds, "local_bounds")
    sentence = "Further languages of the site, negotiated by Accept-Language."
    config.add_site_setting(
        "languages", list[str], default=(), doc=sentence, check=_check_languages, label="Further languages"
    )
    sentence = "The currency of prices, such as EUR."
    config.add_site_setting("currency", str, default=None, doc=sentence, check=_check_currency, label="Currency")

    def register() -> None:
        if registry.queryUtility(ILocaleNegotiator) is None:
            registry.registerUtility(negotiate_locale, ILocaleNegotiator)

    # Late and without a discriminator, because an application's own negotiator takes precedence.
    config.action(None, register, order=PHASE3_CONFIG + 20)
