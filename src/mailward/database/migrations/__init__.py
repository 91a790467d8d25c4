"""Alembic migrations; see ``mailward.database``."""
