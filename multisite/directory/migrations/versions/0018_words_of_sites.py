"""indexes and words by which operators find sites"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0018"
down_revision = "0017"

MAX_CHARACTERS = 200

BATCH_ROWS = 10_000


def upgrade(op: Operations) -> None:
    is_canonical = sa.text("kind = 'canonical'")
    op.create_index(
        "ix_domains_canonical",
        "domains",
        ["host", "port", "path", "site_id"],
        sqlite_where=is_canonical,
        postgresql_where=is_canonical,
    )
    op.create_index("ix_sites_status_availability", "sites", ["status", "availability"])
    op.create_index("ix_sites_name_id", "sites", ["name", "id"])
    collation = "C" if op.get_bind().dialect.name == "postgresql" else None
    words = op.create_table(
        "multisite_site_words",
        sa.Column("site_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("word", sa.String(MAX_CHARACTERS, collation=collation), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "word", name="pk_multisite_site_words"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_multisite_site_words_site_id", ondelete="CASCADE"),
    )
    batch: list[dict[str, object]] = []
    connection = op.get_bind()
    for site_id, word in _words(connection):
        batch.append({"site_id": site_id, "word": word})
        if len(batch) == BATCH_ROWS:
            connection.execute(sa.insert(words), batch)
            batch = []
    if batch:
        connection.execute(sa.insert(words), batch)
    op.create_index("ix_multisite_site_words_word_site_id", "multisite_site_words", ["word", "site_id"])


def _words(connection: sa.Connection) -> Iterator[tuple[int, str]]:
    """Yield the ids of the sites that have a canonical domain, each with one of its words."""
    rows = connection.exec_driver_sql(
        "SELECT domains.site_id, sites.name, host, port, path FROM domains JOIN sites ON sites.id = domains.site_id "
        "WHERE EXISTS (SELECT 1 FROM domains AS own WHERE own.site_id = sites.id AND own.kind = 'canonical') "
        "ORDER BY domains.site_id"
    ).all()
    last = 0
    found: set[str] = set()
    for site_id, name, host, port, path in rows:
        if site_id != last:
            last, found = site_id, set()
        domain = host + (f":{port}" if port else "") + path
        for text in {name, domain, re.sub(r"(?<![^.])xn--([a-z0-9-]+)", _decode_label, domain)}:
            normal = unicodedata.normalize("NFKC", text).casefold()
            for each in re.finditer(r"(?<![^\W_])[^\W_]", normal):
                word = normal[each.start() :][:MAX_CHARACTERS]
                if word not in found:
                    found.add(word)
                    yield site_id, word


def _decode_label(found: re.Match[str]) -> str:
    try:
        text = found[1].encode().decode("punycode")
        text.encode()  # Half of a surrogate pair cannot be stored.
    except UnicodeError:
        return found[0]
    return text
