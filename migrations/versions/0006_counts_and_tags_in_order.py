"""Counts of entries by month, and the tags of entries in order"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0006"
down_revision = "content_0005"
branch_labels = None
depends_on = None

# As in multisite/content/triggers.py when this revision was written.
COUNT = "INSERT INTO entry_counts (site_id, period, entries)"
AND_ONE = "ON CONFLICT (site_id, period) DO UPDATE SET entries = entry_counts.entries + 1"


def sqlite_period(row: str) -> str:
    published = f"{row}.published"
    return f"substr({published}, 1, CASE WHEN substr({published}, 6, 5) IN ('12-31', '01-01') THEN 19 ELSE 7 END)"


def sqlite_listed(row: str) -> str:
    return f"CASE WHEN {row}.draft THEN NULL ELSE {row}.published END"


def sqlite_set_listed(name: str, occasion: str) -> str:
    return f"""CREATE TRIGGER IF NOT EXISTS {name} AFTER {occasion} ON entry_tags BEGIN
UPDATE entry_tags SET listed = (
SELECT {sqlite_listed("e")} FROM entries AS e WHERE e.site_id = NEW.site_id AND e.id = NEW.entry_id
) WHERE site_id = NEW.site_id AND entry_id = NEW.entry_id AND tag_id = NEW.tag_id;
END"""


SQLITE = (
    f"""CREATE TRIGGER IF NOT EXISTS entries_after_insert AFTER INSERT ON entries WHEN NOT NEW.draft BEGIN
{COUNT} VALUES (NEW.site_id, {sqlite_period("NEW")}, 1) {AND_ONE};
END""",
    f"""CREATE TRIGGER IF NOT EXISTS entries_after_delete AFTER DELETE ON entries WHEN NOT OLD.draft BEGIN
UPDATE entry_counts SET entries = entries - 1 WHERE site_id = OLD.site_id AND period = {sqlite_period("OLD")};
END""",
    f"""CREATE TRIGGER IF NOT EXISTS entries_after_update AFTER UPDATE OF draft, published ON entries
