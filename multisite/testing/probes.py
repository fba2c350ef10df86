"""What the leak detector does once for each application: templates and settings of another site, sessions, log-ins."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pyramid.interfaces import ISecurityPolicy, ISessionFactory
from pyramid.request import Request
from pyramid.response import Response
from pyramid.scripting import prepare

from multisite.current import pop_scope, push_scope
from multisite.errors import MultisiteError
from multisite.keys import DIRECTORY, SETTINGS
from multisite.renderer import TEMPLATES
from multisite.site_settings.changes import set_settings
from multisite.site_settings.directive import SITE_SETTINGS
from multisite.testing.canaries import Canaries
from multisite.testing.seeding import CANARY_HOST, CANARY_SITE

__all__ = ["accepted_cookies", "plant_settings", "plant_templates", "remove_templates"]

_KEY = "canary"


def plant_templates(registry: Any, canaries: Canaries) -> None:
    """Give the canaries' site templates of its own: every shared one, with a canary behind it."""
    settings, templates = registry[SETTINGS], registry[TEMPLATES]
    if not settings.sites_dir.is_dir():
        return
    folder = settings.sites_dir / CANARY_SITE.folder
    for name in templates.names(None):
        with suppress(Exception):  # One with a mistake is the application's affair.
            with templates.overlay.find(name, None).open() as opened:
                text = opened.file.read().decode("utf-8")
            path = folder / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n{canaries.text(f'the template {name}')}\n", "utf-8")


def plant_settings(registry: Any, canaries: Canaries) -> None:
    """Give the canaries' site a canary for every setting of sites that takes any text or whole number."""
    declared = registry.get(SITE_SETTINGS)
    for setting in () if declared is None else declared.describe(CANARY_SITE):
        place = f"the setting {setting.name}"
        for value in (canaries.text(place), str(canaries.number(place))):
            with suppress(MultisiteError):  # It is of another kind, or refuses that one.
                set_settings(registry[DIRECTORY].engine, CANARY_HOST, {setting.name: value}, declared=declared)
                break


def remove_templates(registry: Any) -> None:
    """Take back `plant_templates`."""
    shutil.rmtree(registry[SETTINGS].sites_dir / CANARY_SITE.folder, ignore_errors=True)


def accepted_cookies(registry: Any, host: str, canaries: Canaries) -> Iterator[str]:
    """Yield what the site at `host` takes for its own though it was given out by the canaries' site."""
    text = canaries.text("a cookie")
    with suppress(Exception):  # What a session or a policy needs that is not here is not ours to say.
        if registry.queryUtility(ISessionFactory) is not None:
            cookies = _session_cookies(registry, text)
            with _request(registry, host, cookies) as request:
                if cookies and request.session.get(_KEY) == text:
                    yield "the session"
    policy = registry.queryUtility(ISecurityPolicy)
    # A name or a number: a policy that is made for the one fails at the other.
    if policy is not None and any(
        _accepts_login(registry, policy, host, userid) for userid in (text, canaries.number("a log-in"))
    ):
        yield "the log-in"


def _accepts_login(registry: Any, policy: Any, host: str, userid: str | int) -> bool:
    with suppress(Exception):
        with _request(registry, CANARY_HOST) as request:
            cookies = _cookies(policy.remember(request, userid))
        with _request(registry, host, cookies) as request:
            return bool(cookies) and str(policy.authenticated_userid(request)) == str(userid)
    return False


def _session_cookies(registry: Any, text: str) -> str:
    with _request(registry, CANARY_HOST) as request:
        request.session[_KEY] = text
        response = Response()
        request._process_response_callbacks(response)
        return _cookies(response.headerlist)


def _cookies(headers: Any) -> str:
    found = [value.partition(";")[0] for name, value in headers if name.lower() == "set-cookie"]
    return "; ".join(found)


@contextmanager
def _request(registry: Any, host: str, cookies: str = "") -> Iterator[Any]:
    environ = {"HTTP_HOST": host} | ({"HTTP_COOKIE": cookies} if cookies else {})
    with prepare(Request.blank("/", environ=environ), registry) as env:
        token = push_scope(env["request"].site)
        try:
            yield env["request"]
        finally:
            pop_scope(token)
