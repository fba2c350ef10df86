"""The state of a site: open, in maintenance with a message and an announced end, or disabled."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from pyramid.config import Configurator
from pyramid.request import Request

from multisite.console.pages import add_page, done, translate
from multisite.console.site_list_pages import explain
from multisite.console.site_pages import SITE_PATTERN, find_record, site_url, site_variables
from multisite.directory.matching import BYPASS_NAME
from multisite.directory.records import SiteRecord
from multisite.errors import MultisiteError
from multisite.private_pages import field
from multisite.sites.availability import MAX_MESSAGE_CHARACTERS, disable_site, enable_site, maintain_site

__all__ = ["includeme"]


def state(request: Request) -> Any:
    """The state of a site, and its change. The link past the maintenance page is shown once."""
    record, error, link = find_record(request), None, None
    if request.method == "POST":
        try:
            link = _change(request, record)
        except MultisiteError as refused:
            error = explain(request, refused)
        except ValueError:
            error = translate(request, "This is not a time.")
        if error is not None:
            request.response.status_int = 400
        else:
            request.console.directory.refresh_soon()
            if link is None:
                return done(request, "saved", "state", id=record.site.id)
            record = find_record(request)
    return site_variables(
        request,
        record,
        error=error,
        link=link,
        message=field(request, "message"),
        until=field(request, "until"),
        maximum=MAX_MESSAGE_CHARACTERS,
    )


def _change(request: Request, record: SiteRecord) -> str | None:
    """Set the state, and return the link past the maintenance page, if there is one."""
    engine, action, domain = request.console.engine, field(request, "action"), record.site.domain
    if action == "open":
        enable_site(engine, domain)
    elif action == "disable":
        disable_site(engine, domain)
    elif action == "maintain":
        until = field(request, "until")
        _record, token = maintain_site(
            engine,
            domain,
            message=field(request, "message").strip() or None,
            until=datetime.fromisoformat(until) if until else None,
        )
        return f"{site_url(request, record)}?{urlencode({BYPASS_NAME: token})}"
    else:
        raise MultisiteError(f"there is no action '{action[:40]}'")
    return None


def includeme(config: Configurator) -> None:
    """Add the page."""
    add_page(config, "state", SITE_PATTERN + "/state", state, "state", role="run")
