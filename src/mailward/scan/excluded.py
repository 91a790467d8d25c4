"""Signatures that are switched off: what was found to be false, without touching the feed it is in.

An entry is ``ENGINE:SIGNATURE``: a signature as the engine gives it with a hit
(``Hit.signatures``), or the risk's name, which means every signature of that name::

    hashes:44d88612fea8a8f36de82e1278abb02f          one hash
    yara:community/office.yar:Broad_Rule             one rule: its namespace and its name
    yara:Mailward.Html.Smuggling                     whatever reports this risk

An excluded signature is still prepared; only its hits are dropped, in ``prepared.LoadedSet``. So it
works alike for every engine, other rules may go on referring to an excluded one, and a probe for it
still proves the engine. ``docs/decisions/excluded-signatures.md`` says why.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from mailward.definitions.model import ShardKind
from mailward.errors import FormatError
from mailward.scan.engine import Hit, Source

ENTRY_MAX_BYTES = 1000
"""A namespace has at most 200 characters, a rule's or risk's name at most 300 bytes."""

ENTRIES_MAX = 100_000
"""A set with more false signatures than this wants another feed."""


def problem(entry: str) -> str:
    """What is wrong with an entry; empty if nothing."""
    engine, _, signature = entry.partition(":")
    if not engine.isidentifier() or not engine.islower() or not signature:
        return "not ENGINE:SIGNATURE"
    if len(entry.encode(errors="replace")) > ENTRY_MAX_BYTES:
        return f"longer than {ENTRY_MAX_BYTES} bytes"
    if not entry.isprintable() or entry != entry.strip():
        return "it has control characters, or blanks around it"
    return ""


def read(sources: Iterable[Source]) -> frozenset[str]:
    """All entries of a set's ``excluded`` shards. Raises FormatError, OSError."""
    entries: set[str] = set()
    for source in sources:
        if source.kind is ShardKind.EXCLUDED:
            entries.update(_read_shard(source))
    return frozenset(entries)


def of_engine(entries: Iterable[str], engine: str) -> tuple[str, ...]:
    """What of ``entries`` is for an engine, sorted, without its name."""
    prefix = f"{engine}:"
    return tuple(sorted(e.removeprefix(prefix) for e in entries if e.startswith(prefix)))


def without(hit: Hit, excluded: Collection[str]) -> Hit | None:
    """A hit without the excluded signatures that say so; None if nothing else does."""
    if not excluded:
        return hit
    if hit.name in excluded:
        return None
    left = tuple(signature for signature in hit.signatures if signature not in excluded)
    return None if hit.signatures and not left else replace(hit, signatures=left)


def _read_shard(source: Source) -> list[str]:
    limit = ENTRIES_MAX * 200
    with source.path.open("rb") as file:
        raw = file.read(limit + 1)
    lines = raw.split(b"\n")
    if len(raw) > limit or len(lines) > ENTRIES_MAX:
        raise FormatError(f"shard {source.name}: more excluded signatures than can be meant")
    entries = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            entry = line.decode()
        except UnicodeDecodeError as e:
            raise FormatError(f"shard {source.name}, line {number}: not UTF-8") from e
        wrong = problem(entry)
        if wrong:
            raise FormatError(f"shard {source.name}, line {number}: {wrong}")
        entries.append(entry)
    return entries
