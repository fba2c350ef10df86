"""The media of a site: upload files, describe them, see where they are used, and remove them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden, HTTPNotFound, HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response

from multisite.content.editor.addressed import number_of
from multisite.content.editor.pages import add_page, logged_in, translate, variables
from multisite.content.editor.uploads import uploaded_files
from multisite.content.models import Entry
from multisite.content.revisions import entry_owners
from multisite.media.errors import MediaRefused
from multisite.private_pages import field

if TYPE_CHECKING:  # These need the extra `media`, without which the editor works too.
    from multisite.media import MediaLibrary, SiteMedia

__all__ = ["Uploaded", "includeme", "markdown_of", "picture_choices", "save_files"]

LIST_SIZE = 24
"""Files on one page."""

MAX_UNUSED = 200
"""Unused files on one page, which are found by reading all texts."""

MAX_CHOICES = 50
"""Pictures that the form of an entry offers."""

MAX_ALT_CHARACTERS = 1000
"""Characters of what a picture shows."""

_SPECIAL = re.compile(r"([\\`*_\[\]<&])")


@dataclass
class Uploaded:
    """The files of a form that are in the media now, and why others are not."""

    media: list[SiteMedia] = dataclass_field(default_factory=list)
    refused: list[str] = dataclass_field(default_factory=list)

    @property
    def error(self) -> str | None:
        """The reasons in one text, None if all files were accepted."""
        return " ".join(self.refused) or None


def library_of(request: Request) -> MediaLibrary:
    """Return the media of the site. 404 if the application has none."""
    if not hasattr(request, "media_library"):
        raise HTTPNotFound
    found: MediaLibrary = request.media_library
    return found


def save_files(request: Request, *, alt: str = "", decorative: bool = False) -> Uploaded:
    """Add the files of the form to the media of the site."""
    library, found = library_of(request), Uploaded()
    for each in uploaded_files(request):
        try:
            media = library.save_upload(
                request.dbsession, request.site, each.file, each.name, alt=alt, decorative=decorative
            )
        except MediaRefused as error:
            reason = translate(request, error.text, **error.values)
            found.refused.append(
                translate(request, "{name} was not accepted: {reason}.", name=each.name, reason=reason)
            )
        else:
            found.media.append(media)
    if not found.media and not found.refused:
        found.refused.append(translate(request, "Choose a file."))
    return found


def markdown_of(media: SiteMedia, alt: str = "") -> str:
    """Return the Markdown that shows a picture, or links to another file."""
    if media.width is None:
        return f"[{_escaped(media.name)}]({media.path})"
    return f"![{_escaped(alt)}]({media.path})"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def answer(request: Request) -> tuple[str, bool]:
    """Return what the form says a picture shows, and whether the picture is decorative."""
    decorative = bool(field(request, "decorative"))
    printable = "".join(c if c.isprintable() else " " for c in field(request, "alt"))
    return ("" if decorative else " ".join(printable.split())), decorative


def media_list(request: Request) -> Any:
    """The media of the site, the newest first; a POST uploads files."""
    library, session = library_of(request), request.dbsession
    if request.method == "POST":
        return _upload(request)
    model, before = library.model, number_of(request.GET.get("before", ""))
    unused = bool(request.GET.get("unused"))
    if unused:
        used = library.used_digests(session)
        found = [media for media in library.list_all(session) if media.digest not in used][:MAX_UNUSED]
        more = False
    else:
        statement = sa.select(model).order_by(model.id.desc()).limit(LIST_SIZE + 1)
        found = list(session.scalars(statement if before is None else statement.where(model.id < before)))
        found, more = found[:LIST_SIZE], len(found) > LIST_SIZE
    done = translate(request, "The file is removed.") if request.GET.get("done") else None
    return _shown(request, found=found, more=found[-1].id if more else None, unused=unused, done=done)


def _shown(request: Request, **values: Any) -> dict[str, Any]:
    library = library_of(request)
    shown: dict[str, Any] = {
        "found": [],
        "more": None,
        "unused": False,
        "thumbnail": lambda media: thumbnail_path(request, media),
        "used_bytes": library.used_bytes(request.dbsession),
        "quota_bytes": library.quota_bytes(request.site),
        "megabytes": lambda number: request.format.number(round(number / 1_000_000, 1)),
    }
    return variables(request, **{**shown, **values})


def picture_choices(request: Request, chosen: str) -> list[tuple[str, str]]:
    """Return the paths, each with a name, of the newest pictures, and of the one that is chosen already."""
    found: dict[str, str] = {}
    if hasattr(request, "media_library"):
        model = request.media_library.model
        statement = sa.select(model).where(model.width.is_not(None)).order_by(model.id.desc()).limit(MAX_CHOICES)
        for media in request.dbsession.scalars(statement):
            found[media.path] = f"{media.name} – {media.alt}" if media.alt else media.name
    if chosen:
        found.setdefault(chosen, chosen.rpartition("/")[2])
    return list(found.items())


def thumbnail_path(request: Request, media: SiteMedia) -> str | None:
    """Return the path of the smallest version of a picture; None for another file."""
    if media.width is None:
        return None
    smallest = min(media.widths, default=None)
    path = media.path if smallest is None else f"/media/{media.digest}/{media.smaller_name(smallest)}"
    return f"{request.script_name}{path}"


def _upload(request: Request) -> Any:
    """Add the files of the form. A script gets JSON, and asks afterwards what the pictures show."""
    if "application/json" in request.headers.get("Accept", ""):
        uploaded = save_files(request)
        status = 200 if uploaded.media else 400
        files = [_described(request, media) for media in uploaded.media]
        return Response(json_body={"files": files, "error": uploaded.error}, status=status)
    alt, decorative = answer(request)
    if not alt and not decorative:
        request.response.status_int = 400
        error = translate(request, "Say what the picture shows, or that it is decorative.")
        return _shown(request, error=error)
    uploaded = save_files(request, alt=alt, decorative=decorative)
    if uploaded.refused:
        request.response.status_int = 400
        return _shown(request, found=uploaded.media, error=uploaded.error)
    return HTTPSeeOther(request.route_path("editor_file", digest=uploaded.media[0].digest, _query={"done": "added"}))


def _described(request: Request, media: SiteMedia) -> dict[str, Any]:
    """Return what the script of the form needs."""
    is_answered = media.width is None or media.decorative or bool(media.alt)
    return {
        "name": media.name,
        "picture": None if media.width is None else media.path,
        "thumbnail": thumbnail_path(request, media),
        "alt": media.alt,
        "decorative": media.decorative,
        "address": request.route_path("editor_file", digest=media.digest),
        "markdown": markdown_of(media, media.alt) if is_answered else None,
    }


def media_file(request: Request) -> Any:
    """One file: what it shows, where it is used; a POST changes the description, or removes the file."""
    library, session = library_of(request), request.dbsession
    media = library.find(session, request.matchdict["digest"])
    if media is None:
        raise HTTPNotFound
    error = None
    if request.method == "POST" and field(request, "action") == "remove":
        if logged_in(request).user.role == "author":
            raise HTTPForbidden
        if field(request, "sure") or not library.users_of(session, media):
            library.remove(session, request.site, media)
            return HTTPSeeOther(request.route_path("editor_media", _query={"done": "removed"}))
        error = translate(request, "Nothing was removed: tick the box to confirm.")
    elif request.method == "POST":
        response = _describe(request, media)
        if response is not None:
            return response
        error = translate(request, "Say what the picture shows, or that it is decorative.")
    if error is not None:
        request.response.status_int = 400
    names = library.users_of(session, media)
    entries = _entries(request, names)
    return variables(
        request,
        media=media,
        markdown=markdown_of(media, media.alt),
        entries=entries,
        others=len(names) - len({entry.slug for entry in entries}),
        thumbnail=thumbnail_path(request, media),
        megabytes=request.format.number(round(media.bytes / 1_000_000, 2)),
        when=request.format.datetime,
        error=error,
        done={
            "added": translate(request, "The file is uploaded."),
            "saved": translate(request, "The description is saved."),
        }.get(request.GET.get("done", "")),
    )


def _describe(request: Request, media: SiteMedia) -> Response | None:
    """Save what a picture shows. Return None if the form does not say it."""
    alt, decorative = answer(request)
    if not alt and not decorative:
        if "application/json" in request.headers.get("Accept", ""):
            error = translate(request, "Say what the picture shows, or that it is decorative.")
            return Response(json_body={"error": error}, status=400)
        return None
    media.alt, media.decorative = alt[:MAX_ALT_CHARACTERS], decorative
    if "application/json" in request.headers.get("Accept", ""):
        return Response(json_body=_described(request, media))
    return HTTPSeeOther(request.route_path("editor_file", digest=media.digest, _query={"done": "saved"}))


def _entries(request: Request, slugs: list[str]) -> list[Entry]:
    """Return the entries with these slugs that the user may change."""
    user = logged_in(request).user
    statement = sa.select(Entry).where(Entry.slug.in_(slugs)).order_by(Entry.title).limit(LIST_SIZE)
    if user.role == "author":
        own = sa.select(entry_owners.c.entry_id).where(entry_owners.c.user_id == user.id)
        statement = statement.where(Entry.id.in_(own))
    return list(request.dbsession.scalars(statement))


def includeme(config: Configurator) -> None:
    """Add the pages."""
    add_page(config, "media", "/edit/media", media_list, "media", role="author", takes_files=True)
    add_page(config, "file", "/edit/media/{digest:[0-9a-f]{64}}", media_file, "file", role="author")
