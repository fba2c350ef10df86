"""Users of a site and operators of all sites: unique logins, argon2 passwords, and the login throttle."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from databases import closing_engine, fresh_database, make_own_tables
from pyramid.config import Configurator
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, declarative_base, mapped_column

from multisite import MultisiteError, Site, all_sites
from multisite.check import run
from multisite.core.keys import DIRECTORY
from multisite.directory.models import SiteRow
from multisite.users import Account, LoginThrottle, SiteUser, TooManyAttempts, fold_login

PASSWORD = "correct horse battery staple"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention={"uq": "uq_%(table_name)s_%(column_0_name)s"})


class User(SiteUser, Base):
    __tablename__ = "test_users"
    __table_args__ = (sa.UniqueConstraint("site_id", "nickname"),)
    password_hasher = CHEAP

    id: Mapped[int] = mapped_column(primary_key=True)
    nickname: Mapped[str | None]


class Editor(User):
    __tablename__ = "test_editors"
    __table_args__ = (sa.ForeignKeyConstraint(["site_id", "id"], ["test_users.site_id", "test_users.id"]),)

    id: Mapped[int] = mapped_column(primary_key=True)


class Operator(Account, Base):
    __tablename__ = "test_operators"
    password_hasher = CHEAP

    id: Mapped[int] = mapped_column(primary_key=True)


OldBase: Any = declarative_base()


class OldUser(SiteUser, OldBase):
    __tablename__ = "test_old_users"
    id: Mapped[int] = mapped_column(primary_key=True)


ONE, TWO = (Site(number, f"{name}.example", name, name) for number, name in ((1, "one"), (2, "two")))


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
        for model in (Editor.__table__, User.__table__, Operator.__table__):
            session.execute(sa.delete(model))
    for model in (User, Operator):
        model.login_throttle = LoginThrottle()
    return tables


def at(engine: sa.Engine, site: Site | None) -> Session:
    return Session(engine, info={"site": site} if site is not None else None)


def add(engine: sa.Engine, site: Site | None, login: str = "admin", model: Any = User, password: str = PASSWORD) -> int:
    """Add a user to a site, and return the id."""
    with at(engine, site) as session, session.begin():
        user = model(login=login)
        user.set_password(password)
        session.add(user)
        session.flush()
        found: int = user.id
        return found


def test_admin_of_one_site_does_not_exist_on_another(engine: sa.Engine) -> None:
    mine = add(engine, ONE)
    with at(engine, ONE) as session:
        user = User.log_in(session, "admin", PASSWORD)
        assert user is not None
        assert user.id == mine
        assert User.log_in(session, "admin", PASSWORD + "!") is None
        assert User.log_in(session, "somebody", PASSWORD) is None
    with at(engine, TWO) as session:
        assert User.log_in(session, "admin", PASSWORD) is None
        assert User.find(session, "admin") is None
        assert session.get(User, mine) is None


def test_without_site_scoping_an_account_is_valid_on_every_site(engine: sa.Engine) -> None:
    add(engine, None, model=Operator)
    for site in (ONE, TWO):
        with at(engine, site) as session:
            assert Operator.log_in(session, "admin", PASSWORD) is not None


def test_a_login_is_unique_within_its_site_regardless_of_case(engine: sa.Engine) -> None:
    add(engine, ONE, "Admin")
    with pytest.raises(IntegrityError):
        add(engine, ONE, "ADMIN")
    add(engine, TWO, "admin", password="another password altogether")
    add(engine, None, "Root", Operator)
    with pytest.raises(IntegrityError):
        add(engine, None, "root", Operator)
    with at(engine, ONE) as session:
        user = User.log_in(session, " aDMIN ", PASSWORD)
        assert user is not None
        assert user.login == "Admin"


def test_the_login_key_follows_the_login(engine: sa.Engine) -> None:
    add(engine, ONE)
    with at(engine, ONE) as session, session.begin():
        user = User.find(session, "admin")
        assert user is not None
        user.login = "Chief"
    with at(engine, ONE) as session:
        assert User.find(session, "chief") is not None
        assert User.find(session, "admin") is None
        # Core sets it too, and cannot omit it.
        session.execute(sa.insert(User.__table__).values(login="New"))
        assert User.find(session, "new") is not None


FOLDED = [
    ("Admin", "admin"),
    (" admin ", "admin"),
    ("STRASSE", "straße"),
    ("ＡＤＭＩＮ", "admin"),  # noqa: RUF001  Of full width, as Japanese keyboards have it.
    ("Zoe\u0308", "ZOË"),
    ("İ", "i̇"),
    ("Jane@Example.com", "jane@example.com"),
]


@pytest.mark.parametrize(("one", "other"), FOLDED)
def test_logins_are_compared_without_case_width_and_composition(one: str, other: str) -> None:
    assert fold_login(one) == fold_login(other) == fold_login(fold_login(one))


@pytest.mark.parametrize("login", ["", "  ", "a\0b", "a\nb", "\u202eadmin", "x" * 255, "e\u0301" * 200, "\ud800"])
def test_an_invalid_login_is_rejected_and_finds_nobody(engine: sa.Engine, login: str) -> None:
    with pytest.raises(ValueError, match="a login has 1 to 254 printable characters"):
        User(login=login)
    with at(engine, ONE) as session:
        assert User.find(session, login) is None
        assert User.log_in(session, login, PASSWORD) is None


def test_passwords_are_hashed_and_have_a_minimum_length(engine: sa.Engine) -> None:
    user = User(login="admin")
    assert not user.check_password("")
    user.set_password(PASSWORD)
    assert user.password_hash is not None
    assert user.password_hash.startswith("$argon2id$")
    assert PASSWORD not in user.password_hash
    assert not user.check_password("")
    for bad in ("", "x" * 14, "x" * 1001, "e\u0301" * 600):
        with pytest.raises(ValueError, match="15 to 1000 characters"):
            user.set_password(bad)
    # Typed on keyboards that compose characters and on those that do not.
    user.set_password("Zoë" + "!" * 20)
    assert user.check_password("Zoe\u0308" + "!" * 20)
    assert not user.check_password("Zoe" + "!" * 20)
    assert not user.check_password("x" * 1_000_000)
    # Not even if the first 1001 of them are composed to the password.
    user.set_password("é" + "한" * 333)
    assert user.check_password("é" + "한" * 333)
    assert not user.check_password("e\u0301" + "\u1112\u1161\u11ab" * 333 + "?")
    assert not user.check_password("\ud800")


def test_the_default_parameters_are_those_of_the_rfc() -> None:
    hasher = SiteUser.password_hasher
    assert (hasher.type.name, hasher.memory_cost, hasher.time_cost, hasher.parallelism) == ("ID", 65536, 3, 4)
    user = OldUser(login="admin")
    user.set_password(PASSWORD)
    assert user.check_password(PASSWORD)


def test_a_hash_with_other_parameters_is_replaced_at_the_next_login(engine: sa.Engine) -> None:
    add(engine, ONE)
    stronger = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    before = User.password_hasher
    try:
        User.password_hasher = stronger
        with at(engine, ONE) as session, session.begin():
            user = User.log_in(session, "admin", PASSWORD)
            assert user is not None
        with at(engine, ONE) as session:
            user = User.find(session, "admin")
            assert user is not None
            assert user.password_hash is not None
            assert "m=16,t=2" in user.password_hash
            replaced = user.password_hash
            assert user.check_password(PASSWORD)
            assert user.password_hash == replaced
    finally:
        User.password_hasher = before


class Counting(PasswordHasher):
    """A hasher that records its calls."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified: list[str] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> Any:  # noqa: A002  As the hasher calls it.
        self.verified.append(str(hash))
        return super().verify(hash, password)


