"""The quarantine as rows to search. The folder is the truth; this follows it whenever it is asked.

Each node (computer) has rows for its own folder, so that servers that share a database see what the
others hold as well; messages are released where they are held.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, or_, select

from mailward.database import Database
from mailward.database.columns import as_value, column_lines, column_text
from mailward.database.tables import HELD
from mailward.errors import FormatError, UsageError
from mailward.protect.quarantine import Quarantine
from mailward.protect.room import held_since

_BATCH = 250
"""Rows and names in one statement: below the limits of both databases."""


def search(
    database: Database,
    quarantine: Quarantine,
    node: str,
    *,
    text: str = "",
    since: datetime | None = None,
    everywhere: bool = False,
    limit: int | None = None,
) -> Sequence[Mapping[str, Any]]:
    """What is held, the newest first.

    ``text``: in an address, the subject, a message id, a risk or a rule. ``everywhere``: on other
    nodes as well. Raises TemporaryError when the database cannot be reached.
    """
    with database.transaction() as connection:
        _follow(connection, quarantine, node)
    query = select(HELD).order_by(HELD.c.at.desc(), HELD.c.id.desc())
    if not everywhere:
        query = query.where(HELD.c.node == node)
    if since is not None:
        query = query.where(HELD.c.at >= since)
    if text:
        columns = (
            HELD.c.id, HELD.c.sender, HELD.c.recipients, HELD.c.subject, HELD.c.message_id,
            HELD.c.risks, HELD.c.rule,
        )  # fmt: skip
        query = query.where(or_(*(column.icontains(text, autoescape=True) for column in columns)))
    with database.transaction() as connection:
        rows = connection.execute(query.limit(limit)).mappings()
        return [as_value(row, ("recipients", "risks")) for row in rows]


def _follow(connection: Connection, quarantine: Quarantine, node: str) -> None:
    """Rows for what has come, none for what has gone."""
    known = set(connection.scalars(select(HELD.c.id).where(HELD.c.node == node)))
    there = quarantine.ids()
    gone = sorted(known.difference(there))
    for start in range(0, len(gone), _BATCH):
        some = HELD.c.id.in_(gone[start : start + _BATCH])
        connection.execute(delete(HELD).where(and_(HELD.c.node == node, some)))
    new = [row for id_ in there if id_ not in known if (row := _row(quarantine, id_, node))]
    for start in range(0, len(new), _BATCH):
        connection.execute(insert(HELD), new[start : start + _BATCH])


def _row(quarantine: Quarantine, id_: str, node: str) -> dict[str, Any] | None:
    """None if it has gone meanwhile."""
    try:
        held = quarantine.get(id_)
    except UsageError:
        return None
    except FormatError as e:
        return _damaged(id_, node, str(e))
    return {
        "id": id_,
        "node": node,
        "at": held.at,
        "sender": column_text(held.envelope.sender),
        "recipients": column_lines(held.envelope.recipients),
        "subject": column_text(held.subject),
        "message_id": column_text(held.message_id),
        "size_bytes": held.size_bytes,
        "verdict": held.verdict.kind.value,
        "risks": column_lines(dict.fromkeys(risk.name for risk in held.verdict.risks)),
        "rule": column_text(held.decision.rule),
        "set_version": column_text(held.verdict.set),
    }


def _damaged(id_: str, node: str, problem: str) -> dict[str, Any]:
    try:
        at = held_since(id_)
    except ValueError:
        at = datetime.fromtimestamp(0, UTC)
    texts = ("sender", "recipients", "message_id", "risks", "rule", "set_version")
    empty = dict.fromkeys(texts, "")
    named = {"id": id_, "node": node, "at": at, "size_bytes": 0}
    return empty | named | {"subject": column_text(problem), "verdict": "damaged"}