WHEN OLD.draft IS NOT NEW.draft OR OLD.published IS NOT NEW.published BEGIN
UPDATE entry_counts SET entries = entries - 1
WHERE site_id = OLD.site_id AND period = {sqlite_period("OLD")} AND NOT OLD.draft;
{COUNT} SELECT NEW.site_id, {sqlite_period("NEW")}, 1 WHERE NOT NEW.draft {AND_ONE};
UPDATE entry_tags SET listed = {sqlite_listed("NEW")} WHERE site_id = NEW.site_id AND entry_id = NEW.id;
END""",
    sqlite_set_listed("entry_tags_after_insert", "INSERT"),
    sqlite_set_listed("entry_tags_after_update", "UPDATE OF entry_id"),
)

POSTGRESQL = (
    """CREATE OR REPLACE FUNCTION entry_period(published timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$
SELECT to_char(published AT TIME ZONE 'UTC', CASE WHEN to_char(published AT TIME ZONE 'UTC', 'MM-DD')
IN ('12-31', '01-01') THEN 'YYYY-MM-DD HH24:MI:SS' ELSE 'YYYY-MM' END) $$""",
    f"""CREATE OR REPLACE FUNCTION entries_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
IF TG_OP <> 'INSERT' AND NOT OLD.draft THEN
UPDATE entry_counts SET entries = entries - 1
WHERE site_id = OLD.site_id AND period = entry_period(OLD.published);
END IF;
IF TG_OP <> 'DELETE' AND NOT NEW.draft THEN
{COUNT} VALUES (NEW.site_id, entry_period(NEW.published), 1) {AND_ONE};
END IF;
IF TG_OP = 'UPDATE' THEN
UPDATE entry_tags SET listed = CASE WHEN NEW.draft THEN NULL ELSE NEW.published END
WHERE site_id = NEW.site_id AND entry_id = NEW.id;
END IF;
RETURN NULL;
END $$""",
    """CREATE OR REPLACE FUNCTION entry_tags_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
NEW.listed := (SELECT CASE WHEN e.draft THEN NULL ELSE e.published END
FROM entries AS e WHERE e.site_id = NEW.site_id AND e.id = NEW.entry_id);
RETURN NEW;
END $$""",
    "DROP TRIGGER IF EXISTS entries_counted ON entries",
    """CREATE TRIGGER entries_counted AFTER INSERT OR DELETE ON entries
FOR EACH ROW EXECUTE FUNCTION entries_changed()""",
    "DROP TRIGGER IF EXISTS entries_moved ON entries",
    """CREATE TRIGGER entries_moved AFTER UPDATE OF draft, published ON entries
FOR EACH ROW WHEN (OLD.draft <> NEW.draft OR OLD.published IS DISTINCT FROM NEW.published)
EXECUTE FUNCTION entries_changed()""",
    "DROP TRIGGER IF EXISTS entry_tags_listed ON entry_tags",
    """CREATE TRIGGER entry_tags_listed BEFORE INSERT OR UPDATE OF entry_id ON entry_tags
FOR EACH ROW EXECUTE FUNCTION entry_tags_changed()""",
)

TRIGGERS = {"sqlite": SQLITE, "postgresql": POSTGRESQL}

PERIOD = {
    "sqlite": "substr(published, 1, CASE WHEN substr(published, 6, 5) IN ('12-31', '01-01') THEN 19 ELSE 7 END)",
    "postgresql": "entry_period(published)",
}

DROP_TRIGGERS = {
    "sqlite": (
        "DROP TRIGGER entries_after_insert",
        "DROP TRIGGER entries_after_delete",
        "DROP TRIGGER entries_after_update",
        "DROP TRIGGER entry_tags_after_insert",
        "DROP TRIGGER entry_tags_after_update",
    ),
    "postgresql": (
        "DROP TRIGGER entries_counted ON entries",
        "DROP TRIGGER entries_moved ON entries",
        "DROP TRIGGER entry_tags_listed ON entry_tags",
        "DROP FUNCTION entries_changed()",
        "DROP FUNCTION entry_tags_changed()",
        "DROP FUNCTION entry_period(timestamptz)",
    ),
}


def upgrade() -> None:
    dialect = op.get_context().dialect.name
    op.create_table(
        "entry_counts",
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("period", sa.String(19), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "period", name="pk_entry_counts"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_entry_counts_site_id"),
    )
    op.add_column("entry_tags", sa.Column("listed", sa.DateTime(timezone=True), nullable=True))
    for statement in TRIGGERS[dialect]:
        op.execute(sa.text(statement.replace(":", r"\:")))
    op.execute(
        f"INSERT INTO entry_counts (site_id, period, entries) SELECT site_id, {PERIOD[dialect]}, count(*) "
        "FROM entries WHERE NOT draft GROUP BY 1, 2"
    )
    op.execute(
        "UPDATE entry_tags SET listed = (SELECT CASE WHEN e.draft THEN NULL ELSE e.published END FROM entries AS e "
        "WHERE e.site_id = entry_tags.site_id AND e.id = entry_tags.entry_id)"
    )
    op.create_index(
        "ix_entry_tags_site_id_tag_id_listed_entry_id", "entry_tags", ["site_id", "tag_id", "listed", "entry_id"]
    )
    op.drop_index("ix_entry_tags_site_id_tag_id", "entry_tags")


def downgrade() -> None:
    for statement in DROP_TRIGGERS[op.get_context().dialect.name]:
        op.execute(statement)
    op.create_index("ix_entry_tags_site_id_tag_id", "entry_tags", ["site_id", "tag_id"])
    op.drop_index("ix_entry_tags_site_id_tag_id_listed_entry_id", "entry_tags")
    op.drop_column("entry_tags", "listed")
    op.drop_table("entry_counts")
