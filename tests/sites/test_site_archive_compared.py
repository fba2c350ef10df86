"""After an import, the rows in the database are compared with the archive, value by value."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_database, make_own_tables
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Engine

from multisite.core.current_site import all_sites, using_site
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.records import get_site
from multisite.errors import MultisiteError, UnknownSite
from multisite.scoping import scoped_reference, site_id_column
from multisite.sites import SiteContents, add_site, copy_site, export_site, import_site
from multisite.sites.archive.comparing import RowSum
from multisite.sites.archive.plan import Column
from multisite.sites.archive.values import kind_of

METADATA = sa.MetaData()
NOTES = sa.Table(
    "compared_notes",
    METADATA,
    site_id_column(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("up_id", sa.Integer, scoped_reference("compared_notes.id")),
    sa.Column("body", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("changed", sa.Text, onupdate="now"),
    sa.Column("day", sa.Date),
)
LATER = sa.Table(
    "compared_later",
    METADATA,
    site_id_column(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("note_id", sa.Integer, scoped_reference("compared_notes.id")),
)
CONTENTS = SiteContents([METADATA])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        make_own_tables(engine)
        METADATA.create_all(engine)
        with all_sites("set up a test"), engine.begin() as connection:
            # The model says that the column holds any text.
            narrow = "INTEGER" if engine.dialect.name == "sqlite" else "VARCHAR(3)"
            connection.exec_driver_sql("ALTER TABLE compared_notes DROP COLUMN code")
            connection.exec_driver_sql(f"ALTER TABLE compared_notes ADD code {narrow}")
        yield engine


@pytest.fixture(scope="module")
def settings(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("folders")
    return Settings(sites_dir=folder / "sites", templates_dir=folder / "templates")


@pytest.fixture(scope="module")
def site(engine: Engine, settings: Settings) -> Site:
    site = add_site(engine, f"{engine.dialect.name}.example", settings=settings)
    with using_site(site), engine.begin() as connection:
        connection.execute(sa.insert(NOTES), [{"id": n, "body": f"note {n}", "changed": "then"} for n in (1, 2, 3)])
        connection.execute(sa.update(NOTES).where(NOTES.c.id < 3).values(up_id=3, changed="then"))
        connection.execute(sa.insert(LATER).values(note_id=1))
    return site


TRIGGERS = {
    "a text": (
        "compared_notes",
        "UPDATE compared_notes SET body = upper(body) WHERE id = NEW.id",
        "compared_notes.*body",
    ),
    "one of many": (
        "compared_notes",
        "UPDATE compared_notes SET body = 'x' WHERE id = NEW.id AND body = 'note 2'",
        "compared_notes.*body",
    ),
    "two that are exchanged": (
        "compared_later",
        (
            "UPDATE compared_notes SET body = CASE body WHEN 'note 1' THEN 'note 2' ELSE 'note 1' END "
            "WHERE site_id = NEW.site_id AND body IN ('note 1', 'note 2')"
        ),
        "compared_notes.*several columns",
    ),
    "a reference to a row of the same site": (
        "compared_later",
        "UPDATE compared_later SET note_id = note_id + 1 WHERE id = NEW.id",
        "compared_later.*note_id",
    ),
    "a reference that becomes NULL": (
        "compared_later",
        "UPDATE compared_later SET note_id = NULL WHERE id = NEW.id",
        "compared_later.*note_id",
    ),
    "a date that is none": (
        "compared_notes",
        "UPDATE compared_notes SET day = 'someday' WHERE id = NEW.id",
        "the rows of compared_notes cannot be read after the import|refuses a row of compared_notes",
    ),
    "a row that is deleted": (
        "compared_later",
        "DELETE FROM compared_notes WHERE site_id = NEW.site_id AND body = 'note 2'",
        "2 rows of compared_notes",
    ),
}
"""By what it changes: the table whose rows it follows, the statement of a trigger, and what the message names."""


@pytest.mark.parametrize("fault", TRIGGERS)
def test_trigger_that_changes_a_row_stops_the_import(
    engine: Engine, settings: Settings, site: Site, fault: str
) -> None:
    table, statement, message = TRIGGERS[fault]
    with all_sites("set up a test"), engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql(f"CREATE TRIGGER planted AFTER INSERT ON {table} BEGIN {statement}; END")
        else:
            connection.exec_driver_sql(
                f"CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN {statement}; RETURN NULL; END $$; "
                f"CREATE TRIGGER planted AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION planted()"
            )
    try:
        with pytest.raises(MultisiteError, match=message):
            copy_site(engine, site.host, "copy.example", settings=settings, contents=CONTENTS)
    finally:
        with all_sites("end of a test"), engine.begin() as connection:
            on = f" ON {table}; DROP FUNCTION planted()" if engine.dialect.name == "postgresql" else ""
            connection.exec_driver_sql(f"DROP TRIGGER planted{on}")
    with pytest.raises(UnknownSite):
        get_site(engine, "copy.example")
    assert not (settings.sites_dir / "copy.example").exists()


def test_without_a_trigger_the_rows_are_the_same(engine: Engine, settings: Settings, site: Site) -> None:
    copy_site(engine, site.host, "same.example", settings=settings, contents=CONTENTS)
    with using_site(get_site(engine, "same.example").site), engine.connect() as connection:
        found = connection.execute(sa.select(NOTES.c.body, NOTES.c.changed).order_by(NOTES.c.body)).all()
    assert found == [("note 1", "then"), ("note 2", "then"), ("note 3", "then")]


def test_type_that_changes_a_value_stops_the_import(
    engine: Engine, settings: Settings, site: Site, tmp_path: Path
) -> None:
    """PostgreSQL cuts spaces off without an error, and SQLite takes the digits for a number."""
    folder = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    with closing_engine(f"sqlite:///{tmp_path}/other.db") as other:
        make_own_tables(other)
        METADATA.create_all(other)
        made = add_site(other, "typed.example", settings=folder)
        for code, is_kept in {"abc": True, "007" if engine.dialect.name == "sqlite" else "abc  ": False}.items():
            with using_site(made), other.begin() as connection:
                connection.execute(sa.delete(NOTES))
                connection.execute(sa.insert(NOTES).values(code=code))
            export_site(other, "typed.example", tmp_path / "typed.zip", settings=folder, contents=CONTENTS)
            options: dict[str, Any] = {"settings": settings, "contents": CONTENTS, "host": f"typed-{is_kept}.example"}
            if is_kept:
                import_site(engine, tmp_path / "typed.zip", **options)
                continue
            with pytest.raises(
                MultisiteError, match=r"other values in compared_notes .* in code: nothing was imported"
            ):
                import_site(engine, tmp_path / "typed.zip", **options)


FORMS = sa.MetaData()
VALUES = sa.Table(
    "compared_values",
    FORMS,
    site_id_column(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("json", sa.JSON().with_variant(postgresql.JSONB(), "postgresql")),
    sa.Column("price", sa.Numeric(8, 2)),
    sa.Column("number", sa.Numeric),
    sa.Column("single", sa.REAL),
    sa.Column("double", sa.Double),
    sa.Column("padded", sa.CHAR(5)),
    sa.Column("span", sa.Interval),
)


def test_value_in_another_form_is_the_same(postgresql_database_url: str, tmp_path: Path) -> None:
    """JSONB, numbers, CHAR and intervals have other forms on PostgreSQL than on SQLite."""
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    contents = SiteContents([FORMS])
    with (
        closing_engine(f"sqlite:///{tmp_path}/forms.db") as sqlite,
        closing_engine(postgresql_database_url) as postgresql_engine,
    ):
        for each in (sqlite, postgresql_engine):
            make_own_tables(each)
            FORMS.create_all(each)
        site = add_site(sqlite, "forms.example", settings=settings)
        with using_site(site), sqlite.begin() as connection:
            connection.execute(
                sa.insert(VALUES).values(
                    padded="ab",
                    span=timedelta(days=-3, hours=30, microseconds=5),
                    double=-0.0,
                    json=sa.literal_column("""'{"b": 1.50, "a": [1e2, -0.0, {"d": 1, "c": 2}]}'"""),
                    price=sa.literal_column("0.1 + 0.2"),
                    number=sa.literal_column("1.5"),
                    single=sa.literal_column("0.123456789012"),
                )
            )
        export_site(sqlite, "forms.example", tmp_path / "one.zip", settings=settings, contents=contents)
        import_site(postgresql_engine, tmp_path / "one.zip", settings=settings, contents=contents, host="there.example")
        export_site(postgresql_engine, "there.example", tmp_path / "two.zip", settings=settings, contents=contents)
        import_site(sqlite, tmp_path / "two.zip", settings=settings, contents=contents, host="back.example")
        with using_site(get_site(sqlite, "back.example").site), sqlite.connect() as connection:
            found = connection.execute(sa.select(VALUES)).mappings().one()
        assert found["json"] == {"a": [100, 0, {"c": 2, "d": 1}], "b": 1.5}
        assert found["span"] == timedelta(days=-3, hours=30, microseconds=5)


@pytest.mark.parametrize(
    ("type_", "one", "other"),
    [
        (sa.JSON(), '{"a": 1}', '{"a": "1"}'),
        (sa.JSON(), '{"a": 1}', '{"a": ["number", "1"]}'),
        (sa.JSON(), "[1e9999999]", "[1e9999998]"),
        (sa.Numeric(8, 2), "1.005", "1.00"),
        (sa.Numeric(), "1.0000000000000000000000000001", "1"),
        (sa.Float(), 0.1, 0.10000000000000002),
        (sa.Text(), "a", "a "),
        (sa.Interval(), "P1M", "P30D"),
        (sa.Interval(), "PT1S", "PT1.000001S"),
        (postgresql.ARRAY(sa.Numeric(8, 2)), [1, None], [1, 0]),
    ],
)
def test_values_that_differ_have_different_sums(type_: Any, one: Any, other: Any) -> None:
    dialect = postgresql.dialect()
    declared = sa.Column("value", type_)
    column = Column("value", kind_of(type_, dialect), declared)
    totals = []
    for value in (one, other, one):
        row_sum = RowSum([column], dialect)
        row_sum.add({"value": value})
        totals.append(row_sum.total)
    assert totals[0] == totals[2] != totals[1]
