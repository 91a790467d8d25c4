"""Rules on what a container says of its members: ClamAV's ``.cdb`` files.

``Name:ContainerType:ContainerSize:FileNameREGEX:FileSizeInContainer:FileSizeReal:IsEncrypted:
FilePos:Res1:Res2[:MinFL[:MaxFL]]`` (docs.clamav.net, manual/Signatures/ContainerMetadata); ``*``
means anything, a size is a number or a range ``x-y``. ``Res1`` is a CRC-32 in hexadecimal for zip
and RAR, and means nothing elsewhere, as the documentation says: ``clamscan`` 1.4.6 never looks at
it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mailward.errors import FormatError
from mailward.scan.signatures.cautious_regex import compile_cautiously
from mailward.scan.signatures.file_magic import in_level

_NAME = re.compile(r"[^:\s]{1,200}")
_TYPE = re.compile(r"CL_TYPE_[A-Z0-9_]{1,40}")
_RANGE = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))?")
_WITH_CRC = frozenset({"CL_TYPE_ZIP", "CL_TYPE_RAR"})
_NAME_MAX = 1000
"""Characters of a member's name that a pattern is given."""
_SIZE = r"(\*|[0-9]{1,19}(?:-[0-9]{1,19})?)"
_LINE = re.compile(
    rf"([^:]*):([^:]*):{_SIZE}:(.*?):{_SIZE}:{_SIZE}:([01*]):{_SIZE}:"
    r"(\*|[0-9a-fA-F]{0,8}):[^:]*"
    r"(?::([^:]*)(?::([^:]*))?)?"
)
"""A file name's pattern may have colons of its own, so it is what the other fields leave."""


@dataclass(frozen=True, slots=True)
class Member:
    """What a container says of one of its members; None: it says nothing of that."""

    name: str
    size: int | None = None
    """Bytes when unpacked."""
    packed_size: int | None = None
    """Bytes in the container."""
    encrypted: bool | None = None
    position: int | None = None
    crc: int | None = None
    container_type: str | None = None
    """ClamAV's, e.g. ``CL_TYPE_ZIP``."""
    container_size: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One line. A field of None asks for nothing."""

    name: str
    container_type: str | None
    container_size: tuple[int, int] | None
    file_name: re.Pattern[str] | None
    packed_size: tuple[int, int] | None
    size: tuple[int, int] | None
    encrypted: bool | None
    position: tuple[int, int] | None
    crc: int | None = None

    def matches(self, member: Member) -> bool:
        """Whether all that the line asks for is known of ``member`` and so."""
        return (
            self.container_type in (None, "CL_TYPE_ANY", member.container_type)
            and _within(self.container_size, member.container_size)
            and _within(self.packed_size, member.packed_size)
            and _within(self.size, member.size)
            and self.encrypted in (None, member.encrypted)
            and _within(self.position, member.position)
            and (self.crc in (None, member.crc) or member.container_type not in _WITH_CRC)
            and (
                self.file_name is None or self.file_name.search(member.name[:_NAME_MAX]) is not None
            )
        )


def parse_line(line: str) -> Rule | None:
    """A line of a ``.cdb`` file; None if it is for other releases alone. Raises FormatError."""
    found = _LINE.fullmatch(line.rstrip("\r\n"))
    if found is None:
        raise FormatError(
            "a container rule is Name:ContainerType:ContainerSize:FileNameREGEX:"
            "FileSizeInContainer:FileSizeReal:IsEncrypted:FilePos:Res1:Res2[:MinFL[:MaxFL]]"
        )
    name, type_, container_size, file_name, packed, real, encrypted, position, checksum = (
        found.groups()[:9]
    )
    if not _NAME.fullmatch(name):
        raise FormatError("a container rule begins with its name")
    if type_ != "*" and not _TYPE.fullmatch(type_):
        raise FormatError(f"{type_[:40]!r} is no container type: CL_TYPE_… or *")
    if not in_level([level for level in found.groups()[9:] if level is not None]):
        return None
    return Rule(
        name=name,
        container_type=None if type_ == "*" else type_,
        container_size=_range(container_size),
        file_name=None if file_name in ("", "*") else compile_cautiously(file_name),
        packed_size=_range(packed),
        size=_range(real),
        encrypted=None if encrypted == "*" else encrypted == "1",
        position=_range(position),
        crc=None if checksum in ("", "*") else int(checksum, 16),
    )


def match(rules: tuple[Rule, ...], member: Member) -> Iterator[str]:
    """The names of the rules that ``member`` meets."""
    return (rule.name for rule in rules if rule.matches(member))


def _range(text: str) -> tuple[int, int] | None:
    if text == "*":
        return None
    found = _RANGE.fullmatch(text)
    if found is None:
        raise FormatError(f"{text[:40]!r} is neither a number, nor a range x-y, nor *")
    low = int(found[1])
    high = int(found[2]) if found[2] else low
    if high < low:
        raise FormatError(f"the range {text} ends before it begins")
    return low, high


def _within(asked: tuple[int, int] | None, known: int | None) -> bool:
    return asked is None or (known is not None and asked[0] <= known <= asked[1])
