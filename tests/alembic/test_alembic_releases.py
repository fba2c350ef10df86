"""The alembic plugin on the supported releases of alembic, which load it whenever alembic is imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

pytestmark = pytest.mark.slow

RELEASES = ["1.18.3", "1.19.2", "1.20.0", "1.20.1"]
"""The oldest release, the last that iterates over the entry point (1.20.0), and the first that takes the module."""

AUTOGENERATE = """
import alembic
import sqlalchemy as sa
from alembic.autogenerate import produce_migrations
from alembic.runtime.migration import MigrationContext

import multisite
from multisite.alembic.migrate import upgrade_own

engine = sa.create_engine("sqlite:///application.db")
upgrade_own(engine)
with engine.begin() as connection:
    connection.exec_driver_sql("CREATE TABLE forgotten (id INTEGER)")
    connection.exec_driver_sql("CREATE TABLE notes (id INTEGER NOT NULL PRIMARY KEY)")
    connection.exec_driver_sql(
        "CREATE TABLE books (id INTEGER NOT NULL PRIMARY KEY, site_id BIGINT NOT NULL REFERENCES sites (id),"
        " CONSTRAINT uq_books_site_id_id UNIQUE (site_id, id))"
    )


class Base(sa.orm.DeclarativeBase):
    pass


class Note(multisite.SiteScoped, Base):
    __tablename__ = "notes"
    id: sa.orm.Mapped[int] = sa.orm.mapped_column(primary_key=True)


class Book(multisite.SiteScoped, Base):
    __tablename__ = "books"
    id: sa.orm.Mapped[int] = sa.orm.mapped_column(primary_key=True)


with engine.connect() as connection:
    context = MigrationContext.configure(connection, opts={"target_metadata": Base.metadata})
    operations = produce_migrations(context, Base.metadata).upgrade_ops.ops
    print(alembic.__version__, *sorted(f"{type(op).__name__}:{op.table_name}" for op in operations))
"""


def alembic(folder: Path, release: str) -> Path:
    """Install only this release of alembic into its own folder, and return the folder."""
    target = folder / "alembic"
    for python in (sys.executable, sys._base_executable):  # type: ignore[attr-defined]
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
            break
    options = ["--quiet", "--no-deps", "--disable-pip-version-check", "--target", str(target)]
    subprocess.run([python, "-m", "pip", "install", *options, f"alembic=={release}"], check=True)
    return target


def test_the_oldest_supported_release_is_tested() -> None:
    floor = re.search(r'"alembic>=([\d.]+)', (ROOT / "setup.py").read_text("utf-8"))
    assert floor is not None
    assert floor[1] in RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_importing_alembic_works_and_autogenerate_has_the_plugin(tmp_path: Path, release: str) -> None:
    target = alembic(tmp_path, release)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AUTOGENERATE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert found[0] == release
    # Neither our own tables dropped, nor a column added to a table with rows and no site, nor anything done to books,
    # whose reference to our own table is as its model has it.
    assert found[1:] == ["AddSiteScope:notes", "DropTableOp:forgotten"]
