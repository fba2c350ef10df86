"""`multisite list-media`, `add-media`, `remove-media` and `prune-media`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from multisite.cli.arguments import HostCommand, json_option
from multisite.cli.output import print_json, print_json_list
from multisite.core import program
from multisite.errors import MultisiteError

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.orm import Session

    from multisite.core.site import Site
    from multisite.media import MediaLibrary, SiteMedia

__all__ = ["add_media", "library_when_needed", "list_media", "open_library", "prune_media", "remove_media"]

_DIGEST = re.compile(r"(?:.*/media/)?([0-9a-f]{8,64})(?:/[^/]*)?")
"""A SHA-256, at least its first eight digits, or an address with it."""


class NoMedia(MultisiteError):
    """The application has no media."""


class _Opened(NamedTuple):
    """The library of an application, and the engines of its sites and of its media."""

    library: MediaLibrary
    directory: Engine
    engine: Engine

    def record(self, session: Session, what: str, site: Site, **values: Any) -> None:
        """Record what `session` has done to the media of a site in the operator log."""
        from multisite.sites.operator_log import record_in

        record_in(session, self.directory, what, site, **values)

    @contextmanager
    def session_for(self, host: str) -> Iterator[tuple[Session, Site]]:
        """Yield a session for the site with this domain, and the site; nothing is committed."""
        from sqlalchemy.orm import Session

        from multisite.directory.records import get_site

        site = get_site(self.directory, host).site
        with Session(self.engine, info={"site": site}) as session:
            yield session, site


@contextmanager
def open_library(ini_uri: str) -> Iterator[_Opened]:
    """Yield the media library of an application, which is loaded for it.

    Raises:
        MultisiteError: The application has no media.
    """
    from pyramid.interfaces import IRequestFactory
    from pyramid.request import Request
    from pyramid.scripting import prepare

    from multisite.core.keys import DIRECTORY
    from multisite.web.loading import load

    registry = load(ini_uri).registry
    if DIRECTORY not in registry:
        raise MultisiteError('this application does not include multisite: config.include("multisite") is missing')
    directory = registry[DIRECTORY].engine
    library = registry.get("multisite.media_library")
    try:
        if library is None:
            raise NoMedia(
                "this application has no media: pip install 'pyramid-multisite[media]', and call "
                "config.set_site_media(Media) if it is not multisite.content"
            )
        request = registry.queryUtility(IRequestFactory, default=Request).blank("/")
        with prepare(request, registry) as environment:
            session = getattr(environment["request"], "dbsession", None)
            engine = directory if session is None else session.get_bind(library.model)
        yield _Opened(library, directory, engine)
    finally:
        directory.dispose()


@contextmanager
def library_when_needed(ini_uri: str) -> Iterator[Callable[[], MediaLibrary | None]]:
    """Yield a function that returns the media library of an application, or None; it loads the application once."""
    with ExitStack() as stack:

        @cache
        def library() -> MediaLibrary | None:
            try:
                return stack.enter_context(open_library(ini_uri)).library
            except NoMedia:
                return None

        yield library


@click.command("list-media", cls=HostCommand)
@click.argument("host")
@click.option("--unused", is_flag=True, help="List only files that nothing refers to.")
@json_option
@click.pass_obj
def list_media(ini_uri: str, host: str, unused: bool, as_json: bool) -> None:
    """List the media of a site.

    HOST is any domain of the site. Each line has the beginning of the SHA-256, the format, the size and the path.
    """
    with open_library(ini_uri) as opened, opened.session_for(host) as (session, site):
        found = opened.library.list_all(session)
        if unused:
            used = opened.library.used_digests(session)
            found = (media for media in found if media.digest not in used)
        if as_json:
            print_json_list(map(_as_dict, found))
            return
        for media in found:
            click.echo(_line(media))
        click.echo(f"{site} uses {opened.library.used_bytes(session):,} bytes for media.")


def _line(media: SiteMedia) -> str:
    pixels = "" if media.width is None else f" {media.width}×{media.height}"
    return f"{media.digest[:12]}  {media.format}{pixels}, {media.bytes:,} bytes  {media.path}"


def _logged(media: SiteMedia) -> dict[str, Any]:
    return {"name": media.name, "sha256": media.digest}


def _as_dict(media: SiteMedia) -> dict[str, Any]:
    names = ("digest", "name", "format", "width", "height", "bytes", "alt", "decorative", "path")
    return {**{name: getattr(media, name) for name in names}, "uploaded": media.uploaded.isoformat()}


@click.command("add-media", cls=HostCommand)
@click.argument("host")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--alt", default="", metavar="TEXT", help="What the picture shows, for those who do not see it.")
@click.option("--decorative", is_flag=True, help="The picture needs no such text.")
@json_option
@click.pass_obj
def add_media(ini_uri: str, host: str, files: tuple[Path, ...], *, alt: str, decorative: bool, as_json: bool) -> None:
    """Add files to the media of a site.

    HOST is any domain of the site. Each FILE is a picture (JPEG, PNG, GIF, WebP), a video (MP4, WebM), a sound (MP3,
    M4A, Ogg, WAV, FLAC) or a PDF. A file that is refused does not keep the others from being added.
    """
    from multisite.media import MediaRefused

    if alt and (decorative or len(files) > 1):
        raise click.UsageError("--alt describes one picture: pass one FILE, and leave out --decorative.")
    added, failed = [], False
    with open_library(ini_uri) as opened, opened.session_for(host) as (session, site):
        for path in files:
            try:
                with path.open("rb") as stream:
                    media = opened.library.save_upload(session, site, stream, path.name, alt=alt, decorative=decorative)
                opened.record(session, "add-media", site, after=_logged(media))
                session.commit()
            except (MediaRefused, OSError) as error:
                session.rollback()
                failed = True
                reason = error.strerror if isinstance(error, OSError) else error
                click.echo(f"{click.format_filename(path)}: {reason}", err=True)
                continue
            added.append(_as_dict(media))
            if not as_json:
                click.echo(_line(media))
    if as_json:
        print_json(added)
    if failed:
        raise SystemExit(1)


@click.command("remove-media", cls=HostCommand)
@click.argument("host")
@click.argument("names", nargs=-1, required=True, metavar="MEDIA...")
@click.option("--force", is_flag=True, help="Remove files that entries refer to, too.")
@click.pass_obj
def remove_media(ini_uri: str, host: str, names: tuple[str, ...], force: bool) -> None:
    """Remove files from the media of a site, all of them or none.

    HOST is any domain of the site. MEDIA is the beginning of a SHA-256, as list-media prints it, or a path.
    """
    with open_library(ini_uri) as opened, opened.session_for(host) as (session, site):
        chosen = {media.id: media for media in (_find(opened.library, session, site, name) for name in names)}
        for media in chosen.values():
            users = opened.library.users_of(session, media)
            if users and not force:
                raise MultisiteError(
                    f"{media.path} is used by {', '.join(users[:5])}{' and others' * (len(users) > 5)}: change them "
                    "first, or pass --force; nothing was removed"
                )
            opened.record(session, "remove-media", site, before=_logged(media))
            opened.library.remove(session, site, media)
        session.commit()
    click.echo(f"Removed {len(chosen)} from the media of {site}.")


def _find(library: MediaLibrary, session: Session, site: Site, name: str) -> SiteMedia:
    digits = _DIGEST.fullmatch(name)
    found = [] if digits is None else library.starting_with(session, digits[1])
    if len(found) != 1:
        what = "has no such media" if not found else "has several such media"
        listed = program.command(f"list-media {site}")
        raise MultisiteError(f"'{name}': {site} {what}: '{listed}' lists them")
    return found[0]


@click.command("prune-media")
@click.pass_obj
def prune_media(ini_uri: str) -> None:
    """Remove media files that belong to no site.

    A killed process can leave such files behind. They are removed once they are a day old.
    """
    from multisite.media.pruning import prune
    from multisite.sites.operator_log import record_now

    with open_library(ini_uri) as opened:
        removed = prune(opened.library, opened.directory, opened.engine)
        record_now(opened.directory, "prune-media", after={"uploads": removed})
    click.echo(f"Removed {removed} uploads that belong to no site.")
