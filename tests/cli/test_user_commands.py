"""The commands for the users of a site."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from command_folder import Folder
from databases import migrate_own
from paths import ROOT
from sqlalchemy.orm import Session

from multisite.content.tables import Base, User
from multisite.directory import engine_from_url
from multisite.directory.records import get_site

LINK = re.compile(r"http://\S+/login/([\w-]{43})$", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, sqlite_database_url: str) -> Folder:
    """A folder with two sites of the reference application."""
    made = Folder(tmp_path, sqlite_database_url)
    shutil.copytree(ROOT / "templates", tmp_path / "templates")
    engine = engine_from_url(sqlite_database_url)
    migrate_own(engine)
    Base.metadata.create_all(engine)
    engine.dispose()
    for host in ("garden.localhost", "kitchen.localhost"):
        assert made.invoke("add-site", host).exit_code == 0
    return made


def prints(folder: Folder, *arguments: str) -> str:
    result = folder.invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def user_of(folder: Folder, host: str, token: str) -> str | None:
    """Return the login of the user whose link has `token`."""
    engine = engine_from_url(folder.database_url, poolclass=sa.NullPool)
    site = get_site(engine, host).site
    with Session(engine, info={"site": site}) as session:
        found = User.find_by_link(session, site, token)
        return found and found.login


def test_an_operator_adds_changes_and_removes_users(folder: Folder) -> None:
    out = prints(folder, "add-user", "garden.localhost", "Olga", "--email", "olga@example.com", "--role", "owner")
    assert out.startswith(
        "Added Olga to garden.localhost as owner.\nGive them this link to choose a password. It works"
    )
    found = LINK.search(out)
    assert found is not None
    assert found[0].startswith("http://garden.localhost:6543/login/")
    assert user_of(folder, "garden.localhost", found[1]) == "Olga"
    assert user_of(folder, "kitchen.localhost", found[1]) is None
    prints(folder, "add-user", "garden.localhost", "emil", "--role", "editor")
    assert prints(folder, "list-users", "garden.localhost").splitlines() == [
        "emil                           editor     (has not chosen a password)",
        "Olga                           owner    olga@example.com  (has not chosen a password)",
    ]
    assert prints(folder, "list-users", "kitchen.localhost") == ""
    assert prints(folder, "set-role", "garden.localhost", "EMIL", "owner") == "emil is now owner of garden.localhost.\n"
    reset = LINK.search(prints(folder, "reset-password", "garden.localhost", "olga"))
    assert reset is not None
    assert user_of(folder, "garden.localhost", found[1]) is None
    assert user_of(folder, "garden.localhost", reset[1]) == "Olga"
    assert json.loads(prints(folder, "export-user", "garden.localhost", "olga")) == {
        "login": "Olga",
        "email": "olga@example.com",
        "role": "owner",
        "has_password": False,
        "log_ins": [],
        "revisions": [],
        "autosaves": [],
    }
    assert prints(folder, "remove-user", "garden.localhost", "olga") == "Removed olga from garden.localhost.\n"
    assert [each["login"] for each in json.loads(prints(folder, "list-users", "garden.localhost", "--json"))] == [
        "emil"
    ]


def test_the_last_owner_stays(folder: Folder) -> None:
    prints(folder, "add-user", "garden.localhost", "olga", "--role", "owner")
    prints(folder, "add-user", "kitchen.localhost", "otto", "--role", "owner")
    wanted = "olga is the last owner of garden.localhost: make another user an owner first"
    assert folder.fails("remove-user", "garden.localhost", "olga") == wanted
    assert folder.fails("set-role", "garden.localhost", "olga", "author") == wanted
    assert "olga" in prints(folder, "list-users", "garden.localhost")


def test_mistakes_are_explained(folder: Folder) -> None:
    prints(folder, "add-user", "garden.localhost", "olga", "--role", "owner")
    cases = {
        ("add-user", "garden.localhost", "OLGA", "--role", "author"): "already has a user with the login 'OLGA'",
        ("add-user", "garden.localhost", "x", "--role", "author", "--email", "x"): "'x' is not an e-mail address",
        ("add-user", "nowhere.localhost", "x", "--role", "author"): "no site is known as 'nowhere.localhost'",
        ("remove-user", "kitchen.localhost", "olga"): "kitchen.localhost has no user with the login 'olga'",
        ("export-user", "kitchen.localhost", "olga"): "kitchen.localhost has no user with the login 'olga'",
        ("reset-password", "kitchen.localhost", "olga"): "kitchen.localhost has no user with the login 'olga'",
    }
    for arguments, reason in cases.items():
        assert reason in folder.fails(*arguments)
    assert prints(folder, "list-users", "kitchen.localhost") == ""


def test_the_link_may_have_another_address_of_the_site(folder: Folder) -> None:
    arguments = ("add-user", "garden.localhost", "olga", "--role", "owner", "--json", "--url")
    for url in ("https://kitchen.localhost", "https://evil.example", "ftp://garden.localhost", "garden.localhost"):
        assert f"'{url}' is not an address of garden.localhost" in folder.fails(*arguments, url)
    assert prints(folder, "list-users", "garden.localhost") == ""
    link = json.loads(prints(folder, *arguments, "https://garden.localhost/"))["link"]
    assert link.startswith("https://garden.localhost/login/")


def test_a_mail_server_that_does_not_answer_loses_neither_user_nor_link(folder: Folder) -> None:
    folder.write(app="multisite.mail = smtp://127.0.0.1:9")
    result = folder.invoke("add-user", "garden.localhost", "olga", "--role", "owner", "--email", "olga@example.com")
    assert result.exit_code == 0
    assert "Error: the mail server 127.0.0.1 rejected the message" in result.stderr
    found = LINK.search(result.stdout)
    assert found is not None
    assert user_of(folder, "garden.localhost", found[1]) == "olga"


PLAIN = """
from pyramid.config import Configurator

def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.include("multisite")
    return config.make_wsgi_app()
"""


def test_an_application_without_users_says_so(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.path / "plain_application.py").write_text(PLAIN)
    monkeypatch.syspath_prepend(folder.path)
    ini = folder.path / "development.ini"
    ini.write_text(ini.read_text().replace("egg:pyramid-multisite", "call:plain_application:main"))
    for arguments in (("list-users",), ("add-user", "--role", "owner"), ("remove-user",), ("export-user",)):
        name, *options = arguments
        logins = [] if name == "list-users" else ["olga"]
        line = folder.fails(name, "garden.localhost", *logins, *options)
        assert line.startswith("this application has no class of users: name one with config.set_site_user(User")
