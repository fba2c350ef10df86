"""Pages: entries without a date, whose slug is the path of their address"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "content_0014"
down_revision = "content_0013"
branch_labels = None
depends_on = None

BEFORE = "draft OR published IS NOT NULL"
AFTER = "CASE WHEN substr(slug, 1, 1) = '/' THEN published IS NULL ELSE draft OR published IS NOT NULL END"

# As in multisite/content/triggers.py when this revision was written; `dated` is empty before it.
COUNT = "INSERT INTO entry_counts (site_id, period, entries)"
AND_ONE = "ON CONFLICT (site_id, period) DO UPDATE SET entries = entry_counts.entries + 1"


def sqlite_period(row: str) -> str:
    published = f"{row}.published"
    return f"substr({published}, 1, CASE WHEN substr({published}, 6, 5) IN ('12-31', '01-01') THEN 19 ELSE 7 END)"


def sqlite_triggers(dated: str) -> tuple[str, ...]:
    return (
        "DROP TRIGGER entries_after_insert",
        "DROP TRIGGER entries_after_update",
        f"""CREATE TRIGGER IF NOT EXISTS entries_after_insert AFTER INSERT ON entries WHEN NOT NEW.draft{dated} BEGIN
{COUNT} VALUES (NEW.site_id, {sqlite_period("NEW")}, 1) {AND_ONE};
END""",
        f"""CREATE TRIGGER IF NOT EXISTS entries_after_update AFTER UPDATE OF draft, published ON entries
WHEN OLD.draft IS NOT NEW.draft OR OLD.published IS NOT NEW.published BEGIN
UPDATE entry_counts SET entries = entries - 1
WHERE site_id = OLD.site_id AND period = {sqlite_period("OLD")} AND NOT OLD.draft;
{COUNT} SELECT NEW.site_id, {sqlite_period("NEW")}, 1 WHERE NOT NEW.draft{dated} {AND_ONE};
UPDATE entry_tags SET listed = CASE WHEN NEW.draft THEN NULL ELSE NEW.published END \
WHERE site_id = NEW.site_id AND entry_id = NEW.id;
END""",
    )


def postgresql_triggers(dated: str) -> tuple[str, ...]:
    return (
        f"""CREATE OR REPLACE FUNCTION entries_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
IF TG_OP <> 'INSERT' AND NOT OLD.draft THEN
UPDATE entry_counts SET entries = entries - 1
WHERE site_id = OLD.site_id AND period = entry_period(OLD.published);
END IF;
IF TG_OP <> 'DELETE' AND NOT NEW.draft{dated} THEN
{COUNT} VALUES (NEW.site_id, entry_period(NEW.published), 1) {AND_ONE};
END IF;
IF TG_OP = 'UPDATE' THEN
UPDATE entry_tags SET listed = CASE WHEN NEW.draft THEN NULL ELSE NEW.published END
WHERE site_id = NEW.site_id AND entry_id = NEW.id;
END IF;
RETURN NULL;
END $$""",
    )


def change(old: str, new: str, dated: str) -> None:
    """Replace the condition of the constraint, and the triggers that count entries."""
    is_sqlite = op.get_context().dialect.name == "sqlite"
    if is_sqlite:
        # SQLite has no ALTER for this, and a new table would lose the triggers, and the rows that refer to the old one
        # where foreign keys are enforced. https://sqlite.org/lang_altertable.html describes this for changes that do
        # not affect what is stored.
        statement = "UPDATE sqlite_master SET sql = replace(sql, :old, :new) WHERE type = 'table' AND name = 'entries'"
        op.execute("PRAGMA writable_schema = ON")
        op.execute(sa.text(statement).bindparams(old=f"CHECK ({old})", new=f"CHECK ({new})"))
        op.execute("PRAGMA writable_schema = RESET")
    else:
        # Content_0001 gave the constraint a name to which the naming convention was applied again.
        for name in ("ck_entries_published", "ck_entries_ck_entries_published"):
            op.execute(f"ALTER TABLE entries DROP CONSTRAINT IF EXISTS {name}")
        op.create_check_constraint(op.f("ck_entries_published"), "entries", new)
    for each in sqlite_triggers(dated) if is_sqlite else postgresql_triggers(dated):
        op.execute(sa.text(each.replace(":", r"\:")))


def upgrade() -> None:
    change(BEFORE, AFTER, " AND NEW.published IS NOT NULL")


def downgrade() -> None:
    op.execute("UPDATE entries SET draft = true WHERE published IS NULL")
    change(AFTER, BEFORE, "")
