"""Alembic environment of the reference application, for `multisite migrate` and `alembic`."""

from __future__ import annotations

from typing import Any, Literal

import plaster
import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext

from multisite.content.models import UtcDateTime
from multisite.content.tables import Base
from multisite.directory import engine_from_url
from multisite.scoping import SiteId

SETTINGS = plaster.get_settings(context.config.config_file_name, "app:main")
DATABASE_URL = SETTINGS.get("multisite.owner_url") or SETTINGS["sqlalchemy.url"]

OPTIONS: dict[str, Any] = {
    "target_metadata": Base.metadata,
    # SQLite cannot alter most of a table; batch mode rebuilds it.
    "render_as_batch": True,
}


def render_item(kind: str, item: Any, autogen_context: AutogenContext) -> str | Literal[False]:
    """Render column types as plain SQLAlchemy types, since a revision must not import models."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, SiteId):
        return "sa.BigInteger()"
    return False


def run_offline() -> None:
    """Print the SQL without running it (`alembic upgrade head --sql`)."""
    context.configure(url=DATABASE_URL, literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """Run all revisions in one transaction, if the database supports that."""
    engine = engine_from_url(DATABASE_URL, poolclass=sa.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, render_item=render_item, **OPTIONS)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
