"""Alembic's way in: ``Database`` hands over the connection to migrate."""

from alembic import context

from mailward.database.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
