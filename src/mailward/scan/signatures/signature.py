"""Signatures that look into files, as values; ``extended`` and ``logical`` read them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mailward.scan.signatures.expression import Expression
from mailward.scan.signatures.offsets import ANYWHERE, Offset
from mailward.scan.signatures.pattern import Pattern

LEVEL = 216
"""ClamAV's functionality level that signatures are read as: that of clamscan 1.4.6, found by
giving it one signature for each level."""

ANY_TARGET = 0
TARGETS = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13})
"""https://docs.clamav.net/appendix/FileTypes.html#target-types; 8 is not used, 13 is internal."""

NAME_MAX_BYTES = 300
LINE_MAX_BYTES = 256 * 1024
"""ClamAV's longest are 16 KB."""


@dataclass(frozen=True, slots=True)
class Range:
    """From least to most, both included."""

    least: int
    most: int

    def __contains__(self, value: int) -> bool:
        return self.least <= value <= self.most


@dataclass(frozen=True, slots=True)
class Body:
    """Matches where one of its patterns does, beginning where the offset says."""

    patterns: tuple[Pattern, ...]
    """Two for modifiers ``w`` and ``a`` together, else one."""
    offset: Offset = ANYWHERE


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression (PCRE), looked for when ``trigger`` holds."""

    trigger: Expression
    source: str
    flags: str = ""
    """PCRE's ``imsxAEU`` and ClamAV's ``g`` (count all), ``r`` (begin at the offset), ``e`` (stay
    within offset and shift)."""
    offset: Offset = ANYWHERE


@dataclass(frozen=True, slots=True)
class Compare:
    """A number in the file, at a distance from where another subsignature matches."""

    trigger: int
    distance: int
    base: str
    """``h`` hexadecimal digits, ``d`` decimal digits, ``a`` either, ``i`` the bytes themselves."""
    little_endian: bool
    exact: bool
    """All digits must be there."""
    width: int
    comparisons: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Macro:
    """Any signature of a group, so many bytes after where the subsignature before it begins."""

    group: int
    least: int
    most: int


Subsignature = Body | Regex | Compare | Macro


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that looks into files."""

    name: str
    target: int
    expression: Expression
    subsignatures: Sequence[Subsignature]
    file_size: Range | None = None
    entry_point: Range | None = None
    sections: Range | None = None
    container: str = ""
    """The type of what the file lies in, e.g. ``CL_TYPE_ZIP``; ``CL_TYPE_ANY``: in nothing."""
    intermediates: tuple[str, ...] = ()
    """The types of what it lies in, the nearest last."""
    group: int | None = field(default=None, compare=False)
    """The macro group that it is a member of; then it reports nothing itself."""


def problem_with_name(name: str) -> str:
    """What is wrong with a signature's name; empty if nothing."""
    if not name:
        return "it has no name"
    if len(name.encode(errors="replace")) > NAME_MAX_BYTES:
        return f"a name of more than {NAME_MAX_BYTES} bytes"
    return "" if name.isprintable() and name == name.strip() else "a name that cannot be printed"
