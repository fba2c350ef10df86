"""Names that are too long for the database: shortened as SQLAlchemy does, and not renamed later."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic_application import Application
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from multisite.alembic.migrate import upgrade_own
from multisite.directory.models import metadata as own
from multisite.scoping import SiteScoped, scoped_reference, site_id_column
from multisite.users import Account

GROUPS, ASSIGNMENTS, LINKS = "permission_groups", "permission_assignments", "permission_group_assignments"
KEYS = ("permission_group_id", "permission_assignment_id")
FULL = f"uq_{LINKS}_site_id_{'_'.join(KEYS)}"
SHORT = "uq_permission_group_assignments_site_id_permission_grou_5839"
"""How SQLAlchemy shortens it: 55 characters and four of a hash."""


def scoped(convention: dict[str, str] | None = None) -> sa.MetaData:
    metadata = sa.MetaData(naming_convention=convention)
    for name in (GROUPS, ASSIGNMENTS):
        sa.Table(name, metadata, site_id_column(), sa.Column("id", sa.Integer, primary_key=True))
    targets = (f"{GROUPS}.id", f"{ASSIGNMENTS}.id")
    columns = [
        sa.Column(key, scoped_reference(target), primary_key=True) for key, target in zip(KEYS, targets, strict=True)
    ]
    sa.Table(LINKS, metadata, site_id_column(), *columns)
    return metadata


def plain() -> sa.MetaData:
    metadata = sa.MetaData()
    for name in (GROUPS, ASSIGNMENTS):
        sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True))
    targets = (f"{GROUPS}.id", f"{ASSIGNMENTS}.id")
    columns = [
        sa.Column(key, sa.ForeignKey(target), primary_key=True) for key, target in zip(KEYS, targets, strict=True)
    ]
    sa.Table(LINKS, metadata, *columns)
    return metadata


@pytest.fixture
def application(database_url: str) -> Iterator[Application]:
    engine = sa.create_engine(database_url)
    yield Application(engine)
    engine.dispose()


def names(engine: sa.Engine) -> set[str | None]:
    return {unique["name"] for unique in sa.inspect(engine).get_unique_constraints(LINKS)}


def name_of(engine: sa.Engine) -> str:
    return SHORT if engine.dialect.name == "postgresql" else FULL


def test_a_long_name_is_shortened_if_the_database_needs_it(application: Application) -> None:
    metadata = scoped()
    own.create_all(application.engine)
    metadata.create_all(application.engine)
    assert names(application.engine) == {name_of(application.engine)}
    assert len(SHORT) <= 63 < len(FULL)


def test_a_conversion_gives_the_same_name(application: Application) -> None:
    metadata = scoped()
    plain().create_all(application.engine)
    with application.engine.begin() as connection:
        upgrade_own(connection)
    up = application.revise(metadata)
    assert up.count("op.add_site_scope(") == 3
    assert names(application.engine) == {name_of(application.engine)}
    assert application.proposed(metadata) == ("", "")
    application.undo(plain())
    assert application.proposed(plain()) == ("", "")


def test_a_table_created_by_a_revision_gets_the_same_name(application: Application) -> None:
    metadata = scoped()
    with application.engine.begin() as connection:
        upgrade_own(connection)
    application.revise(metadata)
    assert names(application.engine) == {name_of(application.engine)}
    assert application.proposed(metadata) == ("", "")


def test_a_name_that_postgresql_has_truncated_is_kept(application: Application) -> None:
    """Conversions of earlier releases have left such names."""
    metadata = scoped()
    own.create_all(application.engine)
    metadata.create_all(application.engine)
    cut = FULL.encode()[:63].decode()
    if application.engine.dialect.name == "postgresql":
        application.execute(f"ALTER TABLE {LINKS} RENAME CONSTRAINT {SHORT} TO {cut}")
        assert names(application.engine) == {cut}
    assert application.proposed(metadata) == ("", "")


@pytest.mark.parametrize("change", ["postgresql: RENAME CONSTRAINT"])  # Not available on SQLite.
def test_negative_control_another_name_is_a_difference(application: Application, change: str) -> None:
    metadata = scoped()
    own.create_all(application.engine)
    metadata.create_all(application.engine)
    application.execute(f"ALTER TABLE {LINKS} {change.partition(': ')[2]} {SHORT} TO uq_other")
    assert "uq_other" in application.proposed(metadata)[0]


def test_the_login_of_an_account_with_a_long_name(application: Application) -> None:
    class Base(DeclarativeBase):
        pass

    table_name = "accounts_of_people_who_have_been_invited_to_some_gardens"

    class Invited(SiteScoped, Account, Base):
        __tablename__ = table_name
        id: Mapped[int] = mapped_column(primary_key=True)

    own.create_all(application.engine)
    Base.metadata.create_all(application.engine)
    found = {each["name"] for each in sa.inspect(application.engine).get_unique_constraints(table_name)}
    assert len(found) == 2
    if application.engine.dialect.name == "postgresql":
        assert all(len(str(name)) <= 63 for name in found)


def test_names_are_counted_in_bytes_on_postgresql(postgresql_database_url: str) -> None:
    """PostgreSQL truncates the constraint names that it generates by bytes; such a name is kept."""
    engine = sa.create_engine(postgresql_database_url)
    application = Application(engine)
    table = "gärten_die_größer_sind_als_öffentliche_gärten"
    application.execute(f'CREATE TABLE "{table}" (id int PRIMARY KEY, "überschrift" varchar(9) UNIQUE)')
    (old,) = sa.inspect(engine).get_unique_constraints(table)
    with engine.begin() as connection:
        upgrade_own(connection)
    application.run(f"op.add_site_scope({table!r}, site='www.example.com')", sa.MetaData())
    found = {each["name"] for each in sa.inspect(engine).get_unique_constraints(table)}
    assert old["name"] in found
    engine.dispose()
