"""The tables, as the newest migration leaves them; a test compares the two."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

_ROW_ID = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only for INTEGER."""

EVENTS = Table(
    "events",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("node", String(255), nullable=False),
    Column("door", String(32), nullable=False),
    Column("event", String(32), nullable=False),
    Column("trace_id", String(64), nullable=False),
    Column("queue_id", String(64), nullable=False),
    Column("message_id", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("helo", Text, nullable=False, server_default=""),
    Column("login", Text, nullable=False, server_default=""),
    Column("sender", Text, nullable=False),
    Column("recipients", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("verdict", String(32), nullable=False),
    Column("risks", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("set_version", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("ms", Float, nullable=False),
)
"""One row for each thing that happened to a message; lists are joined by a line end."""

HELD = Table(
    "held",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("node", String(255), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("sender", Text, nullable=False),
    Column("recipients", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("verdict", String(32), nullable=False),
    Column("risks", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("set_version", Text, nullable=False),
)
"""What the quarantine folder of each node holds, for searching."""

INDEXES = (
    Index("events_at", EVENTS.c.at),
    Index("events_message_id", EVENTS.c.message_id),
    Index("held_at", HELD.c.node, HELD.c.at),
)
