"""Generated schemas and rows of sites, and a description of a site's rows that does not depend on their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection, Engine

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

KEYS = ("integer", "identity", "autoincrement", "sequence", "uuid", "text", "number")
TARGETS = frozenset(KEYS) - {"number"}
_NULL = object()
"""Stands for NULL of the database."""

PLACEHOLDERS: dict[str, Any] = {"uuid": UUID(int=0), "text": "none yet"}
"""By kind of key, what a required reference has before its row exists; 0 for the other kinds."""
NAMES = ("Order items", "select", "plain", "größe", "a.b", "x'y", "CamelCase", "t8")


@dataclass(frozen=True)
class Link:
    """A reference to the table with this number: an earlier one, or, in a cycle, the same or a later one."""

    target: int
    optional: bool


@dataclass(frozen=True)
class TableShape:
    """A table with a key of some kind, links, and columns of some types.

    An `owned` table has no `site_id` and belongs to rows of `parent`; a `joined` one shares the keys of `parent`; the
    rows of an `association` have the keys of `parent` and a number. Rows of a table that `shares` refer to a table that
    all sites share.
    """

    key: str
    links: tuple[Link, ...] = ()
    types: tuple[str, ...] = ()
    kind: str = "plain"
    parent: int = 0
    in_schema: bool = False
    shares: bool = False


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
    size = draw(st.sampled_from([2, 3, 3, 4, 4, 5, 6, 7, 8]))
    shapes: list[TableShape] = []
    for _ in range(size):
        parents = [
            n for n, each in enumerate(shapes) if each.kind in ("plain", "joined") and each.key in TARGETS - {"text"}
        ]
        kind = draw(st.sampled_from(["plain", "plain", "owned", "joined", "association"])) if parents else "plain"
        parent = draw(st.sampled_from(parents)) if parents else 0
        key = shapes[parent].key if kind == "joined" else draw(st.sampled_from(KEYS))
        links = [
            Link(target, draw(st.booleans()))
            for target in draw(st.lists(st.integers(0, size - 1), max_size=2))
            if kind != "owned"
        ]
        types = tuple(draw(st.lists(st.sampled_from(sorted(TYPES)), max_size=4)))
        shapes.append(TableShape(key, tuple(links), types, kind, parent, draw(st.booleans()), draw(st.booleans())))
    shapes = [replace(shape, links=tuple(_with_rows(shapes, number))) for number, shape in enumerate(shapes)]
    used = sorted({type_ for shape in shapes for type_ in shape.types})
    values = {type_: draw(st.lists(TYPES[type_][1], min_size=1, max_size=4)) for type_ in used}
    return Example(tuple(shapes), values, draw(st.integers(0, 2**16)))


def _with_rows(shapes: list[TableShape], number: int) -> Iterator[Link]:
    """Yield the links of a table; in a cycle, only those between tables that surely have rows can be required."""
    for link in shapes[number].links:
        plain = shapes[number].kind == shapes[link.target].kind == "plain"
        yield link if link.target < number or plain else replace(link, optional=True)


def make_tables(schema: Schema, prefix: str, *, with_schemas: bool = False) -> list[sa.Table]:
    """Return the tables of a schema, in a MetaData of their own; their names begin with `prefix`."""
    metadata = sa.MetaData()
    key = sa.Column("id", sa.Integer, primary_key=True)
    shared = sa.Table(f"{prefix} places", metadata, key, sa.Column("code", sa.Text), info={"export_key": "code"})
    made = [
        sa.Table(
            f"{prefix} {NAMES[number]}",
            metadata,
            *_columns(schema, shape, f"{prefix}_sequence_{number}", shared),
            schema="Other Schema" if with_schemas and shape.in_schema else None,
            sqlite_autoincrement=shape.key == "autoincrement" and shape.kind == "plain",
        )
        for number, shape in enumerate(schema)
    ]
    for number, shape in enumerate(schema):
        table = made[number]
        if shape.kind != "plain":
            column = "the id" if shape.kind == "joined" else "owner"
            _refer(table, column, made[shape.parent], f"{prefix}_fk_{number}", scoped=shape.kind != "owned")
        for position, link in _links(schema, shape):
            late = {"deferrable": True, "initially": "DEFERRED"} if is_required_cycle(number, link) else {}
            name = f"{prefix}_fk_{number}_{position}"
            _refer(table, f"link {position}", made[link.target], name, scoped=True, **late)
    return made


def is_required_cycle(number: int, link: Link) -> bool:
    """Return whether a row of the table with this number needs one that is inserted later."""
    return not link.optional and link.target >= number


def _links(schema: Schema, shape: TableShape) -> list[tuple[int, Link]]:
    """Return the links of a table to tables that can be referred to."""
    return [
        (position, link)
        for position, link in enumerate(shape.links)
        if schema[link.target].kind in ("plain", "joined") and schema[link.target].key in TARGETS
    ]


def _refer(table: sa.Table, column: str, target: sa.Table, name: str, *, scoped: bool, **late: Any) -> None:
    goal = next(each for each in target.primary_key if each.name != "site_id")
    own, others = [table.c[column]], [goal]
    if scoped:
        own, others = [table.c.site_id, *own], [target.c.site_id, *others]
    table.append_constraint(sa.ForeignKeyConstraint(own, others, name=name, use_alter=True, **late))


def _key_type(key: str) -> Any:
    return {"uuid": sa.Uuid(), "text": sa.String(40)}.get(key) or sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _value_type(name: str, enum_name: str) -> Any:
    made = TYPES[name][0]()
    if name == "enum":
        made.name = enum_name  # On PostgreSQL, each is a type of the database.
    return made


def _columns(schema: Schema, shape: TableShape, sequence: str, shared: sa.Table) -> list[Any]:
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
    elif shape.key == "sequence" and shape.kind != "joined":
        items.append(sa.Column("the id", type_, sa.Sequence(sequence, metadata=shared.metadata), primary_key=True))
    else:
        items.append(sa.Column("the id", type_, primary_key=True, autoincrement="auto"))
    items += [sa.Column("place", sa.ForeignKey(shared.c.id))] if shape.shares else []
    for position, link in _links(schema, shape):
        items.append(sa.Column(f"link {position}", _key_type(schema[link.target].key), nullable=link.optional))
    items += [
        sa.Column(f"value {position}", _value_type(each, f"{sequence} mood {position}"))
        for position, each in enumerate(shape.types)
    ]
    if "integer" in shape.types:
        column = f"value {shape.types.index('integer')}"
        items.append(sa.Column("is negative", sa.Boolean, sa.Computed(f'"{column}" < 0', persisted=True)))
    return [*items, sa.Column("label", sa.String(40), nullable=False, server_default="none")]


def fill(engine: Engine, example: Example, made: list[sa.Table], sites: list[Site], most: int = 3) -> None:
    """Insert rows for each site; the label of a row is unique in its table and site."""
    random = Random(example.seed)
    with all_sites("fill generated tables"), engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        keys: dict[tuple[int, int], list[Any]] = {}
        places = _insert_places(connection, made[0].metadata, last_first=len(sites) == 2)
        fewest = int(any(is_required_cycle(*each) for each in _numbered_links(example.schema)))
        for site in sites:
            for number, shape in enumerate(example.schema):
                keys[site.id, number] = []
                for row in range(random.randint(fewest, most)):
                    values = _row(example, shape, number, row, site, keys, random)
                    if values is None:
                        continue
                    if shape.shares:
                        values["place"] = random.choice([*places, None])
                    # The same columns for each row of a table, so that SQLAlchemy compiles one statement for it.
                    insert = sa.insert(made[number]).returning(*made[number].primary_key)
                    found = connection.execute(insert, values)
                    inserted = dict(zip((column.name for column in made[number].primary_key), found.one(), strict=True))
                    keys[site.id, number].append(inserted.get("the id"))
            _close_cycles(connection, example.schema, made, site, keys, random)
    if engine.dialect.name == "postgresql" and example.seed % 2:
        _check_references_at_once(engine, example.schema, made)


def _insert_places(connection: Connection, metadata: sa.MetaData, *, last_first: bool) -> list[int]:
    """Insert the rows that all sites share, whose keys differ between databases, and return these."""
    table = next(table for table in metadata.tables.values() if "export_key" in table.info)
    codes = ["north", "south", "west"][:: -1 if last_first else 1]
    connection.execute(sa.insert(table), [{"code": code} for code in codes])
    return list(connection.scalars(sa.select(table.c.id).order_by(table.c.id)))


def _numbered_links(schema: Schema) -> Iterator[tuple[int, Link]]:
    return ((number, link) for number, shape in enumerate(schema) for _, link in _links(schema, shape))


def _check_references_at_once(engine: Engine, schema: Schema, made: list[sa.Table]) -> None:
    """Make the constraints of required cycles such that they cannot be deferred."""
    with all_sites("change generated tables"), engine.begin() as connection:
        for number, shape in enumerate(schema):
            for position, link in _links(schema, shape):
                if is_required_cycle(number, link):
                    quote = connection.dialect.identifier_preparer
                    name = next(
                        quote.quote(str(each.name))
                        for each in made[number].foreign_key_constraints
                        if f"link {position}" in each.column_keys
                    )
                    connection.exec_driver_sql(
                        f"ALTER TABLE {quote.format_table(made[number])} ALTER CONSTRAINT {name} NOT DEFERRABLE"
                    )


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
        elif is_required_cycle(number, link):
            values[f"link {position}"] = PLACEHOLDERS.get(example.schema[link.target].key, 0)
        elif link.optional:
            values[f"link {position}"] = None
        else:
            return None
    return values | dict(_values(example, shape, random))


def _values(example: Example, shape: TableShape, random: Random) -> Iterator[tuple[str, Any]]:
    for position, type_ in enumerate(shape.types):
        value = random.choice([*example.values[type_], _NULL])
        if value is not _NULL:
            yield f"value {position}", value
        elif type_ not in ("json", "array"):  # There, None is the null of JSON.
            yield f"value {position}", None


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
                for row in range(0, 9, 2 if link.optional else 1):
                    table = made[number]
                    is_row = (table.c.site_id == site.id) & (table.c.label == f"row {row}")
                    value = {f"link {position}": random.choice(targets)}
                    connection.execute(sa.update(table).where(is_row).values(value))


def describe(engine: Engine, example: Example, made: list[sa.Table], site: Site) -> dict[int, dict[Any, Any]]:
    """Return the rows of a site, each with the labels of the rows it refers to in place of keys."""
    schema, labels, found = example.schema, {}, {}
    shared = next(table for table in made[0].metadata.tables.values() if "export_key" in table.info)
    with all_sites("describe generated tables"), engine.connect() as connection:
        places = {None: None} | {row.id: row.code for row in connection.execute(sa.select(shared))}
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
            values |= _linked_labels(schema, shape, row, labels)
            if shape.kind != "plain":
                values["owner"] = owner
            if shape.shares:
                values["place"] = places[row["place"]]
            kept = "number" if "number" in row else "the id" if shape.key in ("text", "number") else None
            if kept is not None and shape.kind != "joined":
                values["key"] = row[kept]
            assert row["label"] not in described, "a row is there twice"
            described[row["label"]] = values
        found[number] = described
    return found


def _linked_labels(schema: Schema, shape: TableShape, row: Any, labels: dict[tuple[int, Any], str]) -> dict[str, Any]:
    keys = {f"link {position}": (link.target, row[f"link {position}"]) for position, link in _links(schema, shape)}
    return {name: None if key[1] is None else labels.get(key, f"lost {key[1]}") for name, key in keys.items()}


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
