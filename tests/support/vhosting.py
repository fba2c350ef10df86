"""Support for the tests of vhosts: ini files, modules with applications, and requests."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple
from wsgiref.util import setup_testing_defaults

import paste.deploy
import pytest

from multisite.vhosts.dispatcher import Vhosts

_numbers = itertools.count()


class Answer(NamedTuple):
    status: int
    text: str
    headers: dict[str, str]


def ask(app: Any, url: str, **environ: Any) -> Answer:
    """Return the response of `app` to GET `url`, `//host:port/path`, with a decoded path as in WSGI."""
    host, slash, path = url.removeprefix("//").partition("/")
    asked: dict[str, Any] = {"HTTP_HOST": host, "SCRIPT_NAME": "", "PATH_INFO": slash + path}
    setup_testing_defaults(asked)
    asked |= environ
    asked = {key: value for key, value in asked.items() if value is not None}
    answered: list[Any] = []
    body = app(asked, lambda status, headers, exc_info=None: answered.extend([status, headers]))
    text = b"".join(body).decode()
    if hasattr(body, "close"):
        body.close()
    return Answer(int(answered[0].split()[0]), text, dict(answered[1]))


class World:
    """A folder with modules and an ini file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix = f"vhosted{next(_numbers)}"

    def module(self, name: str, text: str) -> str:
        """Write a module and return its unique name; PREFIX in `text` is replaced by the name's prefix."""
        full = f"{self.prefix}_{name}"
        (self.folder / f"{full}.py").write_text(dedent(text).replace("PREFIX", self.prefix), "utf-8")
        importlib.invalidate_caches()
        return full

    def ini(self, text: str) -> Path:
        """Write the ini file; PREFIX is replaced by the prefix of module names."""
        path = self.folder / "site.ini"
        path.write_text(dedent(text).replace("PREFIX", self.prefix), "utf-8")
        return path

    def forget(self) -> None:
        """Remove imported modules from `sys.modules`."""
        for name in [name for name in sys.modules if name.startswith(f"{self.prefix}_")]:
            del sys.modules[name]

    def load(self, text: str, name: str | None = None) -> Vhosts:
        """Write the ini file and load it as a server does."""
        app: Vhosts = paste.deploy.loadapp(f"config:{self.ini(text)}", name=name)
        return app


@contextmanager
def world_in(folder: Path) -> Iterator[World]:
    """Yield a `World` in `folder`, whose modules can be imported and are removed afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        # A module written twice within a second would be loaded from its first bytecode.
        patch.setattr(sys, "dont_write_bytecode", True)
        world = World(folder)
        world.module("echo", ECHO)
        yield world
        world.forget()


ECHO = '''
    """Applications that report their name and their WSGI paths."""
    made = []

    def main(global_conf, **settings):
        made.append(settings)
        def app(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{settings['me']} {environ['SCRIPT_NAME']!r} {environ['PATH_INFO']!r}".encode()]
        app.settings = settings
        return app
'''
