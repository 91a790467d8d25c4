"""What the client of a message called itself, and who had authenticated."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the change."""
    for name in ("helo", "login"):
        op.add_column("events", sa.Column(name, sa.Text, nullable=False, server_default=""))
