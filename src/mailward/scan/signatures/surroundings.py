"""What definitions say of a part's surroundings: its links, its container, its type.

The lines of ``.pdb``, ``.wdb``, ``.gdb``, ``.cdb`` and ``.ftm`` files are checked when a set is
prepared and kept as they are. A worker reads them when a part first needs them: few sets have any.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain

from mailward.errors import FormatError
from mailward.scan.containers.listing import listing, tells
from mailward.scan.containers.tar import looks_like_tar
from mailward.scan.containers.zip import looks_like_zip
from mailward.scan.contents import Listed
from mailward.scan.engine import Hit, ScanTimeoutError
from mailward.scan.part import Part, Role
from mailward.scan.signatures import container_rules, file_magic
from mailward.scan.signatures.container_rules import Member
from mailward.scan.signatures.errors import MalformedError, UnsupportedError
from mailward.scan.signatures.filetype import (
    BUILT_IN_TYPES,
    MAIL,
    OLD_TAR,
    ZIP,
    FileType,
    FileTypes,
    Target,
)
from mailward.scan.signatures.phishing import Phishing

LINKS = frozenset({".gdb", ".pdb", ".wdb"})
CONTAINERS = ".cdb"
TYPES = ".ftm"
SUFFIXES = LINKS | {CONTAINERS, TYPES}

_MEMBERS_PER_CHECK = 256
"""Between two looks at the clock."""

_OTHER_RELEASES = "made for other functionality levels of ClamAV"


def check(suffix: str, text: str) -> str:
    """The name in a line; empty if it has none. Raises MalformedError, UnsupportedError."""
    try:
        if suffix in LINKS:
            taken, name = Phishing().add(text), ""
        elif suffix == CONTAINERS:
            rule = container_rules.parse_line(text)
            taken, name = rule is not None, rule.name if rule is not None else ""
        else:
            taken, name = file_magic.parse_line(text) is not None, ""
    except FormatError as error:
        raise MalformedError(str(error)) from error
    if not taken:
        raise UnsupportedError(_OTHER_RELEASES)
    return name


def written(suffix: str, text: str) -> bytes:
    """A line as it is kept."""
    return f"{suffix}{text}\n".encode("latin-1")


class Surroundings:
    """What the lines of a set say."""

    def __init__(self, kept: bytes) -> None:
        """``kept``: lines as ``written``."""
        self._kept = kept

    def _lines(self, *suffixes: str) -> list[str]:
        lines = self._kept.decode("latin-1").split("\n") if self._kept else []
        return [line[4:] for line in lines if line[:4] in suffixes]

    @cached_property
    def _phishing(self) -> Phishing:
        phishing = Phishing(checked=True)
        for line in self._lines(*LINKS):
            phishing.add(line)
        return phishing

    @cached_property
    def _rules(self) -> tuple[container_rules.Rule, ...]:
        rules = map(container_rules.parse_line, self._lines(CONTAINERS))
        return tuple(rule for rule in rules if rule is not None)

    @cached_property
    def types(self) -> FileTypes:
        """How parts are typed: by the set's own table if it has one."""
        magics = map(file_magic.parse_line, self._lines(TYPES))
        own = [magic for magic in magics if magic is not None]
        return FileTypes(own) if own else BUILT_IN_TYPES

    def hits(
        self, part: Part, kind: FileType, containers: Sequence[str], deadline: float
    ) -> Iterator[Hit]:
        """What is wrong with a part's links, its place in its container, and what its own headers
        say of files in it. ``containers``: the types of what it lies in, the nearest last.

        Raises ScanTimeoutError at ``deadline`` (``time.monotonic``).
        """
        if not self._kept:
            return
        parent = part.parent
        is_page = kind.target is Target.HTML or kind.html_inside
        if is_page and parent is not None and parent.role is Role.MESSAGE:
            name = self._phishing.check(part.data)
            if name is not None:
                yield Hit(name, suspicious=True, signatures=(name,))
        if not self._rules:
            return
        for number, member in enumerate(chain(_as_member(part, containers), _members(part, kind))):
            if not number % _MEMBERS_PER_CHECK and time.monotonic() > deadline:
                raise ScanTimeoutError("rules on containers took too long")
            for name in container_rules.match(self._rules, member):
                yield Hit(name, signatures=(name,))


def _as_member(part: Part, containers: Sequence[str]) -> Iterator[Member]:
    """A part as its container has it, unless the container's headers say more (``_members``)."""
    parent = part.parent
    if parent is None or not part.name or tells(containers[-1]):
        return
    size = len(part.data)
    told = Member(part.name, size, container_type=containers[-1], container_size=len(parent.data))
    if told.container_type == MAIL:  # as ClamAV has it
        told = replace(told, packed_size=size, encrypted=False, position=0)
    yield told


def _members(part: Part, kind: FileType) -> Iterator[Member]:
    """What a container says of the files in it."""
    type_ = kind.name
    if not tells(type_) and looks_like_tar(part.data):
        type_ = OLD_TAR
    told = listing(part.data, type_)
    size = len(part.data)
    if told is not None:
        yield from (_member(one, type_, size) for one in told)
    if type_ != ZIP and looks_like_zip(part.data):
        # Behind something else, or an office document: ClamAV finds each file again, by itself.
        found = listing(part.data, ZIP) or iter(())
        yield from (_member(replace(one, position=0), ZIP, None) for one in found)


def _member(told: Listed, type_: str, container_size: int | None) -> Member:
    return Member(
        told.name,
        told.size,
        told.packed_size,
        told.encrypted,
        told.position,
        told.crc,
        type_,
        container_size,
    )
