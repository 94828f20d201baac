"""Run by Alembic with the connection and transaction of ``scheduler.db``: all of an upgrade, or nothing."""

from alembic import context

from scheduler.models import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
context.run_migrations()
