"""How values of ours rest in columns: texts that every database takes, lists a line each, UTC."""

from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any

_JOIN = "\n"


def column_text(text: str) -> str:
    """``text`` on one line, without what PostgreSQL or UTF-8 refuse: NUL and lone surrogates."""
    safe = text.encode("utf-8", "replace").decode("utf-8")
    return safe.replace("\0", "?").replace("\r", "?").replace("\n", "?")


def column_lines(texts: Iterable[str]) -> str:
    """A list in one column."""
    return _JOIN.join(column_text(text) for text in texts)


def as_value(row: Mapping[Any, Any], lists: Iterable[str]) -> dict[str, Any]:
    """A row as values: ``at`` in UTC (SQLite keeps no zone), the columns ``lists`` as lists."""
    at = row["at"] if row["at"].tzinfo else row["at"].replace(tzinfo=UTC)
    split = {name: row[name].split(_JOIN) if row[name] else [] for name in lists}
    return {**row, **split, "at": at.astimezone(UTC)}
