"""Version 1 of the format of archives, as the file beside this module has it: every later version must read it.

Running this module as a program writes the file. That is only right before the first release with archives.
"""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from databases import closing_engine, make_own_tables
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Engine

from multisite.core.current_site import all_sites, using_site
from multisite.core.settings import Settings
from multisite.directory.models import SettingRow
from multisite.directory.records import get_site
from multisite.scoping import scoped_reference, site_id_column
from multisite.sites import SiteContents, add_site, export_site, import_site

ARCHIVE = Path(__file__).with_name("site-archive-1.zip")

METADATA = sa.MetaData()
COUNTRIES = sa.Table(
    "format_countries",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("code", sa.String(2), unique=True),
    info={"export_key": "code"},
)
VALUES = sa.Table(
    "format_values",
    METADATA,
    site_id_column(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("boolean", sa.Boolean),
    sa.Column("integer", sa.BigInteger),
    sa.Column("float", sa.Double),
    sa.Column("text", sa.Text),
    sa.Column("numeric", sa.Numeric(10, 2)),
    sa.Column("json", sa.JSON),
    sa.Column("binary", sa.LargeBinary),
    sa.Column("uuid", sa.Uuid),
    sa.Column("date", sa.Date),
    sa.Column("time", sa.Time),
    sa.Column("naive", sa.DateTime),
    sa.Column("aware", sa.DateTime(timezone=True)),
    sa.Column("interval", sa.Interval),
    sa.Column("array", postgresql.ARRAY(sa.Integer).with_variant(sa.JSON(), "sqlite")),
    sa.Column("country_id", sa.ForeignKey(COUNTRIES.c.id)),
    sa.Column("up_id", sa.Integer, scoped_reference("format_values.id")),
)
CONTENTS = SiteContents([METADATA])

ROW: dict[str, Any] = {
    "boolean": True,
    "integer": 2**62,
    "float": 0.1,
    "text": "Käse \N{SNOWMAN}",
    "numeric": Decimal("19.90"),
    "json": {"a": [1, None, "x"]},
    "binary": b"\0\xff",
    "uuid": UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    "date": date(2024, 2, 29),
    "time": time(12, 30, 0, 250_000),
    "naive": datetime.fromisoformat("2024-02-29T12:30:00.5"),
    "aware": datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
    "interval": timedelta(days=1, seconds=2, microseconds=3),
    "array": [1, 2],
}


def prepare(engine: Engine, countries: dict[str, int]) -> None:
    make_own_tables(engine)
    METADATA.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(COUNTRIES), [{"code": code, "id": id_} for code, id_ in countries.items()])


def write(folder: Path) -> None:
    """Write the archive."""
    settings = Settings(sites_dir=folder / "sites", templates_dir=folder / "templates")
    with closing_engine(f"sqlite:///{folder}/format.db") as engine:
        prepare(engine, {"de": 1, "at": 2})
        site = add_site(
            engine, "one.example", settings=settings, name="Eins", aliases=["alias.example"], locale="de-AT",
            timezone="Europe/Vienna",
        )  # fmt: skip
        own = settings.sites_dir / site.folder
        for name in ("static/style.css", "locale/de/LC_MESSAGES/messages.mo", "page.mako"):
            (own / name).parent.mkdir(parents=True, exist_ok=True)
            (own / name).write_text(name)
        with all_sites("write the archive"), engine.begin() as connection:
            connection.execute(sa.insert(SettingRow).values(site_id=site.id, name="tagline", value="Hello"))
            connection.execute(sa.insert(VALUES).values(id=7, site_id=site.id, country_id=2, **ROW))
            connection.execute(sa.insert(VALUES).values(id=8, site_id=site.id, up_id=7))
        export_site(engine, "one.example", ARCHIVE, settings=settings, contents=CONTENTS)


def test_first_version_is_read(database_url: str, tmp_path: Path) -> None:
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    with closing_engine(database_url) as engine:
        prepare(engine, {"at": 40, "de": 41})
        imported = import_site(engine, ARCHIVE, settings=settings, contents=CONTENTS, with_templates=True)
        record = get_site(engine, "one.example")
        with using_site(record.site), engine.connect() as connection:
            first, second = connection.execute(sa.select(VALUES).order_by(VALUES.c.id)).mappings()
    site = record.site
    assert (site.name, site.locale, site.timezone) == ("Eins", "de-AT", "Europe/Vienna")
    assert (record.aliases, json.loads(site.own_settings)) == (("alias.example",), {"tagline": "Hello"})
    assert imported.rows == {"format_values": 2}
    expected = dict(ROW)
    if engine.dialect.name == "sqlite":
        expected["aware"] = expected["aware"].replace(tzinfo=None)  # It stores no zone.
    assert {name: first[name] for name in ROW} == expected
    assert (first["country_id"], first["up_id"]) == (40, None)
    assert second["up_id"] == first["id"]
    assert {name: second[name] for name in ROW} == dict.fromkeys(ROW)
    folder = settings.sites_dir / site.folder
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"static/style.css", "locale/de/LC_MESSAGES/messages.mo", "page.mako"} <= found


def test_json_null_and_sql_null_stay_apart(database_url: str, tmp_path: Path) -> None:
    settings = Settings(sites_dir=tmp_path / "sites", templates_dir=tmp_path / "templates")
    is_null = sa.select(VALUES.c.json.is_(sa.null())).order_by(VALUES.c.id)
    with closing_engine(database_url) as engine:
        prepare(engine, {"de": 1})
        site = add_site(engine, "one.example", settings=settings)
        with using_site(site), engine.begin() as connection:
            connection.execute(sa.insert(VALUES).values(json=sa.JSON.NULL))
            connection.execute(sa.insert(VALUES).values(json=sa.null()))
        export_site(engine, "one.example", tmp_path / "one.zip", settings=settings, contents=CONTENTS)
        import_site(engine, tmp_path / "one.zip", settings=settings, contents=CONTENTS, host="two.example")
        with using_site(get_site(engine, "two.example").site), engine.connect() as connection:
            assert list(connection.scalars(is_null)) == [False, True]


def test_file_has_the_members_that_the_docs_name() -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        row = json.loads(archive.read("rows/format_values.jsonl").splitlines()[0])
    assert (manifest["format"], manifest["version"]) == ("multisite-site", 1)
    assert row["country_id"] == ["at"]
    assert row["aware"] == "2024-02-29T12:30:00+00:00"


if __name__ == "__main__":
    with TemporaryDirectory() as made:
        write(Path(made))
