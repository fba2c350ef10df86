"""Keys that must be unique in the whole database, and references that cannot be NULL in cycles of rows and tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from databases import closing_engine, fresh_database, make_own_tables
from sqlalchemy.engine import Engine

from multisite.core.current_site import all_sites, using_site
from multisite.core.settings import Settings
from multisite.core.site import Site
from multisite.directory.records import get_site
from multisite.errors import MultisiteError, UnknownSite
from multisite.scoping import scoped_reference, site_id_column
from multisite.sites import SiteContents, add_site, copy_site, export_site, import_site, remove_site

METADATA = sa.MetaData()
COUPONS = sa.Table(
    "keys_coupons",
    METADATA,
    site_id_column(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("code", sa.Text, unique=True),
    sa.Column("year", sa.Integer),
    sa.Column("number", sa.Integer),
    sa.Column("token", sa.Text, unique=True),
    sa.UniqueConstraint("year", "number"),
)
BOXES = sa.Table(
    "keys_boxes",
    METADATA,
    site_id_column(),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("the: %root", sa.Uuid, scoped_reference("keys_boxes.id"), nullable=False, key="root_id"),
    sa.Column("name", sa.Text),
)
AUTHORS = sa.Table(
    "keys_authors",
    METADATA,
    site_id_column(),
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=True), primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("shared", sa.Text, server_default="set", nullable=False, info={"export": False}),
    sa.Column("best_id", sa.Integer, nullable=False),
)
BOOKS = sa.Table(
    "keys_books",
    METADATA,
    site_id_column(),
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=True), primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("mood", sa.Enum("glad", "sad", name="keys_mood")),
    sa.Column("author_id", sa.BigInteger, scoped_reference("keys_authors.id"), nullable=False),
)
AUTHORS.append_constraint(
    sa.ForeignKeyConstraint(
        ["site_id", "best_id"], ["keys_books.site_id", "keys_books.id"], name="keys_best", use_alter=True
    )
)
CONTENTS = SiteContents([METADATA])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with fresh_database(request, tmp_path_factory) as url, closing_engine(url) as engine:
        make_own_tables(engine)
        METADATA.create_all(engine)
        yield engine


@pytest.fixture(scope="module")
def settings(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("folders")
    return Settings(sites_dir=folder / "sites", templates_dir=folder / "templates")


def make_site(engine: Engine, settings: Settings, host: str, *statements: Any) -> Site:
    site = add_site(engine, host, settings=settings)
    with using_site(site), engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        for statement in statements:
            connection.execute(statement)
    return site


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"code": "SPRING"}, r"keys_coupons\.code must be unique in the whole database, .* has 'SPRING' already"),
        ({"year": 2024, "number": 7}, r"keys_coupons\.year, number must be unique .* has '2024, 7' already"),
        ({"year": 2024, "token": str(UUID(int=9))}, None),
    ],
)
def test_value_that_another_site_has_is_refused_before_anything_is_written(
    engine: Engine, settings: Settings, tmp_path: Path, values: dict[str, Any], message: str | None
) -> None:
    host = f"coupons{len(values)}{message is None}.example"
    make_site(engine, settings, host, sa.insert(COUPONS).values(**values))
    export_site(engine, host, tmp_path / "one.zip", settings=settings, contents=CONTENTS)
    options: dict[str, Any] = {"settings": settings, "contents": CONTENTS}
    if message is None:
        copy_site(engine, host, f"copy-{host}", **options)
        return
    begun: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda c, cursor, sql, *rest: begun.append(sql.split()[0]))
    for dry_run in (True, False):
        with pytest.raises(MultisiteError, match=message):
            import_site(engine, tmp_path / "one.zip", host=f"copy-{host}", dry_run=dry_run, **options)
    assert set(begun) <= {"SELECT", "PRAGMA"}
    with pytest.raises(UnknownSite):
        get_site(engine, f"copy-{host}")
    # Its own values are no reason to refuse.
    import_site(engine, tmp_path / "one.zip", host=host, replace=True, **options)


def boxes(engine: Engine, site: Site) -> dict[str, str]:
    with using_site(site), engine.connect() as connection:
        rows = connection.execute(sa.select(BOXES)).all()
    names = {row.id: row.name for row in rows}
    return {row.name: names[row.root_id] for row in rows}


def test_references_to_the_same_table_that_cannot_be_null_follow(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    """The rows are in the order of their keys, so that some refer to later ones."""
    rows = [{"id": UUID(int=n), "root_id": UUID(int=n), "name": f"box {n}"} for n in range(1, 6)]
    roots = {1: 1, 2: 5, 3: 4, 4: 3, 5: 1}
    ring = [sa.update(BOXES).where(BOXES.c.id == UUID(int=n)).values(root_id=UUID(int=r)) for n, r in roots.items()]
    site = make_site(engine, settings, "boxes.example", sa.insert(BOXES).values(rows), *ring)
    copy_site(engine, "boxes.example", "copy-boxes.example", settings=settings, contents=CONTENTS)
    expected = {f"box {n}": f"box {root}" for n, root in roots.items()}
    assert boxes(engine, get_site(engine, "copy-boxes.example").site) == boxes(engine, site) == expected
    options: dict[str, Any] = {"settings": settings, "contents": CONTENTS}
    export_site(engine, "boxes.example", tmp_path / "boxes.zip", **options)
    import_site(engine, tmp_path / "boxes.zip", replace=True, keep_keys=True, **options)
    assert boxes(engine, site) == expected


def test_references_that_cannot_be_null_in_a_cycle_of_tables_follow(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    site = add_site(engine, "books.example", settings=settings)
    with all_sites("set up a test"), engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            connection.exec_driver_sql(
                f"INSERT INTO keys_authors (site_id, id, name, best_id) VALUES ({site.id}, 11, 'anna', 21)"
            )
            connection.exec_driver_sql(
                f"INSERT INTO keys_books (site_id, id, name, mood, author_id) VALUES ({site.id}, 21, 'b', 'sad', 11)"
            )
        else:
            # One statement: its references are checked at its end.
            connection.exec_driver_sql(
                "WITH a AS (INSERT INTO keys_authors (site_id, id, name, best_id) OVERRIDING SYSTEM VALUE "
                f"VALUES ({site.id}, 11, 'anna', 21)) INSERT INTO keys_books (site_id, id, name, mood, author_id) "
                f"OVERRIDING SYSTEM VALUE VALUES ({site.id}, 21, 'b', 'sad', 11)"
            )
    copy_site(engine, "books.example", "copy-books.example", settings=settings, contents=CONTENTS)
    with using_site(get_site(engine, "copy-books.example").site), engine.connect() as connection:
        author = connection.execute(sa.select(AUTHORS)).one()
        book = connection.execute(sa.select(BOOKS)).one()
    assert (author.name, author.shared, book.name, book.mood) == ("anna", "set", "b", "sad")
    assert (author.best_id, book.author_id) == (book.id, author.id)
    assert (author.id, book.id) != (11, 21)
    options: dict[str, Any] = {"settings": settings, "contents": CONTENTS}
    export_site(engine, "books.example", tmp_path / "books.zip", **options)
    import_site(engine, tmp_path / "books.zip", replace=True, keep_keys=True, **options)
    with using_site(site), engine.connect() as connection:
        assert connection.execute(sa.select(BOOKS.c.id, BOOKS.c.author_id)).all() == [(21, 11)]


def test_rows_without_a_site_id_that_refer_to_each_other_follow(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    """What leads to the site is the reference to a page, not one of those among themselves."""
    metadata = sa.MetaData()
    key = {"type_": sa.Integer, "primary_key": True}
    sa.Table("keys_pages", metadata, site_id_column(), sa.Column("id", **key))
    sa.Table(
        "keys_trees",
        metadata,
        sa.Column("id", **key),
        sa.Column("name", sa.Text),
        sa.Column("above_id", sa.Integer, sa.ForeignKey("keys_trees.id")),
        sa.Column("fruit_id", sa.Integer, sa.ForeignKey("keys_fruits.id", use_alter=True, name="f"), nullable=False),
        sa.Column("page_id", sa.Integer, sa.ForeignKey("keys_pages.id")),
    )
    sa.Table(
        "keys_fruits",
        metadata,
        sa.Column("id", **key),
        sa.Column("tree_id", sa.Integer, sa.ForeignKey("keys_trees.id"), nullable=False),
    )
    metadata.create_all(engine)
    tables = metadata.tables
    statements = (
        "INSERT INTO keys_trees VALUES (1, 'oak', NULL, 1, 1), (2, 'elm', 1, 2, 1)",
        "INSERT INTO keys_fruits VALUES (1, 2), (2, 1)",
    )
    options: dict[str, Any] = {"settings": settings, "contents": SiteContents([metadata])}
    site = make_site(engine, settings, "trees.example", sa.insert(tables["keys_pages"]).values(id=1))
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            for statement in statements:
                connection.exec_driver_sql(statement)
        else:
            connection.exec_driver_sql(f"WITH a AS ({statements[0]}) {statements[1]}")
    copied = copy_site(engine, "trees.example", "copy-trees.example", **options).target
    assert copied.rows == {"keys_pages": 1, "keys_trees": 2, "keys_fruits": 2}
    export_site(engine, "trees.example", tmp_path / "trees.zip", **options)
    import_site(engine, tmp_path / "trees.zip", replace=True, keep_keys=True, **options)
    with using_site(site), engine.connect() as connection:
        trees, fruits = (
            connection.execute(sa.select(tables[name]).order_by("id")).all() for name in ("keys_trees", "keys_fruits")
        )
    assert trees[:2] == [(1, "oak", None, 1, 1), (2, "elm", 1, 2, 1)]
    assert fruits[:2] == [(1, 2), (2, 1)]
    (oak, elm), (acorn, samara) = trees[2:], fruits[2:]
    assert (oak.name, elm.name, elm.above_id) == ("oak", "elm", oak.id)
    assert (oak.fruit_id, elm.fruit_id) == (acorn.id, samara.id)
    assert (acorn.tree_id, samara.tree_id) == (elm.id, oak.id)
    remove_site(engine, "copy-trees.example", settings=settings)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables["keys_fruits"])) == 2