def test_an_unknown_login_takes_as_long_as_a_known_one(engine: sa.Engine) -> None:
    add(engine, ONE)
    with at(engine, ONE) as session, session.begin():
        session.add(User(login="without-password"))
        session.add(User(login="disabled", password_hash="!"))
        session.add(User(login="broken", password_hash="$argon2id$v=19$m=8,t=1,p=1$no"))
    before, counting = User.password_hasher, Counting()
    try:
        User.password_hasher = counting
        with at(engine, ONE) as session:
            for login in ("admin", "nobody", "without-password", "\0", "disabled", "broken"):
                assert User.log_in(session, login, "wrong" * 10) is None
    finally:
        User.password_hasher = before
    # Algorithm, version and parameters, which determine the time.
    (_parameters,) = {tuple(known.split("$")[1:4]) for known in counting.verified}
    assert len(counting.verified) == 6


class Recording(Counting):
    """A hasher that verifies nothing."""

    def verify(self, hash: str | bytes, password: str | bytes) -> Any:  # noqa: A002  As the hasher calls it.
        self.verified.append(str(hash))
        raise VerifyMismatchError


@pytest.mark.parametrize(
    ("cost", "is_verified"),
    [
        ("m=2097152,t=1,p=4", True),  # The first recommended parameters of RFC 9106.
        ("m=1048576,t=4,p=1", True),  # crypto_pwhash_OPSLIMIT_SENSITIVE of libsodium.
        ("m=8,t=4294967295,p=1", False),
        ("m=4194304,t=1,p=1", False),
        ("m=1048576,t=1,p=65536", False),
    ],
)
def test_a_hash_that_would_take_hours_or_all_memory_is_not_verified(
    engine: sa.Engine, cost: str, is_verified: bool
) -> None:
    hashed = f"$argon2id$v=19${cost}$c29tZXNhbHQ$RdescudvJCsgt3ub+b0dWRWJTmaaJObG"
    with at(engine, ONE) as session, session.begin():
        session.add(User(login="imported", password_hash=hashed))
    before, recording = User.password_hasher, Recording()
    try:
        User.password_hasher = recording
        with at(engine, ONE) as session:
            assert User.log_in(session, "imported", "wrong" * 10) is None
    finally:
        User.password_hasher = before
    assert len(recording.verified) == 1
    assert (recording.verified == [hashed]) is is_verified


