"""An archive of an older revision of the application is migrated in a scratch database, and then imported."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from command_folder import Folder
from databases import closing_engine, fresh_postgresql, make_own_tables
from sqlalchemy.engine import Engine

from multisite.cli.archive_upgrade import upgrade_with
from multisite.cli.upgrade import upgrade
from multisite.core.current_site import all_sites, using_site
from multisite.core.settings import Settings
from multisite.directory.records import get_site
from multisite.errors import MultisiteError
from multisite.scoping import scoped_reference, site_id_column
from multisite.sites import SiteContents, add_site, export_site, import_site, remove_site, restore_site
from multisite.sites.archive import SitePart

SHARED = {"info": {"export_key": "code"}}


def notes(metadata: sa.MetaData, *more: sa.Column[Any]) -> sa.Table:
    sa.Table(
        "old_countries",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("code", sa.String(2), unique=True, nullable=False),
        sa.Column("name", sa.String(20), nullable=False),
        **SHARED,
    )
    return sa.Table(
        "old_notes",
        metadata,
        site_id_column(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("up_id", sa.Integer, scoped_reference("old_notes.id")),
        sa.Column("country_id", sa.ForeignKey("old_countries.id")),
        sa.Column("uuid", sa.Uuid),
        sa.Column("data", sa.JSON),
        sa.Column("price", sa.Numeric(8, 2)),
        sa.Column("span", sa.Interval),
        sa.Column("at", sa.DateTime(timezone=True)),
        *more,
    )


V1, V2 = sa.MetaData(), sa.MetaData()
FORMER = notes(V1, sa.Column("title", sa.Text))
NOW = notes(V2, sa.Column("headline", sa.Text, nullable=False), sa.Column("length", sa.Integer, nullable=False))

ENV = """
import plaster
import sqlalchemy as sa
from alembic import context
url = plaster.get_settings(context.config.config_file_name, "app:main")["sqlalchemy.url"]
engine = sa.create_engine(url, poolclass=sa.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
"""
FIRST = """
from alembic import op
from multisite.alembic.migrate import first_site
from test_site_archive_upgrade_models import V1
revision, down_revision = "one", None
def upgrade():
    first_site(op.get_bind(), "one.example")
    V1.create_all(op.get_bind())
"""
SECOND = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "two", "one"
def upgrade():
    op.add_column("old_notes", sa.Column("headline", sa.Text))
    op.add_column("old_notes", sa.Column("length", sa.Integer))
    op.execute("UPDATE old_notes SET headline = upper(title), length = length(title)")
    with op.batch_alter_table("old_notes") as batch:
        batch.alter_column("headline", nullable=False)
        batch.alter_column("length", nullable=False)
        batch.drop_column("title")
"""
AT = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)


@dataclass
class World:
    """An application of two revisions: an archive of the first one, and a database of the second one."""

    engine: Engine
    ini: str
    settings: Settings
    archive: Path

    def contents(self) -> SiteContents:
        return SiteContents([V2], parts={"files": SitePart(lambda *_: None, self.keep_part)})

    def keep_part(self, site: Any, connection: Any, folder: Path) -> None:
        self.part = sorted(path.name for path in folder.rglob("*"))

    def import_(self, host: str, scratch_url: str | None = None, **options: Any) -> Any:
        contents = self.contents()
        return import_site(
            self.engine,
            self.archive,
            settings=self.settings,
            contents=contents,
            host=host,
            upgrade=upgrade_with(self.ini, self.engine, contents, scratch_url),
            **options,
        )

    def rows(self, host: str) -> list[dict[str, Any]]:
        with using_site(get_site(self.engine, host).site), self.engine.connect() as connection:
            found = connection.execute(sa.select(NOW).order_by(NOW.c.headline)).mappings().all()
        return [dict(row) for row in found]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("upgraded")
    with pytest.MonkeyPatch.context() as patch:
        # The revisions import the models of the first version, as some applications do.
        module = type(json)("test_site_archive_upgrade_models")
        module.V1 = V1  # type: ignore[attr-defined]
        patch.setitem(__import__("sys").modules, module.__name__, module)
        with fresh_postgresql(request.getfixturevalue("postgresql_url")) as server:
            url = f"sqlite:///{folder}/app.db" if request.param == "sqlite" else server
            # The archive is from the other kind of database.
            former = server if request.param == "sqlite" else f"sqlite:///{folder}/former.db"
            yield from make_world(folder, url, former)


