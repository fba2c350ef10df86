"""Read what the commands need from an ini file, without importing the application or Pyramid."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plaster

from multisite.core import program
from multisite.core.settings import Settings, parse_settings
from multisite.errors import MultisiteError

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from multisite.core.site import Site

__all__ = ["Ini", "read_ini", "with_distribution"]


@dataclass(frozen=True)
class Ini:
    """The content of an ini file.

    `server_host` and `server_port` are the address at which the server can be reached from this machine, according to
    `multisite.server_file`, or else to `[server:main]`.
    """

    path: Path
    settings: Settings
    database_url: str
    server_host: str
    server_port: int
    has_alembic: bool

    def address(self, site: Site) -> str:
        """Return the URL of `site` at its canonical domain, for a browser on this machine."""
        port = site.port or self.server_port
        return f"http://{site.host}{'' if port == 80 else f':{port}'}{site.path}/"

    def open_engine(self, *, as_owner: bool = False) -> Engine:
        """Return an engine for the tables of multisite. It keeps no connections open, as one command needs few.

        Args:
            as_owner: Use `multisite.owner_url`, if that is set, to change tables.

        Raises:
            MultisiteError: The URL is not valid; its driver is not installed; the database is neither SQLite nor
                PostgreSQL, or is in memory and would vanish with the command; or, unless `as_owner`, the tables are
                older or newer than this version of multisite.
        """
        # Imported here, so that reading the settings does not import SQLAlchemy.
        from sqlalchemy import NullPool
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError

        from multisite.directory.engines import check_engine, engine_from_url
        from multisite.directory.schema_version import check_schema_version

        url = (self.settings.owner_url if as_owner else None) or self.database_url
        # Messages show no more of the URL, because the rest may contain a password.
        kind = url.partition("://")[0]
        try:
            engine = engine_from_url(url, poolclass=NullPool)
        except (ArgumentError, NoSuchModuleError, ValueError) as error:
            raise MultisiteError(
                f"{self.path}: the database URL '{kind}://...' cannot be used ({' '.join(str(error).split())})"
            ) from error
        except ModuleNotFoundError as error:
            hint = "install it, or choose another one with DATABASE+DRIVER://..."
            if kind.partition("+")[0] == "postgresql":
                hint = "pip install 'pyramid-multisite[postgresql]' and write the URL as postgresql+psycopg://..."
            raise MultisiteError(
                f"the driver for the database URL '{kind}://...' is not installed ({error}): {hint}"
            ) from error
        check_engine(engine)
        if not as_owner:
            check_schema_version(engine)
        return engine


def read_ini(uri: str | Path) -> Ini:
    """Read the ini file `uri`, a name as for Pyramid's own commands (`some.ini` or `some.ini#app`).

    Returns:
        What the commands need from the file.

    Raises:
        SettingError: A setting is not valid.
        MultisiteError: The file is missing, cannot be read, or has no database URL.
    """
    path, section = _split(str(uri))
    if path.is_dir():
        raise MultisiteError(f"{path} is a folder: name an ini file in it")
    if not path.is_file():
        raise MultisiteError(
            f"there is no file {path}: name your ini file as in '{program.command('-c production.ini')}', or in "
            "MULTISITE_CONFIG"
        )
    try:
        loader = plaster.get_loader(with_distribution(str(uri)), protocols=["wsgi"])
        sections = loader.get_sections()
        app = _app_settings(loader, section)
        server = loader.get_settings("server:main")
    except (configparser.Error, plaster.PlasterError, UnicodeDecodeError, LookupError, OSError, ImportError) as error:
        raise MultisiteError(f"{path} cannot be read: {_reason(error)}") from error
    if section not in sections:
        others = [name.removeprefix("app:") for name in sections if name.startswith("app:")]
        another = program.command(f"-c {path}#{others[0] if others else 'name'}")
        raise MultisiteError(f"{path} has no section [{section}]: name another one as in '{another}'")
    if re.fullmatch(r"egg:multisite(#.*)?", app.get("use", "")):
        # PasteDeploy would report the distribution 'multisite' as missing, which on PyPI is another project.
        raise MultisiteError(
            f"{path}: 'use = egg:multisite' is another project's distribution: write 'use = egg:pyramid-multisite'"
        )
    settings = parse_settings(app)
    # For several applications in one process, see multisite.vhosts.
    shared = loader.get_settings("multisite:shared")
    database_url = settings.database_url or app.get("sqlalchemy.url") or shared.get("sqlalchemy.url")
    if not database_url:
        raise MultisiteError(f"{path} has no database URL: set sqlalchemy.url in [{section}]")
    running = _running(settings.server_file)
    reachable = _reachable({"listen": running} if running else server)
    return Ini(path, settings, database_url, *reachable, "alembic" in sections)


def with_distribution(uri: str) -> plaster.PlasterURL:
    """Return `uri` with the distribution that reads ini files, so that plaster does not look through all of them.

    Without one, it reads the metadata of every installed distribution, a tenth of a second.
    """
    parsed = plaster.parse_uri(uri)
    if parsed.scheme != "file+ini":
        return parsed
    scheme = f"plaster_pastedeploy+{parsed.scheme}"
    return plaster.PlasterURL(scheme, path=parsed.path, options=parsed.options, fragment=parsed.fragment)


def _reason(error: Exception) -> str:
    """Return why an ini file cannot be read, without its values, which may contain passwords."""
    if isinstance(error, plaster.PlasterError):
        return "the name of an ini file must end in .ini"
    if isinstance(error, configparser.InterpolationMissingOptionError):
        return f"[{error.section}] {error.option}: there is no %({error.reference})s"
    if isinstance(error, configparser.InterpolationError):
        return f"[{error.section}] {error.option}: write a percent sign as %%"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} is before the first [section]"
    if isinstance(error, configparser.ParsingError):
        return f"line {error.errors[0][0]} is neither [section] nor KEY = VALUE"
    return " ".join(str(error).split())


def _split(uri: str) -> tuple[Path, str]:
    """Return the absolute path and the section of the application in `uri`."""
    try:
        parsed = plaster.parse_uri(uri)
    except plaster.PlasterError:
        return Path(uri).absolute(), "app:main"
    return Path(parsed.path).absolute(), f"app:{parsed.fragment or 'main'}"


def _app_settings(loader: Any, section: str) -> Mapping[str, str]:
    app: Mapping[str, str] = loader.get_settings(section)
    if not app.get("use", "egg:").startswith(("egg:", "call:")):
        # The section extends another one. Only PasteDeploy resolves that, and imports the application for it.
        app = loader.get_wsgi_app_settings(section.removeprefix("app:"))
    return app


_LISTEN = re.compile(r"(.*):(\d{1,5})")
_EVERYWHERE = {"", "*", "0.0.0.0", "[::]", "::"}  # noqa: S104 (compared, not bound)


def _running(file: Path | None) -> str | None:
    """Return the `host:port` that a running server wrote to `file`; None if there is none."""
    try:
        text = "" if file is None else file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if _LISTEN.fullmatch(text) else None


def _reachable(server: Mapping[str, str]) -> tuple[str, int]:
    """Return host and port of `[server:main]` as waitress reads it: the first of `listen`, else `host` and `port`."""
    port = server.get("port", "")
    listen = [match.groups() for item in server.get("listen", "").split() if (match := _LISTEN.fullmatch(item))]
    host, found = listen[0] if listen else (server.get("host", ""), port if port.isdigit() else "8080")
    return ("localhost" if host in _EVERYWHERE else host), int(found)