def test_attempts_at_one_site_do_not_lock_the_other(engine: sa.Engine) -> None:
    for site in (ONE, TWO):
        add(engine, site)
    add(engine, None, model=Operator)
    with at(engine, ONE) as session:
        for login in ("admin", "nobody"):  # Whether a login exists is not revealed by this either.
            for number in range(10):
                assert User.log_in(session, login.upper() if number % 2 else login, "wrong") is None
            with pytest.raises(TooManyAttempts, match="try again in 900 seconds") as raised:
                User.log_in(session, login, PASSWORD)
            assert raised.value.retry_after_seconds == 900
        assert User.log_in(session, "other", PASSWORD) is None
        assert Operator.log_in(session, "admin", PASSWORD) is not None
    with at(engine, TWO) as session:
        assert User.log_in(session, "admin", PASSWORD) is not None


def test_a_successful_login_resets_the_count(engine: sa.Engine) -> None:
    add(engine, ONE)
    with at(engine, ONE) as session:
        for _ in range(3):
            for _ in range(9):
                assert User.log_in(session, "admin", "wrong") is None
            assert User.log_in(session, "admin", PASSWORD) is not None


def test_attempts_are_allowed_again_after_the_pause_and_memory_is_bounded() -> None:
    now = [0.0]
    attempts = LoginThrottle(2, 60.0, max_keys=100, clock=lambda: now[0])
    for _ in range(2):
        attempts.record_attempt("a")
    now[0] = 59.5
    with pytest.raises(TooManyAttempts) as raised:
        attempts.record_attempt("a")
    assert raised.value.retry_after_seconds == 1
    now[0] = 60.0
    attempts.record_attempt("a")
    for number in range(1000):
        attempts.record_attempt(number)
    assert len(attempts._counts) == 100


def test_a_count_survives_fifty_thousand_other_keys() -> None:
    attempts = LoginThrottle()
    for _ in range(10):
        attempts.record_attempt("blocked")
    for _ in range(9):
        attempts.record_attempt("nearly")
    for number in range(50_000):
        for _ in range(1 + number % 3):
            attempts.record_attempt(number)
    with pytest.raises(TooManyAttempts):
        attempts.record_attempt("blocked")
    attempts.record_attempt("nearly")
    with pytest.raises(TooManyAttempts):
        attempts.record_attempt("nearly")
    for number in range(50_000):  # Other logins are not affected.
        attempts.record_attempt(number)