def make_world(folder: Path, url: str, former_url: str) -> Iterator[World]:
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True)
    (folder / "migrations" / "env.py").write_text(ENV)
    (versions / "one.py").write_text(FIRST)
    (versions / "two.py").write_text(SECOND)
    written = Folder(folder, url)
    alembic = "[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\n"
    written.write(server=f"listen = localhost:6543\n{alembic}")
    ini = folder / "development.ini"
    settings = Settings(
        sites_dir=folder / "sites", templates_dir=folder / "templates", archives_dir=folder / "kept", refresh_seconds=0
    )
    with closing_engine(former_url) as former:
        make_own_tables(former)
        V1.create_all(former)
        with former.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
            connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('one')")
            countries = V1.tables["old_countries"]
            connection.execute(sa.insert(countries), [{"id": 7, "code": "de", "name": "Germany"}])
        source = Settings(sites_dir=folder / "former", templates_dir=folder / "templates")
        site = add_site(former, "one.example", settings=source, name="The One")
        (source.sites_dir / site.folder / "own.mako").write_text("own")
        with using_site(site), former.begin() as connection:
            connection.execute(sa.insert(FORMER).values(id=20, title="b", country_id=7))
            values = {"uuid": UUID(int=5), "data": {"a": [1]}, "price": Decimal("1.50"), "span": timedelta(hours=30)}
            connection.execute(sa.insert(FORMER).values(id=21, up_id=20, title="abc", at=AT, **values))

        def export_part(site: Any, connection: Any, part: Path) -> None:
            (part / "picture.png").write_bytes(b"png")

        contents = SiteContents([V1], parts={"files": SitePart(export_part, lambda *_: None)})
        export_site(former, "one.example", folder / "one.zip", settings=source, contents=contents)
        V1.drop_all(former)
        with former.begin() as connection:
            connection.exec_driver_sql("DROP TABLE alembic_version")
    with closing_engine(url) as engine:
        if former_url != url and engine.dialect.name == "postgresql":
            assert sa.inspect(engine).get_table_names() == []
        upgrade(ini)
        with engine.begin() as connection:
            rows = [{"code": "fr", "name": "France"}, {"code": "de", "name": "Germany"}]
            connection.execute(sa.insert(V2.tables["old_countries"]), rows)
        yield World(engine, str(ini), settings, folder / "one.zip")


def test_archive_of_an_older_revision_is_refused_without_upgrade(world: World) -> None:
    with pytest.raises(
        MultisiteError, match="of the application's revision 'one', and .* at 'two': migrate it with --up"
    ):
        import_site(
            world.engine, world.archive, settings=world.settings, contents=world.contents(), host="refused.example"
        )


def test_archive_of_an_older_revision_is_migrated(world: World) -> None:
    before = world.archive.read_bytes()
    done = world.import_("new.example", with_templates=True)
    assert done.rows == {"old_notes": 2}
    first, second = world.rows("new.example")
    assert (first["headline"], first["length"], second["headline"], second["length"]) == ("ABC", 3, "B", 1)
    assert first["up_id"] == second["id"]
    assert (first["uuid"], first["data"], first["price"]) == (UUID(int=5), {"a": [1]}, Decimal("1.50"))
    assert first["span"] == timedelta(hours=30)
    assert first["at"].replace(tzinfo=UTC) == AT
    with world.engine.connect() as connection:
        countries = dict(connection.execute(sa.select(V2.tables["old_countries"].c["id", "code"])).all())
    assert countries[second["country_id"]] == "de"
    site = get_site(world.engine, "new.example").site
    assert (site.name, world.part) == ("The One", ["picture.png"])
    assert (world.settings.sites_dir / site.folder / "own.mako").read_text() == "own"
    assert world.archive.read_bytes() == before


