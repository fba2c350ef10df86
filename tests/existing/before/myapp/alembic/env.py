from alembic import context
from pyramid.paster import get_appsettings, setup_logging
from sqlalchemy import engine_from_config

from myapp.models.meta import Base

ini = context.config.config_file_name
setup_logging(ini)
settings = get_appsettings(ini)

if context.is_offline_mode():
    context.configure(url=settings["sqlalchemy.url"])
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = engine_from_config(settings, prefix="sqlalchemy.")
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata)
        with context.begin_transaction():
            context.run_migrations()
