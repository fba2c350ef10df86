"""Probe an application once: plant canary templates and settings, and try another site's session and log-in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pyramid.interfaces import ISecurityPolicy, ISessionFactory
from pyramid.request import Request
from pyramid.response import Response
from pyramid.scripting import prepare

from multisite.core.current_site import pop_scope, push_scope
from multisite.core.keys import DIRECTORY, SETTINGS
from multisite.errors import MultisiteError
from multisite.sites.settings.values import set_settings
from multisite.testing.canaries import Canaries
from multisite.testing.seed import CANARY_HOST, CANARY_SITE
from multisite.web.renderer import TEMPLATES
from multisite.web.site_settings import SITE_SETTINGS

__all__ = ["accepted_cookies", "plant_settings", "plant_templates", "remove_templates"]

_KEY = "canary"


def plant_templates(registry: Any, canaries: Canaries) -> None:
    """Give the canary site its own copy of every shared template, with a canary at the end."""
    settings, templates = registry[SETTINGS], registry[TEMPLATES]
    if not settings.sites_dir.is_dir():
        return
    folder = settings.sites_dir / CANARY_SITE.folder
    for name in templates.names(None):
        with suppress(Exception):  # A broken template is not the detector's concern.
            with templates.overlay.find(name, None).open() as opened:
                text = opened.file.read().decode("utf-8")
            path = folder / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n{canaries.text(f'the template {name}')}\n", "utf-8")


def plant_settings(registry: Any, canaries: Canaries) -> None:
    """Set every site setting that accepts any text or integer to a canary, for the canary site."""
    declared = registry.get(SITE_SETTINGS)
    for setting in () if declared is None else declared.describe(CANARY_SITE):
        place = f"the setting {setting.name}"
        for value in (canaries.text(place), str(canaries.number(place))):
            with suppress(MultisiteError):  # The setting has another type, or rejects the value.
                set_settings(registry[DIRECTORY].engine, CANARY_HOST, {setting.name: value}, declared=declared)
                break


def remove_templates(registry: Any) -> None:
    """Remove what `plant_templates` wrote."""
    shutil.rmtree(registry[SETTINGS].sites_dir / CANARY_SITE.folder, ignore_errors=True)


def accepted_cookies(registry: Any, host: str, canaries: Canaries) -> Iterator[str]:
    """Yield which credentials of the canary site ("the session", "the log-in") the site at `host` accepts."""
    text = canaries.text("a cookie")
    with suppress(Exception):  # A session or policy may need something that the probe does not have.
        if registry.queryUtility(ISessionFactory) is not None:
            cookies = _session_cookies(registry, text)
            with _request(registry, host, cookies) as request:
                if cookies and request.session.get(_KEY) == text:
                    yield "the session"
    policy = registry.queryUtility(ISecurityPolicy)
    # A name and a number, since a policy for one may fail with the other.
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
