"""People of sites: roles, links that work once, the last owner, and mail."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from email import message_from_bytes, policy
from typing import Any

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from databases import closing_engine, fresh_database, make_own_tables
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from multisite import MultisiteError, SettingError, Site, all_sites
from multisite.core.settings import parse_settings
from multisite.directory.models import SiteRow
from multisite.mail import MailError, make_message, send
from multisite.people import (
    SiteMember,
    add_member,
    find_member,
    list_members,
    remove_member,
    reset_password,
    set_role,
)
from multisite.users import SiteUser
from multisite.web.site_user import SITE_USER, site_user_class

PASSWORD = "correct horse battery staple"


class Base(DeclarativeBase):
    pass


class Person(SiteMember, Base):
    __tablename__ = "test_people"
    password_hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    login_throttle = None

    id: Mapped[int] = mapped_column(primary_key=True)


ONE, TWO = (Site(number, f"{name}.example", name.title(), name) for number, name in ((1, "one"), (2, "two")))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def tables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        make_own_tables(engine)
        Base.metadata.create_all(engine)
        with all_sites("a test"), Session(engine) as session, session.begin():
            session.add_all(SiteRow(id=site.id, name=site.name, folder=site.folder) for site in (ONE, TWO))
        yield engine


@pytest.fixture
def engine(tables: sa.Engine) -> sa.Engine:
    with Session(tables, info={"all_sites": "tests"}) as session, session.begin():
        session.execute(sa.delete(Person))
    return tables


@contextmanager
def at(engine: sa.Engine, site: Site) -> Iterator[Session]:
    with Session(engine, info={"site": site}) as session, session.begin():
        yield session


def add(engine: sa.Engine, site: Site, login: str, role: str = "author", **values: Any) -> str:
    with at(engine, site) as session:
        return add_member(session, Person, site, login, role=role, **values)[1]


def roles(engine: sa.Engine, site: Site) -> dict[str, str]:
    with at(engine, site) as session:
        return {each.login: each.role for each in list_members(session, Person)}


# Links.


def test_a_link_is_good_once(engine: sa.Engine) -> None:
    token = add(engine, ONE, "jane")
    with at(engine, ONE) as session:
        assert Person.find_by_link(session, ONE, token) is not None
        with pytest.raises(ValueError, match="15 to 1000"):
            Person.use_link(session, ONE, token, "short")
    with at(engine, ONE) as session:
        used = Person.use_link(session, ONE, token, PASSWORD)
        assert used is not None
        assert (used.login, used.login_generation, used.link_hash) == ("jane", 1, None)
    with at(engine, ONE) as session:
        assert Person.log_in(session, "jane", PASSWORD) is not None
        assert Person.find_by_link(session, ONE, token) is None
        assert Person.use_link(session, ONE, token, PASSWORD + "!") is None
    with at(engine, ONE) as session:
        assert Person.log_in(session, "jane", PASSWORD + "!") is None


def test_a_password_that_is_changed_otherwise_ends_the_link(engine: sa.Engine) -> None:
    token = add(engine, ONE, "jane")
    with at(engine, ONE) as session:
        assert Person.use_link(session, ONE, token, PASSWORD) is not None
        jane = find_member(session, Person, ONE, "jane")
        token = jane.make_link(ONE)
        with pytest.raises(ValueError, match="15 to 1000"):
            jane.set_password("short")
        session.flush()
        assert Person.find_by_link(session, ONE, token) is jane
        jane.set_password(PASSWORD + "!")
        session.flush()
        assert Person.find_by_link(session, ONE, token) is None
        assert Person.use_link(session, ONE, token, PASSWORD) is None


def test_of_many_who_use_a_link_at_once_one_succeeds(engine: sa.Engine) -> None:
    token = add(engine, ONE, "jane")

    def use(number: int) -> bool:
        try:
            with at(engine, ONE) as session:
                return Person.use_link(session, ONE, token, f"{PASSWORD} {number}") is not None
        except sa.exc.OperationalError:  # SQLite: the database is locked.
            return False

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(use, range(8))) == 1


def test_a_link_is_good_for_three_days(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    token, now = add(engine, ONE, "jane"), time.time()
    with at(engine, ONE) as session:
        monkeypatch.setattr(time, "time", lambda: now + 3 * 86_400 - 60)
        assert Person.find_by_link(session, ONE, token) is not None
        monkeypatch.setattr(time, "time", lambda: now + 3 * 86_400 + 60)
        assert Person.find_by_link(session, ONE, token) is None
        assert Person.use_link(session, ONE, token, PASSWORD) is None


def test_a_link_is_valid_on_its_site_alone(engine: sa.Engine) -> None:
    token = add(engine, ONE, "jane")
    add(engine, TWO, "jane")
    with at(engine, TWO) as session:
        assert Person.find_by_link(session, TWO, token) is None
        assert Person.use_link(session, TWO, token, PASSWORD) is None
        # Not even if the row were found: the hash is of the site.
        mine = session.scalars(sa.select(Person)).one()
        mine.link_hash = _hash_of(engine, ONE, "jane")
        session.flush()
        assert Person.find_by_link(session, TWO, token) is None


def _hash_of(engine: sa.Engine, site: Site, login: str) -> str | None:
    with at(engine, site) as session:
        return find_member(session, Person, site, login).link_hash


def test_the_database_does_not_hold_the_token_and_rotating_the_secret_ends_it(engine: sa.Engine) -> None:
    token = add(engine, ONE, "jane")
    assert token not in str(_hash_of(engine, ONE, "jane"))
    with at(engine, ONE) as session:
        assert Person.find_by_link(session, replace(ONE, secret_generation=1), token) is None
        assert Person.find_by_link(session, ONE, "") is None
        assert Person.find_by_link(session, ONE, "\ud800") is None


def test_a_reset_removes_the_password_and_ends_log_ins(engine: sa.Engine) -> None:
    first = add(engine, ONE, "jane")
    with at(engine, ONE) as session:
        assert Person.use_link(session, ONE, first, PASSWORD) is not None
    with at(engine, ONE) as session:
        _member, second = reset_password(session, Person, ONE, "JANE")
    with at(engine, ONE) as session:
        assert Person.log_in(session, "jane", PASSWORD) is None
        member = find_member(session, Person, ONE, "jane")
        assert member.login_generation == 2
        assert Person.find_by_link(session, ONE, second) is member


# Roles.


def test_the_last_owner_is_neither_removed_nor_demoted(engine: sa.Engine) -> None:
    add(engine, ONE, "olga", "owner")
    add(engine, ONE, "emil", "editor")
    add(engine, TWO, "olga", "owner")  # An owner of another site does not count.
    for change in (
        lambda session: set_role(session, Person, ONE, "olga", "editor"),
        lambda session: remove_member(session, Person, ONE, "olga"),
    ):
        with pytest.raises(MultisiteError, match=r"olga is the last owner of one\.example"), at(engine, ONE) as session:
            change(session)
    with at(engine, ONE) as session:
        set_role(session, Person, ONE, "olga", "owner")
        set_role(session, Person, ONE, "emil", "owner")
        set_role(session, Person, ONE, "olga", "author")
    assert roles(engine, ONE) == {"emil": "owner", "olga": "author"}
    with at(engine, ONE) as session:
        remove_member(session, Person, ONE, "olga")
    assert roles(engine, ONE) == {"emil": "owner"}
    assert roles(engine, TWO) == {"olga": "owner"}


def test_two_owners_who_remove_each_other_at_once_leave_one(engine: sa.Engine) -> None:
    for _ in range(5):
        with Session(engine, info={"all_sites": "tests"}) as session, session.begin():
            session.execute(sa.delete(Person))
        for login in ("olga", "otto"):
            add(engine, ONE, login, "owner")
        begin = threading.Barrier(2)

        def remove(login: str, begin: threading.Barrier = begin) -> bool:
            try:
                with at(engine, ONE) as session:
                    find_member(session, Person, ONE, login)
                    begin.wait(30)
                    remove_member(session, Person, ONE, login)
            except (MultisiteError, sa.exc.OperationalError):
                return False
            return True

        with ThreadPoolExecutor(2) as threads:
            assert sum(threads.map(remove, ("olga", "otto"))) == 1
        assert len(roles(engine, ONE)) == 1


def test_a_user_of_another_site_does_not_exist(engine: sa.Engine) -> None:
    add(engine, ONE, "jane")
    for change in (
        lambda session: set_role(session, Person, TWO, "jane", "editor"),
        lambda session: remove_member(session, Person, TWO, "jane"),
        lambda session: reset_password(session, Person, TWO, "jane"),
    ):
        with pytest.raises(MultisiteError, match=r"two\.example has no user .* 'jane'"), at(engine, TWO) as session:
            change(session)
    assert roles(engine, ONE) == {"jane": "author"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"login": ""}, "1 to 254 printable characters"),
        ({"role": "chief"}, "one of owner, editor, author"),
        ({"email": "jane"}, "'jane' is not an e-mail address such as"),
        ({"email": "jane@example.com\nBcc: all@example.com"}, "is not an e-mail address"),
        ({"email": "a" * 250 + "@example.com"}, "is not an e-mail address"),
        ({"login": "TAKEN"}, "already has a user with the login 'TAKEN'"),
    ],
)
def test_bad_input_is_refused(engine: sa.Engine, values: dict[str, str], reason: str) -> None:
    add(engine, ONE, "taken")
    with pytest.raises(MultisiteError, match=reason):
        add(engine, ONE, **{"login": "jane", **values})
    assert roles(engine, ONE) == {"taken": "author"}


# The directive.


def config(tmp_path: Any) -> Configurator:
    made = Configurator(
        settings={
            "sqlalchemy.url": f"sqlite:///{tmp_path / 'x.db'}",
            "multisite.templates_dir": str(tmp_path),
            "multisite.sites_dir": str(tmp_path / "sites"),
        }
    )
    made.include("multisite")
    return made


def test_an_application_names_its_class_of_users(tmp_path: Any) -> None:
    made = config(tmp_path)
    made.set_site_user(Person, link_path="/welcome/{token}")
    made.commit()
    assert made.registry[SITE_USER] == (Person, "/welcome/{token}", None)


def test_an_unsuitable_class_or_path_is_refused(tmp_path: Any) -> None:
    class Plain(SiteUser):
        pass

    with pytest.raises(
        ConfigurationError, match=r"Plain has no role, .*: derive it from multisite\.people\.SiteMember"
    ):
        config(tmp_path).set_site_user(Plain, link_path="/welcome/{token}")
    for path in ("welcome/{token}", "/welcome"):
        with pytest.raises(ConfigurationError, match="link_path is a path with"):
            config(tmp_path).set_site_user(Person, link_path=path)
    with pytest.raises(MultisiteError, match="has no class of users: name one"):
        site_user_class(config(tmp_path).registry)


# Mail.


class _Handler(socketserver.StreamRequestHandler):
    """A mail server that takes one message, and rejects the recipient `nobody@example.com`."""

    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        for line in self.rfile:
            word = line.strip().upper()
            if word == b"DATA":
                self.wfile.write(b"354 go\r\n")
                text = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    text += part
                self.server.messages.append(text)  # type: ignore[attr-defined]
                self.wfile.write(b"250 taken\r\n")
            elif word == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"550 no\r\n" if b"NOBODY@" in word else b"250 ok\r\n")


@contextmanager
def mail_server() -> Iterator[tuple[str, list[bytes]]]:
    """Yield the URL of a mail server, and the messages that it has taken."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        server.messages = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"smtp://127.0.0.1:{server.server_address[1]}", server.messages  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def test_mail_is_sent_from_the_site() -> None:
    site = replace(ONE, name="Müller\r\nBcc: all@example.com")
    with mail_server() as (url, taken):
        settings = parse_settings({"multisite.mail": url})
        send(settings, make_message(site, to="jane@example.com", subject="Wel\ncome", text="Größe\n"))
        with pytest.raises(MailError, match=r"127\.0\.0\.1 rejected the message: .*nobody@example"):
            send(settings, make_message(site, to="nobody@example.com", subject="x", text="y"))
        with_password = parse_settings({"multisite.mail": url.replace("//", "//jane:secret@")})
        with pytest.raises(MailError, match="does not offer STARTTLS"):
            send(with_password, make_message(site, to="jane@example.com", subject="x", text="y"))
    (raw,) = taken
    message = message_from_bytes(raw, policy=policy.default)
    assert message["From"] == '"Müller Bcc: all@example.com" <noreply@one.example>'
    assert (message["To"], message["Subject"], message["Bcc"]) == ("jane@example.com", "Wel come", None)
    assert message.get_content().strip() == "Größe"


def test_a_mail_server_that_is_not_there_is_reported() -> None:
    message = make_message(ONE, to="jane@example.com", subject="x", text="y")
    with pytest.raises(MailError, match=r"the mail server 127\.0\.0\.1 rejected the message"):
        send(parse_settings({"multisite.mail": "smtp://127.0.0.1:9"}), message)
    with pytest.raises(SettingError, match=r"multisite\.mail"):
        send(parse_settings({}), message)


@pytest.mark.parametrize(
    "url", ["localhost", "http://localhost", "smtp://", "smtp://h:99999", "smtp://h/path", "smtp://h?x"]
)
def test_an_unusable_mail_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingError, match=r"multisite\.mail = \(hidden\): expected a URL such as smtp://"):
        parse_settings({"multisite.mail": url})
