"""Two sites of the reference application with the console, and operators who log in to it, for the tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyotp
import sqlalchemy as sa
from content_sites import ContentSites
from editor_sites import CHEAP, PASSWORD, editor_sites
from webtest import TestApp

from multisite.console.operators import add_operator, find_by_link
from multisite.core.settings import parse_settings
from multisite.directory.console_tables import (
    attempts_table,
    log_ins_table,
    operators_table,
    passkeys_table,
    sign_ins_table,
)
from multisite.directory.models import AS_MULTISITE
from multisite.sites.worker import Worker
from multisite.users import Account
from multisite.web.site_archive import site_contents
from multisite.web.site_settings import SITE_SETTINGS

__all__ = [
    "CONSOLE",
    "add_operator_with_password",
    "add_passkey_row",
    "console_browser",
    "console_sites",
    "do_jobs",
    "empty_console_tables",
    "form_token",
    "log_in_to_console",
    "next_code",
]

CONSOLE = "console.example"


@contextmanager
def console_sites(database_url: str, folder: Path, *, has_two_workers: bool = False) -> Iterator[ContentSites]:
    """Yield two sites and the console, with passwords that are hashed cheaply."""
    before, Account.password_hasher = Account.password_hasher, CHEAP
    try:
        with editor_sites(database_url, folder, has_two_workers=has_two_workers) as sites:
            sites.settings |= {
                "multisite.console_host": CONSOLE,
                "multisite.refresh_seconds": "0",
                "multisite.archives_dir": str(folder / "archives"),
            }
            yield sites
    finally:
        Account.password_hasher = before


def empty_console_tables(sites: ContentSites) -> None:
    """Remove all operators, log-ins and attempts."""
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        for table in (sign_ins_table, attempts_table, log_ins_table, operators_table):
            connection.execute(sa.delete(table))


def console_browser(sites: ContentSites, **environ: str) -> TestApp:
    """Return a browser on this machine, which sends the Origin of the console as browsers do."""
    host = sites.settings["multisite.console_host"]
    given = {"HTTP_HOST": host, "HTTP_ORIGIN": f"http://{host}", "REMOTE_ADDR": "127.0.0.1"}
    return TestApp(sites.app, extra_environ={**given, **environ})


def next_code(sites: ContentSites, login: str) -> str:
    """Return a code that an operator's app shows, and forget that it was used: a code is good for half a minute."""
    with sites.engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        own = operators_table.c.login == login
        connection.execute(sa.update(operators_table).where(own).values(code_counter=0))
        secret: Any = connection.scalar(sa.select(operators_table.c.code_secret).where(own))
    return pyotp.TOTP(secret).at(time.time())


def add_operator_with_password(sites: ContentSites, login: str, role: str = "everything") -> None:
    """Add an operator with the password `PASSWORD`."""
    token = add_operator(sites.engine, login, role)
    found = find_by_link(sites.engine, token)
    assert found is not None
    fields = {"password": PASSWORD, "repeated": PASSWORD, "code": pyotp.TOTP(found.code_secret).at(time.time())}
    assert console_browser(sites).post(f"/login/{token}", fields).status_code == 303


def add_passkey_row(engine: sa.Engine, login: str, name: str = "Phone") -> int:
    """Add the row of a passkey that no device has, to be listed, renamed and removed; return its id."""
    values = {"credential_id": b"x", "public_key": b"x", "sign_count": 0, "name": name, "created": 1_700_000_000}
    with engine.connect().execution_options(**AS_MULTISITE) as connection, connection.begin():
        operator: Any = connection.scalar(sa.select(operators_table.c.id).where(operators_table.c.login == login))
        values |= {"operator_id": operator, "credential_hash": f"{login} {name}"}
        added = connection.execute(sa.insert(passkeys_table).values(**values))
        return int(added.inserted_primary_key[0])


def log_in_to_console(sites: ContentSites, login: str, role: str | None = None, **environ: str) -> TestApp:
    """Return a browser in which an operator has logged in; with a `role`, the operator is added first."""
    if role is not None:
        add_operator_with_password(sites, login, role)
    browser = console_browser(sites, **environ)
    fields = {"login": login, "password": PASSWORD, "code": next_code(sites, login)}
    response = browser.post("/login", fields)
    assert response.status_code == 303, response.text
    return browser


def do_jobs(sites: ContentSites) -> list[tuple[str, str]]:
    """Do the jobs that are waiting, as `multisite work --once` does, and return their kinds and statuses."""
    registry = sites.app.registry
    worker = Worker(sites.engine, parse_settings(sites.settings), site_contents(registry), registry[SITE_SETTINGS])
    done: list[tuple[str, str]] = []
    worker.run(once=True, on_done=lambda job, status: done.append((job.kind, status)))
    return done


def form_token(browser: TestApp) -> str:
    """Return the token that the forms of a logged-in browser contain."""
    return str(browser.get("/logout").html.select_one("input[name=csrf_token]")["value"])
