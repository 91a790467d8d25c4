"""Shards of ClamAV's formats to signatures: line by line, each refused alone (S3), all counted.

The format is the suffix of the shard's name, as it is for ClamAV.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from mailward.errors import FormatError
from mailward.scan.engine import NAMED_MAX, Refused, Source
from mailward.scan.signatures import digests, extended, logical, surroundings
from mailward.scan.signatures.errors import MalformedError, UnsupportedError
from mailward.scan.signatures.signature import LINE_MAX_BYTES, Signature

BODIES = {
    ".ndb": extended.read,
    ".ndu": extended.read,
    ".ldb": logical.read,
    ".ldu": logical.read,
    ".db": extended.read_old,
}
"""How signatures that look into files are read, by suffix."""

AGAIN = {**BODIES, ".ldb": logical.read_again, ".ldu": logical.read_again}
"""As ``BODIES``, for lines that were read before: in less time."""

IGNORED = frozenset({".ign", ".ign2"})

UNWANTED = frozenset({".hdu", ".hsu", ".ldu", ".mdu", ".msu", ".ndu"})
"""Of potentially unwanted applications: what they find is suspicious."""

KNOWN = frozenset({*BODIES, *digests.KINDS}) | IGNORED | surroundings.SUFFIXES
"""The formats whose lines are read."""

WITHOUT_SIGNATURES = frozenset({".cfg", ".info"})
"""About a set, not in it."""

ONE_PROGRAM = ".cbc"
"""The whole file is one signature."""

UNSUPPORTED = {
    ".cbc": "bytecode",
    ".crb": "certificates of programs (.crb)",
    ".idb": "icons (.idb)",
    ".imp": "imported functions (.imp)",
    ".pwdb": "passwords of archives (.pwdb)",
}

_SHOWN_MAX = 100


@dataclass(slots=True)
class Tally:
    """What became of all lines."""

    active: Counter[str] = field(default_factory=Counter)
    """By suffix, without the dot."""
    unsupported: Counter[str] = field(default_factory=Counter)
    """By reason."""
    refused: list[Refused] = field(default_factory=list)
    unnamed: int = 0

    def refuse(self, line: "Line", reason: str) -> None:
        """Note a bad line."""
        if len(self.refused) == NAMED_MAX:
            self.unnamed += 1
            return
        text = line.text[:_SHOWN_MAX]
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
        self.refused.append(Refused(shown, line.shard, line.number, reason))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a shard."""

    text: str
    """Each byte a character (latin-1), without the end of the line."""
    shard: str
    number: int
    suffix: str


def suffix_of(source: Source) -> str:
    """The format of a shard."""
    return PurePosixPath(source.name).suffix.lower()


def lines(sources: Sequence[Source], tally: Tally) -> Iterator[Line]:
    """All lines with a signature; those that cannot be used are counted instead.

    Raises FormatError for a shard that is not text, OSError.
    """
    for source in sorted(sources, key=lambda s: s.name):
        suffix = suffix_of(source)
        if suffix in WITHOUT_SIGNATURES:
            continue
        known = suffix in KNOWN
        if suffix == ONE_PROGRAM:
            tally.unsupported[UNSUPPORTED[suffix]] += source.path.stat().st_size > 0
            continue
        for line in _lines_of(source, suffix):
            if known:
                yield line
            else:
                reason = UNSUPPORTED.get(suffix, f"files of the kind {suffix or '(none)'}")
                tally.unsupported[reason] += 1


def _lines_of(source: Source, suffix: str) -> Iterator[Line]:
    with source.path.open("rb") as file:
        number = 0
        # A line without end is cut to what is just too long to be good, so memory is bounded.
        while raw := file.readline(LINE_MAX_BYTES + 1):
            number += 1
            rest = raw
            while len(rest) > LINE_MAX_BYTES and not rest.endswith(b"\n"):
                rest = file.readline(LINE_MAX_BYTES + 1)
            if b"\0" in raw:
                raise FormatError(f"shard {source.name}, line {number}: not text")
            text = raw.rstrip(b"\r\n").decode("latin-1")
            if text and not text.startswith("#"):
                yield Line(text, source.name, number, suffix)


class Ignored:
    """Signatures that the set itself switches off (.ign, .ign2).

    https://docs.clamav.net/manual/Signatures/AllowLists.html
    """

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._lines: set[tuple[str, str]] = set()

    def add(self, line: Line) -> None:
        """An entry: ``name[:md5 of its line]`` in .ign2, ``file:line:name`` in .ign."""
        fields = line.text.split(":")
        if line.suffix == ".ign":
            if len(fields) != 3:
                raise MalformedError("not file:line:name")
            self._names.add(fields[2])
        elif len(fields) == 1:
            self._names.add(fields[0])
        elif len(fields) == 2 and len(fields[1]) == 32:
            self._lines.add((fields[0], fields[1].lower()))
        else:
            raise MalformedError("not name[:md5]")

    def has(self, name: str, line: Line) -> bool:
        """Whether a signature is switched off."""
        if name in self._names:
            return True
        if not self._lines:
            return False
        digest = hashlib.md5(line.text.encode("latin-1"), usedforsecurity=False).hexdigest()
        return (name, digest) in self._lines


def name_of(line: Line) -> str:
    """The name of the signature in a line, as far as it has one."""
    if line.suffix in (".ldb", ".ldu"):
        name = line.text.partition(";")[0]
        return name if "/" not in name else next(logical.fields(line.text))
    if line.suffix == ".db":
        return line.text.partition("=")[0]
    if line.suffix in BODIES or line.suffix == ".cdb":
        return line.text.partition(":")[0]
    fields = line.text.split(":")
    return fields[2] if line.suffix in digests.KINDS and len(fields) > 2 else ""


def body(line: Line, tally: Tally) -> Signature | None:
    """The signature in a line of ``BODIES``; None if there is none to use, which is noted."""
    try:
        if len(line.text) > LINE_MAX_BYTES:
            raise MalformedError(f"a line of more than {LINE_MAX_BYTES} bytes")
        return BODIES[line.suffix](line.text)
    except MalformedError as e:
        tally.refuse(line, str(e))
    except UnsupportedError as e:
        tally.unsupported[str(e)] += 1
    return None
