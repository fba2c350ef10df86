"""What the command line needs to know from an ini file, read without importing the application or Pyramid."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plaster

from multisite.errors import MultisiteError
from multisite.settings import Settings, parse_settings

__all__ = ["Ini", "read_ini"]


@dataclass(frozen=True)
class Ini:
    """An ini file, read. `port` is the one that `[server:main]` listens on, None for the default of http."""

    path: Path
    settings: Settings
    database_url: str
    port: int | None
    has_alembic: bool


def read_ini(uri: str | Path) -> Ini:
    """Return what `uri`, a file name as Pyramid's own commands take it (`some.ini` or `some.ini#app`), holds.

    Raises `SettingError` for a bad setting, and `MultisiteError` for a file that is missing or cannot be read, or that
    names no database.
    """
    path, section = _split(str(uri))
    if not path.is_file():
        raise MultisiteError(
            f"there is no file {path}: name your ini file as in 'multisite -c production.ini', or in MULTISITE_CONFIG"
        )
    try:
        loader = plaster.get_loader(str(uri), protocols=["wsgi"])
        sections = loader.get_sections()
        app = _app_settings(loader, section)
        server = loader.get_settings("server:main")
    except (configparser.Error, plaster.PlasterError, UnicodeDecodeError, LookupError, OSError) as error:
        raise MultisiteError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if section not in sections:
        raise MultisiteError(f"{path} has no section [{section}]: name another one as in 'multisite -c {path}#name'")
    settings = parse_settings(app)
    database_url = settings.database_url or app.get("sqlalchemy.url")
    if not database_url:
        raise MultisiteError(f"{path} names no database: set sqlalchemy.url in [{section}]")
    return Ini(path, settings, database_url, _port(server), "alembic" in sections)


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


def _port(server: Mapping[str, str]) -> int | None:
    """Return the port of a `[server:main]` as waitress reads it: the first one of `listen`, else `port`, else 8080."""
    first = (server.get("listen") or "").split()[:1]
    found = re.search(r":(\d{1,5})$", first[0]) if first else re.fullmatch(r"\d{1,5}", server.get("port", "8080"))
    port = int(found.group(found.lastindex or 0)) if found else 8080
    return None if port == 80 else port
