"""Generated schemas and rows of sites, and a description of a site's rows that does not depend on their keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Engine

from multisite.core.current_site import all_sites
from multisite.core.site import Site
from multisite.scoping import site_id_column

__all__ = ["Example", "Link", "Schema", "TableShape", "describe", "examples", "fill", "make_tables", "raw_rows"]

EARLY, LATE = datetime.fromisoformat("1000-01-01"), datetime.fromisoformat("9000-01-01")
MOODS = ("glad", "it's", "süß")

TYPES: dict[str, tuple[Callable[[], Any], st.SearchStrategy[Any]]] = {
    "text": (sa.Text, st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)),
    "short": (lambda: sa.String(30), st.sampled_from(["", "a", "o'clock", 'say "x"', "%s", "\\n"])),
    "integer": (sa.BigInteger, st.integers(-(2**63), 2**63 - 1)),
    "boolean": (sa.Boolean, st.booleans()),
    "float": (sa.Double, st.floats(allow_nan=False, allow_infinity=False)),
    "numeric": (lambda: sa.Numeric(12, 3), st.decimals("-99999999", "99999999", places=3)),
    "json": (
        lambda: sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("aä\"'\\/ ", max_size=4),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("kä", max_size=2), inner, max_size=2),
            max_leaves=4,
        ),
    ),
    "binary": (sa.LargeBinary, st.binary(max_size=8)),
    "uuid": (sa.Uuid, st.uuids()),
    "date": (sa.Date, st.dates(date(1, 1, 2), date(9999, 12, 30))),
    "time": (sa.Time, st.times()),
    "naive": (sa.DateTime, st.datetimes(EARLY, LATE)),
    "aware": (
        lambda: sa.DateTime(timezone=True),
        # The application stores UTC, as SQLite has no zones.
        st.datetimes(EARLY, LATE, timezones=st.just(UTC)),
    ),
    "interval": (sa.Interval, st.timedeltas(timedelta(-9999), timedelta(9999))),
    "enum": (lambda: sa.Enum(*MOODS, name="mood"), st.sampled_from(MOODS)),
    "array": (
        lambda: postgresql.ARRAY(sa.String).with_variant(sa.JSON(), "sqlite"),
        st.lists(st.text("a,{}\"'\\ ", max_size=3), max_size=3),
    ),
}
"""By name: what makes the type, and its values."""

KEYS = ("integer", "identity", "uuid", "text", "number")
TARGETS = frozenset({"integer", "identity", "uuid", "text"})
NAMES = ("Order items", "select", "plain", "größe", "a.b", "x'y", "CamelCase", "t8")


@dataclass(frozen=True)
class Link:
    """A reference to the table with this number: to itself, or to a later one in a cycle, only if it is optional."""

    target: int
    optional: bool


@dataclass(frozen=True)
class TableShape:
    """A table with a key of some kind, links, and columns of some types.

    An `owned` table has no `site_id` and belongs to rows of `parent`; a `joined` one shares the keys of `parent`; the
    rows of an `association` have the keys of `parent` and a number.
    """

    key: str
    links: tuple[Link, ...] = ()
    types: tuple[str, ...] = ()
    kind: str = "plain"
    parent: int = 0
    in_schema: bool = False


Schema = tuple[TableShape, ...]


@dataclass(frozen=True)
class Example:
    """A schema, the values of its columns (several for each), and a seed for what is drawn by chance."""

    schema: Schema
    values: dict[str, list[Any]]
    seed: int


@st.composite
def examples(draw: Any) -> Example:
    """Return an example with two to eight tables."""
    size = draw(st.integers(2, 8))
    shapes: list[TableShape] = []
    for number in range(size):
        parents = [
            n for n, each in enumerate(shapes) if each.kind in ("plain", "joined") and each.key in TARGETS - {"text"}
        ]
        kind = draw(st.sampled_from(["plain", "plain", "owned", "joined", "association"])) if parents else "plain"
        parent = draw(st.sampled_from(parents)) if parents else 0
        key = shapes[parent].key if kind == "joined" else draw(st.sampled_from(KEYS))
        links = [
            Link(target, target >= number or draw(st.booleans()))
            for target in draw(st.lists(st.integers(0, size - 1), max_size=2))
            if kind != "owned"
        ]
        types = tuple(draw(st.lists(st.sampled_from(sorted(TYPES)), max_size=4)))
        shapes.append(TableShape(key, tuple(links), types, kind, parent, draw(st.booleans())))
    used = sorted({type_ for shape in shapes for type_ in shape.types})
    values = {type_: draw(st.lists(TYPES[type_][1], min_size=1, max_size=4)) for type_ in used}
    return Example(tuple(shapes), values, draw(st.integers(0, 2**16)))


def make_tables(schema: Schema, prefix: str, *, with_schemas: bool = False) -> list[sa.Table]:
    """Return the tables of a schema, in a MetaData of their own; their names begin with `prefix`."""
    metadata = sa.MetaData()
    made = [
        sa.Table(
            f"{prefix} {NAMES[number]}",
            metadata,
            *_columns(schema, shape),
            schema="Other Schema" if with_schemas and shape.in_schema else None,
        )
        for number, shape in enumerate(schema)
    ]
    for number, shape in enumerate(schema):
        table = made[number]
        if shape.kind != "plain":
            column = "the id" if shape.kind == "joined" else "owner"
            _refer(table, column, made[shape.parent], f"{prefix}_fk_{number}", scoped=shape.kind != "owned")
        for position, link in _links(schema, shape):
            _refer(table, f"link {position}", made[link.target], f"{prefix}_fk_{number}_{position}", scoped=True)
    return made


def _links(schema: Schema, shape: TableShape) -> list[tuple[int, Link]]:
    """Return the links of a table to tables that can be referred to."""
    return [
        (position, link)
        for position, link in enumerate(shape.links)
        if schema[link.target].kind in ("plain", "joined") and schema[link.target].key in TARGETS
    ]


def _refer(table: sa.Table, column: str, target: sa.Table, name: str, *, scoped: bool) -> None:
    goal = next(each for each in target.primary_key if each.name != "site_id")
    own, others = [table.c[column]], [goal]
    if scoped:
        own, others = [table.c.site_id, *own], [target.c.site_id, *others]
    table.append_constraint(sa.ForeignKeyConstraint(own, others, name=name, use_alter=True))


def _key_type(key: str) -> Any:
    return {"uuid": sa.Uuid(), "text": sa.String(40)}.get(key) or sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _columns(schema: Schema, shape: TableShape) -> list[Any]:
    own = shape.kind != "owned"
    items: list[Any] = [site_id_column()] if own else []
    type_ = _key_type(shape.key)
    if shape.kind in ("owned", "association"):
        items.append(sa.Column("owner", _key_type(schema[shape.parent].key), nullable=False))
    if shape.kind == "association":
        items += [sa.Column("number", sa.Integer), sa.PrimaryKeyConstraint("site_id", "owner", "number")]
    elif not own and shape.key in ("text", "number"):
        items += [sa.Column("number", sa.Integer), sa.PrimaryKeyConstraint("owner", "number")]
    elif shape.key in ("text", "number"):
        items += [sa.Column("the id", type_, key="the id"), sa.PrimaryKeyConstraint("site_id", "the id")]
    elif shape.key == "identity" and shape.kind != "joined":
        items.append(sa.Column("the id", type_, sa.Identity(always=True), primary_key=True))
    else:
        items.append(sa.Column("the id", type_, primary_key=True, autoincrement="auto"))
    for position, link in _links(schema, shape):
        items.append(sa.Column(f"link {position}", _key_type(schema[link.target].key), nullable=link.optional))
    items += [sa.Column(f"value {position}", TYPES[each][0]()) for position, each in enumerate(shape.types)]
    if "integer" in shape.types:
        column = f"value {shape.types.index('integer')}"
        items.append(sa.Column("is negative", sa.Boolean, sa.Computed(f'"{column}" < 0', persisted=True)))
    return [*items, sa.Column("label", sa.String(40), nullable=False, server_default="none")]


def fill(engine: Engine, example: Example, made: list[sa.Table], sites: list[Site], most: int = 4) -> None:
    """Insert rows for each site; the label of a row is unique in its table and site."""
    random = Random(example.seed)
    with all_sites("fill generated tables"), engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        keys: dict[tuple[int, int], list[Any]] = {}
        for site in sites:
            for number, shape in enumerate(example.schema):
                keys[site.id, number] = []
                for row in range(random.randint(0, most)):
                    values = _row(example, shape, number, row, site, keys, random)
                    if values is None:
                        continue
                    found = connection.execute(
                        sa.insert(made[number]).values(values).returning(*made[number].primary_key)
                    )
                    inserted = dict(zip((column.name for column in made[number].primary_key), found.one(), strict=True))
                    keys[site.id, number].append(inserted.get("the id"))
            _close_cycles(connection, example.schema, made, site, keys, random)


def _row(
    example: Example,
    shape: TableShape,
    number: int,
    row: int,
    site: Site,
    keys: dict[tuple[int, int], list[Any]],
    random: Random,
) -> dict[str, Any] | None:
    """Return the values of a row; None if there is no row that it needs to refer to."""
    values: dict[str, Any] = {"label": f"row {row}"} | ({} if shape.kind == "owned" else {"site_id": site.id})
    if shape.kind != "plain":
        parents = keys[site.id, shape.parent]
        if shape.kind == "joined":
            parents = [key for key in parents if key not in keys[site.id, number]]
        if not parents:
            return None
        values["the id" if shape.kind == "joined" else "owner"] = random.choice(parents)
    values |= _own_key(shape, row, random)
    for position, link in _links(example.schema, shape):
        targets = keys[site.id, link.target] if link.target < number else []
        if targets and not (link.optional and random.random() < 0.2):
            values[f"link {position}"] = random.choice(targets)
        elif not link.optional:
            return None
    for position, type_ in enumerate(shape.types):
        values[f"value {position}"] = random.choice([*example.values[type_], sa.null()])
    return values


def _own_key(shape: TableShape, row: int, random: Random) -> dict[str, Any]:
    """Return the values of the key that the database does not generate."""
    if shape.kind == "association" or (shape.kind == "owned" and shape.key in ("text", "number")):
        return {"number": row}
    if shape.kind == "joined" or shape.key not in ("text", "number", "uuid"):
        return {}
    return {"the id": {"text": f"it's {row}", "number": row, "uuid": _uuid(random)}[shape.key]}


def _uuid(random: Random) -> Any:
    return UUID(int=random.getrandbits(128), version=4)


def _close_cycles(
    connection: Any,
    schema: Schema,
    made: list[sa.Table],
    site: Site,
    keys: dict[tuple[int, int], list[Any]],
    random: Random,
) -> None:
    """Set the references to the same and to later tables."""
    for number, shape in enumerate(schema):
        for position, link in _links(schema, shape):
            targets = keys[site.id, link.target]
            if link.target >= number and targets:
                for row in range(0, 9, 2):
                    table = made[number]
                    is_row = (table.c.site_id == site.id) & (table.c.label == f"row {row}")
                    value = {f"link {position}": random.choice(targets)}
                    connection.execute(sa.update(table).where(is_row).values(value))


def describe(engine: Engine, example: Example, made: list[sa.Table], site: Site) -> dict[int, dict[Any, Any]]:
    """Return the rows of a site, each with the labels of the rows it refers to in place of keys."""
    schema, labels, found = example.schema, {}, {}
    with all_sites("describe generated tables"), engine.connect() as connection:
        rows = [[row._mapping for row in connection.execute(sa.select(table))] for table in made]
    for number, shape in enumerate(schema):
        if shape.kind == "owned":
            continue
        rows[number] = [row for row in rows[number] if row["site_id"] == site.id]
        for row in rows[number]:
            labels[number, row.get("the id")] = row["label"]
    for number, shape in enumerate(schema):
        described = {}
        for row in rows[number]:
            owner = labels.get((shape.parent, row.get("owner", row.get("the id"))))
            if shape.kind == "owned" and owner is None:
                continue
            values = {name: _plain(value) for name, value in row.items() if name.startswith(("value", "is"))}
            for position, link in _links(schema, shape):
                key = row[f"link {position}"]
                values[f"link {position}"] = key if key is None else labels.get((link.target, key), f"lost {key}")
            if shape.kind != "plain":
                values["owner"] = owner
            kept = "number" if "number" in row else "the id" if shape.key in ("text", "number") else None
            if kept is not None and shape.kind != "joined":
                values["key"] = row[kept]
            described[row["label"]] = values
        found[number] = described
    return found


def _plain(value: Any) -> Any:
    """Return a value as it is on every database: SQLite returns a time in UTC without its zone."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def raw_rows(engine: Engine, made: list[sa.Table], sites: list[Site]) -> list[list[Any]]:
    """Return all rows of some sites as the driver returns them."""
    ids = [site.id for site in sites]
    with all_sites("read generated tables"), engine.connect() as connection:
        return [
            sorted(
                map(
                    repr,
                    connection.execute(
                        sa.select(*(sa.type_coerce(column, sa.types.NullType()) for column in table.columns)).where(
                            table.c.site_id.in_(ids)
                        )
                    ),
                )
            )
            for table in made
            if "site_id" in table.c
        ]
