"""What a publisher has switched off: ``excluded.txt``, which becomes a shard of every set built.

One entry a line as ``scan.excluded`` describes it; lines that begin with ``#`` are for people.
Checks add to the file, people add and remove.
"""

from collections.abc import Iterable
from datetime import datetime

from mailward import durable
from mailward.definitions.model import ShardKind
from mailward.errors import UsageError
from mailward.publish.feeds.base import Draft
from mailward.publish.home import Home
from mailward.scan import excluded

SHARD = "excluded.txt"

_HEAD = (
    "# Signatures that every set built from now on leaves out, one ENGINE:SIGNATURE a line.\n"
    "# Remove a line to have the signature back. Lines like this one are remarks.\n"
)


def read(home: Home) -> tuple[str, ...]:
    """All entries, sorted. Raises UsageError for a line that is none, OSError."""
    entries = set()
    for number, line in enumerate(_text(home).splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        wrong = excluded.problem(entry)
        if wrong:
            raise UsageError(f"{home.excluded}, line {number}: {entry[:200]}: {wrong}")
        entries.add(entry)
    if len(entries) > excluded.ENTRIES_MAX:
        raise UsageError(f"{home.excluded}: {len(entries)} entries, {excluded.ENTRIES_MAX} allowed")
    return tuple(sorted(entries))


def add(home: Home, entries: Iterable[str], why: str, now: datetime) -> tuple[str, ...]:
    """Put down what is not there yet; what was new. Raises UsageError, BusyError, OSError."""
    with home.lock():
        new = tuple(sorted(set(entries) - set(read(home))))
        if new:
            before = _text(home) or _HEAD
            remark = f"# {now:%Y-%m-%d}: {' '.join(why.split())}\n"
            text = f"{before.rstrip()}\n\n{remark}" + "".join(f"{entry}\n" for entry in new)
            durable.write_atomic(home.excluded, text.encode())
    return new


def drafts(home: Home) -> list[Draft]:
    """The shard of exclusions; none if nothing is excluded. Raises UsageError, OSError."""
    entries = read(home)
    content = "".join(f"{entry}\n" for entry in entries).encode()
    return [Draft(SHARD, ShardKind.EXCLUDED, content, len(entries))] if entries else []


def _text(home: Home) -> str:
    try:
        return home.excluded.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as e:
        raise UsageError(f"{home.excluded}: not UTF-8: {e}") from e