def test_a_key_is_only_displaced_by_keys_with_the_same_number_of_attempts() -> None:
    attempts = LoginThrottle(3, max_keys=5)

    def exhaust(key: object, times: int) -> None:
        for _ in range(times):
            attempts.record_attempt(key)

    exhaust("a", 3)
    for number in range(1_000):
        exhaust(number, 2)
    assert len(attempts._counts) <= 3 * 5
    with pytest.raises(TooManyAttempts):
        attempts.record_attempt("a")
    # New keys are still counted, so filling the memory with other keys first does not help an attacker.
    exhaust("b", 3)
    with pytest.raises(TooManyAttempts):
        attempts.record_attempt("b")
    for number in range(2_000, 2_004):
        exhaust(number, 3)
    with pytest.raises(TooManyAttempts):
        attempts.record_attempt("b")
    exhaust(2_004, 3)
    attempts.record_attempt("a")
    attempts.reset("b")
    exhaust("b", 3)
    assert sum(map(len, attempts._keys_by_count)) == len(attempts._counts) <= 3 * 5


def test_concurrent_attempts_are_all_counted() -> None:
    attempts = LoginThrottle(10)

    def try_once(_number: int) -> bool:
        try:
            attempts.record_attempt("a")
        except TooManyAttempts:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(try_once, range(200))) == 10


def test_a_user_of_a_site_logs_in_at_a_site(engine: sa.Engine) -> None:
    with Session(engine) as session, pytest.raises(MultisiteError, match="logs in at one site"):
        User.log_in(session, "admin", PASSWORD)
    with all_sites("test"), Session(engine) as session, pytest.raises(MultisiteError, match="logs in at one site"):
        User.log_in(session, "admin", PASSWORD)


def test_each_table_has_its_unique_key_once_and_its_own_arguments() -> None:
    def uniques(model: Any) -> set[tuple[str, ...]]:
        found = [each for each in model.__table__.constraints if isinstance(each, sa.UniqueConstraint)]
        assert len({each.name for each in found}) == len(found)
        return {tuple(column.name for column in each.columns) for each in found}

    assert uniques(User) == {("site_id", "login_key"), ("site_id", "nickname"), ("site_id", "id")}
    assert uniques(OldUser) == {("site_id", "login_key"), ("site_id", "id")}
    assert uniques(Operator) == {("login_key",)}
    assert ("site_id", "login_key") not in uniques(Editor)


def test_a_subclass_with_a_table_of_its_own_logs_in_too(engine: sa.Engine) -> None:
    add(engine, ONE, "editor", Editor)
    with at(engine, ONE) as session:
        assert isinstance(Editor.log_in(session, "editor", PASSWORD), Editor)
        assert User.log_in(session, "editor", PASSWORD) is not None
    with at(engine, TWO) as session:
        assert Editor.log_in(session, "editor", PASSWORD) is None


def test_the_check_command_reports_no_finding_for_users(engine: sa.Engine, tmp_path: Any) -> None:
    (tmp_path / "templates").mkdir()
    settings = {
        "sqlalchemy.url": engine.url.render_as_string(hide_password=False),
        "multisite.sites_dir": str(tmp_path / "sites"),
        "multisite.templates_dir": str(tmp_path / "templates"),
    }

    def findings(**more: str) -> list[str]:
        with Configurator(settings={**settings, **more}) as config:
            config.include("multisite")
        app = config.make_wsgi_app()
        found = run(app, metadata=[Base.metadata])
        app.registry[DIRECTORY].engine.dispose()
        return [f"{finding.kind} {finding.subject}" for finding in found if "test_" in finding.subject]

    # A table without a site is reported until it is declared as global.
    assert findings() == ["unscoped-table test_operators"]
    assert findings(**{"multisite.global_tables": "test_operators"}) == []