def test_templates_are_left_out_of_an_upgraded_archive_too(world: World) -> None:
    done = world.import_("untrusted.example")
    assert "only taken with --with-templates" in done.left_out[-1]
    site = get_site(world.engine, "untrusted.example").site
    assert not (world.settings.sites_dir / site.folder / "own.mako").exists()


def test_scratch_database_can_be_postgresql(world: World, postgresql_database_url: str) -> None:
    world.import_("scratch.example", postgresql_database_url)
    assert [row["headline"] for row in world.rows("scratch.example")] == ["ABC", "B"]
    with pytest.raises(MultisiteError, match="the scratch database is not empty, it has the table"):
        world.import_("again.example", postgresql_database_url)


def test_archive_of_an_unknown_revision_is_refused(world: World, tmp_path: Path) -> None:
    changed = {"revisions": ["three"]}
    world = World(world.engine, world.ini, world.settings, rewritten(world.archive, tmp_path / "three.zip", changed))
    with pytest.raises(MultisiteError, match="the archive is of the application's revision 'three', which is not in"):
        world.import_("three.example")
    later = Path(world.ini).parent / "migrations" / "versions" / "three.py"
    later.write_text("revision, down_revision = 'three', 'two'\ndef upgrade(): pass\n")
    try:
        with pytest.raises(MultisiteError, match="'three', which this database does not have yet: migrate it first"):
            world.import_("three.example")
    finally:
        later.unlink()
    world.archive = rewritten(world.archive, tmp_path / "none.zip", {"revisions": []})
    with pytest.raises(MultisiteError, match="the application's tables were made without alembic, there"):
        world.import_("none.example")


def rewritten(archive: Path, target: Path, manifest: dict[str, Any]) -> Path:
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            if name == "manifest.json":
                content = json.dumps({**json.loads(content), **manifest}).encode()
            copy.writestr(name, content)
    return target


def test_env_py_that_names_another_database_is_refused(world: World) -> None:
    env = Path(world.ini).parent / "migrations" / "env.py"
    # Python takes a file of the same size that was written in the same second for the one that it has compiled.
    fixed = f"url = {world.engine.url.render_as_string(hide_password=False)!r}  {'#' * 200}\n"
    env.write_text(
        ENV.replace(
            'url = plaster.get_settings(context.config.config_file_name, "app:main")["sqlalchemy.url"]\n', fixed
        )
    )
    try:
        with pytest.raises(MultisiteError, match="their env.py must take the URL from sqlalchemy.url in the ini file"):
            world.import_("fixed.example")
    finally:
        env.write_text(ENV)


def test_removed_site_is_restored_after_a_migration(world: World) -> None:
    """Its archive is of the revision that the database had when the site was removed."""
    world.import_("gone.example")
    removed = remove_site(world.engine, "gone.example", settings=world.settings, contents=world.contents())
    assert removed.archive is not None
    with all_sites("a later revision"), world.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'three'")
    versions = Path(world.ini).parent / "migrations" / "versions"
    (versions / "three.py").write_text("revision, down_revision = 'three', 'two'\ndef upgrade(): pass\n")
    try:
        options: dict[str, Any] = {"settings": world.settings, "contents": world.contents()}
        with pytest.raises(MultisiteError, match="at 'three': migrate it with --upgrade"):
            restore_site(world.engine, "gone.example", **options)
        upgrading = upgrade_with(world.ini, world.engine, options["contents"])
        assert restore_site(world.engine, "gone.example", upgrade=upgrading, **options).rows == {"old_notes": 2}
    finally:
        (versions / "three.py").unlink()
        with all_sites("end of a test"), world.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'two'")
    assert not removed.archive.exists()
