"""What the command line needs to know from an ini file, read without importing the application or Pyramid."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plaster

from multisite import program
from multisite.errors import MultisiteError
from multisite.settings import Settings, parse_settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from multisite.site import Site

__all__ = ["Ini", "read_ini"]


@dataclass(frozen=True)
class Ini:
    """An ini file, read.

    `server_host` and `server_port` are where the server that `multisite.server_file` names, or else `[server:main]`,
    can be reached from this machine.
    """

    path: Path
    settings: Settings
    database_url: str
    server_host: str
    server_port: int
    has_alembic: bool

    def address(self, site: Site) -> str:
        """Return the address to open in a browser for the pages of `site`, by its canonical domain."""
        port = site.port or self.server_port
        return f"http://{site.host}{'' if port == 80 else f':{port}'}{site.path}/"

    def open_engine(self, *, as_owner: bool = False) -> Engine:
        """Return an engine for the tables of multisite, for one command: it keeps no connection open.

        With `as_owner` it is one on `multisite.owner_url`, if that is set, for who may change tables. Raises
        `MultisiteError` if the URL is none, if its driver is not installed, if it is that of another database than
        SQLite and PostgreSQL or of one in memory, which would be gone with the command, and unless `as_owner`, for
        tables older or newer than this multisite.
        """
        # Reading an ini for its settings should not cost the import of SQLAlchemy.
        from sqlalchemy import NullPool
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError

        from multisite.directory.engines import check_engine, engine_from_url
        from multisite.directory.revision import check_schema_version

        url = (self.settings.owner_url if as_owner else None) or self.database_url
        # All of the URL that is repeated: the rest may hold a password.
        kind = url.partition("://")[0]
        try:
            engine = engine_from_url(url, poolclass=NullPool)
        except (ArgumentError, NoSuchModuleError, ValueError) as error:
            raise MultisiteError(
                f"{self.path}: the database URL '{kind}://...' cannot be used ({' '.join(str(error).split())})"
            ) from error
        except ModuleNotFoundError as error:
            hint = "install it, or name another one as in DATABASE+DRIVER://..."
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
    """Return what `uri`, a file name as Pyramid's own commands take it (`some.ini` or `some.ini#app`), holds.

    Raises `SettingError` for a bad setting, and `MultisiteError` for a file that is missing or cannot be read, or that
    names no database.
    """
    path, section = _split(str(uri))
    if path.is_dir():
        raise MultisiteError(f"{path} is a folder: name the ini file in it")
    if not path.is_file():
        raise MultisiteError(
            f"there is no file {path}: name your ini file as in '{program.command('-c production.ini')}', or in "
            "MULTISITE_CONFIG"
        )
    try:
        loader = plaster.get_loader(str(uri), protocols=["wsgi"])
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
        # PasteDeploy would say that the distribution 'multisite' is missing, and whoever installs that gets another.
        raise MultisiteError(
            f"{path}: 'use = egg:multisite' names somebody else's distribution: write 'use = egg:pyramid-multisite'"
        )
    settings = parse_settings(app)
    # The last is that of several applications in one process: multisite.vhosts.
    shared = loader.get_settings("multisite:shared")
    database_url = settings.database_url or app.get("sqlalchemy.url") or shared.get("sqlalchemy.url")
    if not database_url:
        raise MultisiteError(f"{path} names no database: set sqlalchemy.url in [{section}]")
    running = _running(settings.server_file)
    reachable = _reachable({"listen": running} if running else server)
    return Ini(path, settings, database_url, *reachable, "alembic" in sections)


def _reason(error: Exception) -> str:
    """Return why an ini file cannot be read, without its values, which may hold passwords."""
    if isinstance(error, plaster.PlasterError):
        return "the name of an ini file ends in .ini"
    if isinstance(error, configparser.InterpolationMissingOptionError):
        return f"[{error.section}] {error.option}: there is no %({error.reference})s"
    if isinstance(error, configparser.InterpolationError):
        return f"[{error.section}] {error.option}: a percent sign is written twice, as %%"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} stands before the first [section]"
    if isinstance(error, configparser.ParsingError):
        return f"line {error.errors[0][0]} is neither [section] nor KEY = VALUE"
    return " ".join(str(error).split())


def _split(uri: str) -> tuple[Path, str]:
    """Return the absolute path and the name of the application's section that `uri` means."""
    try:
        parsed = plaster.parse_uri(uri)
    except plaster.PlasterError:
        return Path(uri).absolute(), "app:main"
    return Path(parsed.path).absolute(), f"app:{parsed.fragment or 'main'}"


def _app_settings(loader: Any, section: str) -> Mapping[str, str]:
    app: Mapping[str, str] = loader.get_settings(section)
    if not app.get("use", "egg:").startswith(("egg:", "call:")):
        # The section builds on another one. Only PasteDeploy follows that, at the price of importing the application.
        app = loader.get_wsgi_app_settings(section.removeprefix("app:"))
    return app


_LISTEN = re.compile(r"(.*):(\d{1,5})")
_EVERYWHERE = {"", "*", "0.0.0.0", "[::]", "::"}  # noqa: S104 (recognised here, not listened on)


def _running(file: Path | None) -> str | None:
    """Return `host:port` as a running server has written it into `file`; None if it has not, or not that."""
    try:
        text = "" if file is None else file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if _LISTEN.fullmatch(text) else None


def _reachable(server: Mapping[str, str]) -> tuple[str, int]:
    """Return host and port of a `[server:main]` as waitress reads it: the first of `listen`, else `host` and `port`."""
    port = server.get("port", "")
    listen = [match.groups() for item in server.get("listen", "").split() if (match := _LISTEN.fullmatch(item))]
    host, found = listen[0] if listen else (server.get("host", ""), port if port.isdigit() else "8080")
    return ("localhost" if host in _EVERYWHERE else host), int(found)
