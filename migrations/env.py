"""How alembic reaches the tables of the reference application, under `multisite migrate` and `alembic` alike."""

from __future__ import annotations

from typing import Any, Literal

import plaster
import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext

from multisite.content.models import Base, UtcDateTime
from multisite.directory import engine_from_url
from multisite.scoping import SiteId

SETTINGS = plaster.get_settings(context.config.config_file_name, "app:main")
DATABASE_URL = SETTINGS.get("multisite.owner_url") or SETTINGS["sqlalchemy.url"]

OPTIONS: dict[str, Any] = {
    "target_metadata": Base.metadata,
    # SQLite changes a table only by making a new one, which this does.
    "render_as_batch": True,
}


def render_item(kind: str, item: Any, autogen_context: AutogenContext) -> str | Literal[False]:
    """Write the types of columns into new revisions as what the database gets: a revision imports no model."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, SiteId):
        return "sa.BigInteger()"
    return False


def run_offline() -> None:
    """Print the SQL instead of running it (`alembic upgrade head --sql`)."""
    context.configure(url=DATABASE_URL, literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """Run the revisions, all of them in one transaction where the database can."""
    engine = engine_from_url(DATABASE_URL, poolclass=sa.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, render_item=render_item, **OPTIONS)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
