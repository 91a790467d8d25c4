"""Where in a file a pattern may begin: ``*``, ``n``, ``EOF-n``, ``EP+n``, ``S2+n``, ``VI``…

The language is that of https://docs.clamav.net/manual/Signatures/ExtendedSignatures.html. Each but
``*`` may be followed by ``,n``: anywhere from there up to ``n`` bytes later.

``VI`` is a key of a PE file's version information, as clamscan 1.4.6 takes it: whatever follows
``VI`` means nothing, each segment of a pattern must begin at a key, and for regular expressions it
is as good as ``*``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

NUMBER_MAX = (1 << 32) - 1


class OffsetError(ValueError):
    """An offset that is none, and why."""


class Base(Enum):
    """What an offset counts from."""

    ANYWHERE = "*"
    START = "start of the file"
    END = "end of the file"
    ENTRY = "entry point"
    SECTION = "start of section"
    LAST_SECTION = "start of the last section"
    WITHIN_SECTION = "anywhere in section"
    VERSION = "a key of the version information"


class SectionOf(Protocol):
    """Where a section's data is in the file."""

    @property
    def offset(self) -> int:
        """Of its first byte in the file."""
        ...

    @property
    def size(self) -> int:
        """Bytes in the file."""
        ...


class Layout(Protocol):
    """What offsets need to know of an executable."""

    @property
    def entry_point(self) -> int | None:
        """In the file."""
        ...

    @property
    def sections(self) -> Sequence[SectionOf]:
        """In the order of the file's table."""
        ...

    @property
    def version_info(self) -> Sequence[int]:
        """Where the keys of the version information are in the file."""
        ...


Window = tuple[int, int]
"""The first and the last place where a match may begin."""

EVERYWHERE: Window = (0, NUMBER_MAX)


@dataclass(frozen=True, slots=True)
class Offset:
    """Where a pattern may begin."""

    base: Base
    number: int = 0
    """Bytes after the base; negative: before."""
    section: int = 0
    shift: int = 0

    @property
    def needs_layout(self) -> bool:
        """Whether it means something in executables only."""
        return self.base not in (Base.ANYWHERE, Base.START, Base.END, Base.VERSION)

    def window(self, length: int, layout: Layout | None) -> Window | None:
        """Where it is in a file of this length; None if nowhere."""
        if self.base in (Base.ANYWHERE, Base.VERSION):
            return EVERYWHERE
        if self.base is Base.WITHIN_SECTION:
            section = _section(layout, self.section)
            if section is None or not section.size:
                return None
            return section.offset, section.offset + section.size  # right behind it, as clamscan
        base = self._base(length, layout)
        if base is None or base + self.number < 0:
            return None
        return base + self.number, base + self.number + self.shift

    def _base(self, length: int, layout: Layout | None) -> int | None:
        match self.base:
            case Base.START:
                return 0
            case Base.END:
                return length
            case Base.ENTRY:
                return layout.entry_point if layout is not None else None
        last = len(layout.sections) - 1 if layout is not None else 0
        number = last if self.base is Base.LAST_SECTION else self.section
        section = _section(layout, number)
        return section.offset if section is not None else None


ANYWHERE = Offset(Base.ANYWHERE)


def _section(layout: Layout | None, number: int) -> SectionOf | None:
    if layout is None or not 0 <= number < len(layout.sections):
        return None
    return layout.sections[number]


_OFFSET = re.compile(
    r"(?:(?P<start>[0-9]{1,10})|EOF-(?P<end>[0-9]{1,10})|EP(?P<entry>[+-][0-9]{1,10})"
    r"|S(?P<section>[0-9]{1,4})(?P<inside>[+-][0-9]{1,10})|SL(?P<last>[+-][0-9]{1,10})"
    r"|SE(?P<entire>[0-9]{1,4}))(?:,(?P<shift>[0-9]{1,10}))?"
)


def parse(text: str) -> Offset:
    """Read an offset. Raises OffsetError."""
    if text == "*":
        return ANYWHERE
    if text.startswith("VI"):
        return Offset(Base.VERSION)
    read = _OFFSET.fullmatch(text)
    if read is None:
        raise OffsetError(f"not an offset: {text[:40]!r}")
    shift = int(read["shift"] or 0)
    if read["start"] is not None:
        offset = Offset(Base.START, int(read["start"]), shift=shift)
    elif read["end"] is not None:
        offset = Offset(Base.END, -int(read["end"]), shift=shift)
    elif read["entry"] is not None:
        offset = Offset(Base.ENTRY, int(read["entry"]), shift=shift)
    elif read["section"] is not None:
        offset = Offset(Base.SECTION, int(read["inside"]), int(read["section"]), shift)
    elif read["last"] is not None:
        offset = Offset(Base.LAST_SECTION, int(read["last"]), shift=shift)
    else:
        offset = Offset(Base.WITHIN_SECTION, section=int(read["entire"]))
    if max(abs(offset.number), shift) > NUMBER_MAX:
        raise OffsetError(f"an offset of more than {NUMBER_MAX}: {text}")
    return offset
