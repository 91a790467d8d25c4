"""What comes out of a message or container, one level down: pieces, what stays shut, doubts,
what was locked."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mailward.scan.part import Role
from mailward.scan.verdict import Doubt, Reason


@dataclass(frozen=True, slots=True)
class Piece:
    """Decoded, named, and perhaps a message or container again."""

    data: bytes
    role: Role
    name: str = ""
    """File name as the sender gave it, decoded; empty if none."""
    content_type: str = ""
    label: str = ""
    """What tells it from its siblings in a part's path, beside its name: ``2.1`` of a MIME part."""
    is_sealed: bool = False
    """Scanned and not opened: what is in it is given beside it already."""
    inside: str = ""
    """ClamAV's type of what holds it, where that is no part of its own: ``CL_TYPE_NULSFT`` of an
    installer behind a program."""
    type: str = ""
    """ClamAV's type of what the content does not tell, for macros; empty: the content does."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the headers of a container say of a file in it; None: they do not say it."""

    name: str
    size: int
    """Bytes when unpacked."""
    packed_size: int | None = None
    """Bytes in the container."""
    encrypted: bool = False
    position: int | None = None
    """As ClamAV counts in such a container, from 0 or 1."""
    crc: int | None = None
    """CRC-32 of the content."""


@dataclass(frozen=True, slots=True)
class Shut:
    """Something that could not be opened, and why (S11); the whole container if it has no name."""

    reason: Reason
    detail: str
    name: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Something that can be read in more than one way; every reading is given beside it."""

    doubt: Doubt
    detail: str
    name: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Unlocked:
    """Something encrypted, opened with a password that the message itself gives."""

    name: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Fragment:
    """One of the pieces that a message was sent in (message/partial, RFC 2046 section 5.2.2)."""

    id: bytes
    number: int
    total: int
    """0 if it does not say."""
    data: bytes
    name: str = ""
    label: str = ""


Found = Piece | Shut | Ambiguous | Unlocked | Fragment

Contents = Iterator[Found]
"""Made one at a time, so that a bomb is stopped before it is unpacked."""


def within(type_: str, contents: Contents) -> Contents:
    """``contents``, each piece in something of ClamAV's type ``type_``."""
    for found in contents:
        yield replace(found, inside=type_) if isinstance(found, Piece) else found
