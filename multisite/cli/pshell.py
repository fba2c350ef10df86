"""Run a Python shell, or code, with a request for one site: pshell, limited to a site.

`multisite shell HOST` calls `run`. For pshell itself, set `setup = multisite.cli.pshell.setup` in the section
`[pshell]` of the ini; it uses the site that the environment variable MULTISITE_SITE names.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from pyramid.config import global_registries
from pyramid.interfaces import IRequestFactory
from pyramid.paster import get_app
from pyramid.request import Request
from pyramid.scripting import prepare
from pyramid.scripts.pshell import PShellCommand
from transaction.interfaces import NoTransaction

from multisite.core import program
from multisite.core.current_site import using_site
from multisite.core.keys import DIRECTORY, SHIFTED_PATH
from multisite.core.site import Site
from multisite.errors import UnknownSite
from multisite.sites.each_site import SITE_VARIABLE
from multisite.sites.ini import with_distribution

__all__ = ["run", "run_code", "setup"]

Env = dict[str, Any]


def run(ini_uri: str, site: Site, shell: Callable[[Env, str], None] | None = None) -> int:
    """Load the application of `ini_uri` and run a shell for `site`.

    The namespace is that of pshell, with the additions of the section `[pshell]` in the ini, plus `site`, `dbsession`
    (if the application has one) and `tm`. A transaction is begun, and aborted at the end; a `setup` of the application
    replaces this.

    Args:
        ini_uri: The ini file, with `#name` for another section than `app:main`.
        site: The site.
        shell: Takes the namespace and a help text. None chooses a shell as pshell does.

    Returns:
        The exit code.
    """
    with using_site(site):
        return _SiteShell(ini_uri, site).run(shell) or 0


def run_code(code: str, name: str) -> Callable[[Env, str], None]:
    """Return a shell for `run` that executes `code`, called `name` in tracebacks, and exits with 1 if it raises."""

    def shell(env: Env, _help: str) -> None:
        try:
            exec(compile(code, name, "exec"), env)  # noqa: S102  # The operator's own code.
        except Exception as error:
            # Without our own frame; a SyntaxError has no other.
            inner = error.__traceback__ and error.__traceback__.tb_next
            traceback.print_exception(error.with_traceback(inner))
            sys.exit(1)

    return shell


def setup(env: Env) -> Iterator[None]:
    """Limit pshell to the site that MULTISITE_SITE names; without that variable, change nothing.

    Raises:
        UnknownSite: No site has that domain.
        InvalidHost: The variable is not a valid domain.
    """
    host = os.environ.get(SITE_VARIABLE)
    if not host:
        yield
        return
    site = env["registry"][DIRECTORY].resolve(host)
    if site is None:
        sites = program.command("list-sites")
        raise UnknownSite(host, f"no site is known as '{host}', which {SITE_VARIABLE} names: {sites}")
    _pin(env, site)
    with using_site(site):
        yield from _in_transaction(env)


class _SiteShell(PShellCommand):  # type: ignore[misc]  # Pyramid has no types.
    """pshell with a request for one site."""

    def __init__(self, ini_uri: str, site: Site) -> None:
        super().__init__(["multisite", ini_uri])
        self.bootstrap = partial(_bootstrap, site)

    def pshell_file_config(self, loader: Any, defaults: Any) -> None:
        super().pshell_file_config(loader, defaults)
        own = self.resolver.maybe_resolve(self.setup) if self.setup else None
        self.setup: Any = _in_transaction if own is None or own is setup else own

    def run(self, shell: Callable[[Env, str], None] | None = None) -> Any:
        if shell is not None:
            # PYTHONSTARTUP is for interactive shells: `python -c` does not run it either.
            self.pystartup = None
        return super().run(shell)


def _bootstrap(site: Site, ini_uri: str, options: Any = None) -> Env:
    """Do what `pyramid.paster.bootstrap` does, with a request for `site` from the application's request factory."""
    app = get_app(with_distribution(ini_uri), options=options)
    registry = global_registries.last
    request = registry.queryUtility(IRequestFactory, default=Request).blank("/", environ=_environ(site))
    env: Env = prepare(request, registry)
    env["app"] = app
    _pin(env, site)
    return env


def _environ(site: Site) -> dict[str, str]:
    host = site.host if site.port is None else f"{site.host}:{site.port}"
    return {"HTTP_HOST": host, "SCRIPT_NAME": site.path, SHIFTED_PATH: site.path}


def _pin(env: Env, site: Site) -> None:
    """Make the request of a shell one for `site`, even if the site is offline."""
    request = env["request"]
    request.environ.update(_environ(site))
    request.site = env["site"] = site
    with suppress(AttributeError):  # The application may have none.
        env["dbsession"] = request.dbsession


def _in_transaction(env: Env) -> Iterator[None]:
    """Begin a transaction and abort it at the end, unless the user commits it."""
    tm = env["tm"] = env["request"].tm
    tm.begin()
    try:
        yield
    finally:
        # With an explicit manager, there is nothing to abort after a commit.
        with suppress(NoTransaction):
            tm.abort()
