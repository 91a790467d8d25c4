"""Events in the database: put there in batches, searched, forgotten after a time."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, or_, select

from mailward.database import Database
from mailward.database.columns import as_value, column_lines, column_text
from mailward.database.tables import EVENTS
from mailward.protect.events import Row

_FORGET_EVERY = timedelta(hours=1)
_LISTS = ("recipients", "risks", "action", "rule")


class EventRows:
    """The rows of one database. Every method raises TemporaryError when it cannot be reached."""

    def __init__(self, database: Database, keep_days: float) -> None:
        self._database = database
        self._keep = timedelta(days=keep_days)
        self._forget = datetime.min.replace(tzinfo=UTC)

    def insert(self, rows: Sequence[Row]) -> None:
        """Add events; now and then, forget those that were kept for long enough."""
        now = datetime.now(UTC)
        with self._database.transaction() as connection:
            if rows:
                connection.execute(insert(EVENTS), [_flat(row) for row in rows])
            if now >= self._forget:
                connection.execute(delete(EVENTS).where(EVENTS.c.at < now - self._keep))
                self._forget = now + _FORGET_EVERY

    def search(
        self, *, text: str = "", since: datetime | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """The newest first. ``text``: in an address, an id, a risk or a rule, in any case."""
        query = select(EVENTS).order_by(EVENTS.c.id.desc()).limit(limit)
        if since is not None:
            query = query.where(EVENTS.c.at >= since)
        if text:
            columns = (
                EVENTS.c.sender, EVENTS.c.recipients, EVENTS.c.client, EVENTS.c.message_id,
                EVENTS.c.trace_id, EVENTS.c.queue_id, EVENTS.c.risks, EVENTS.c.rule, EVENTS.c.login,
            )  # fmt: skip
            found = (column.icontains(text, autoescape=True) for column in columns)
            query = query.where(or_(*found))
        with self._database.transaction() as connection:
            return [as_value(row, _LISTS) for row in connection.execute(query).mappings()]


def _flat(row: Row) -> Mapping[str, Any]:
    texts = {key: column_text(value) for key, value in row.items() if isinstance(value, str)}
    return {**row, **texts, **{key: column_lines(row[key]) for key in _LISTS}}
