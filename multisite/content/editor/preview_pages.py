"""Previews: an entry as a page of its site, in the site's own layout, before it is published.

There are three: of the saved entry, of what is typed into its form, and for anyone with the link.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import Response

from multisite.content.editor.addressed import addressed_entry, number_of
from multisite.content.editor.autosaves import entry_of_key
from multisite.content.editor.entry_form import EntryForm
from multisite.content.editor.pages import add_page, logged_in, protect, translate, variables
from multisite.content.editor.preview_links import LINK_DAYS, find_linked, list_links, make_link, withdraw_link
from multisite.content.entry_text import EntryText
from multisite.content.markup.dialects import Dialect
from multisite.content.markup.markdown import NestingTooDeep, render_stored
from multisite.content.media import find_uploaded
from multisite.content.models import Entry
from multisite.content.page_paths import is_page_slug
from multisite.content.site_paths import add_path_to_text
from multisite.content.slugs import slugify
from multisite.private_pages import field

__all__ = ["LINK_PATH", "includeme"]

LINK_PATH = "/preview/{token}"
"""The path of an entry for those who have a link."""

_NAMES = (
    "id",
    "slug",
    "title",
    "summary",
    "body",
    "body_html",
    "updated",
    "draft",
    "source",
    "author",
    "picture",
    "tags",
)
"""Attributes of an entry that templates read, beside `published`."""

_POLICY = (
    "default-src 'self'; img-src * data:; media-src *; script-src 'none'; object-src 'none'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors "
)
POLICY = _POLICY + "'none'"
"""The Content-Security-Policy of a preview, which is a page of the site's own layout: no script runs in it."""

FRAMED_POLICY = _POLICY + "'self'"
"""The same for the preview that the form of an entry shows in a frame."""


def preview(request: Request) -> Response:
    """The saved entry, as a page of the site."""
    return _page(request, _shown(addressed_entry(request)))


def linked(request: Request) -> Response:
    """The saved entry for anyone with the link. No cache may keep it, and no search engine may list it."""
    entry = find_linked(request.dbsession, request.site, request.matchdict["token"])
    if entry is None:
        return protect(HTTPNotFound())  # Not raised: the address would be counted as missing, with the token in it.
    response = _page(request, _shown(entry))
    response.headers["Referrer-Policy"] = "no-referrer"  # The token is in the address.
    return protect(response)


def typed(request: Request) -> Response:
    """What is typed into the form of an entry, as a page of the site in a frame of the form. Nothing is saved."""
    if request.method != "POST":
        raise HTTPNotFound
    entry = entry_of_key(request)
    form = EntryForm.sent(request)
    form.texts["title"] = form.texts["title"].strip() or translate(request, "No title")
    text = form.read(request, draft=False)
    if text is None:
        return _framed(_message(request, " ".join(form.faults.values())))
    dialect = cast(Dialect, "commonmark" if entry is None else entry.dialect)
    try:
        shown = _typed(request, text, dialect, entry)
    except NestingTooDeep:
        return _framed(_message(request, translate(request, "This text is nested too deep, or has too much markup.")))
    return _framed(_page(request, shown))


def _shown(entry: Entry) -> SimpleNamespace:
    """Return an entry as its template reads it. It has a date, and the template cannot change the row."""
    shown = SimpleNamespace(**{name: getattr(entry, name) for name in _NAMES})
    shown.published = entry.published or datetime.now(UTC)
    return shown


def _typed(request: Request, text: EntryText, dialect: Dialect, entry: Entry | None) -> SimpleNamespace:
    rendered = render_stored(text.body, dialect, find_uploaded(request.dbsession))
    return SimpleNamespace(
        id=0 if entry is None else entry.id,
        slug=text.slug if is_page_slug(text.slug) else slugify(text.slug) or slugify(text.title) or "entry",
        title=text.title,
        summary=text.summary or rendered.summary,
        body=text.body,
        body_html=rendered.html,
        published=text.published,
        updated=datetime.now(UTC),
        draft=True,
        source=None,
        author=text.author,
        picture=text.picture,
        tags=[SimpleNamespace(name=name, slug=slugify(name)) for name in text.tags if slugify(name)],
    )


def _page(request: Request, shown: SimpleNamespace) -> Response:
    shown.body_html = add_path_to_text(request.script_name, shown.body_html)
    values: dict[str, Any] = {"title": shown.title, "canonical_url": None}
    if is_page_slug(shown.slug):
        values |= {"page_kind": "page", "page": shown, "parents": []}
    else:
        values |= {"page_kind": "entry", "entry": shown, "newer": None, "older": None}
    response = render_to_response(f"/{values['page_kind']}.mako", values, request=request)
    response.headers["Content-Security-Policy"] = POLICY
    return response


def _message(request: Request, text: str) -> Response:
    return Response(text, status=400, content_type="text/plain", charset="utf-8")


def _framed(response: Response) -> Response:
    """Allow the form of an entry to show the response in a frame."""
    response.headers["Content-Security-Policy"] = FRAMED_POLICY
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


def links(request: Request) -> Any:
    """The links to an entry; a POST makes one, which is shown once, or withdraws one."""
    entry, session = addressed_entry(request), request.dbsession
    link = None
    if request.method == "POST" and field(request, "action") == "withdraw":
        if not withdraw_link(session, entry, number_of(field(request, "link")) or 0):
            raise HTTPNotFound
        return HTTPSeeOther(request.route_path("editor_links", id=entry.id, _query={"done": 1}))
    if request.method == "POST":
        token = make_link(session, request.site, logged_in(request).user, entry)
        link = request.site_url(request.site, LINK_PATH.replace("{token}", token))
    return variables(
        request,
        entry=entry,
        link=link,
        links=list_links(session, entry),
        days=LINK_DAYS,
        when=lambda seconds: request.format.datetime(datetime.fromtimestamp(seconds, UTC)),
        done=translate(request, "The link is withdrawn.") if request.GET.get("done") else None,
    )


def includeme(config: Configurator) -> None:
    """Add the pages."""
    entry = r"/edit/entries/{id:[1-9]\d{0,17}}"
    add_page(config, "preview", f"{entry}/preview", preview, role="author")
    add_page(config, "links", f"{entry}/links", links, "links", role="author")
    add_page(config, "typed", "/edit/preview", typed, role="author")
    # Also for a token that was copied with a dot, or not to its end: other addresses are counted if they are missing.
    config.add_route("entry_preview", LINK_PATH.replace("{token}", r"{token:[\w-]{30}[^/]*}"))
    config.add_view(
        lambda _context, request: linked(request), route_name="entry_preview", request_method=("GET", "HEAD")
    )
