"""A piece of a message, as engines see it."""

from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """Where a part comes from; rules can ask for it (YARA global ``mailward_role``)."""

    FILE = "file"
    """Something scanned that is not a message: a file from the command line."""
    MESSAGE = "message"
    """A whole message, headers included: the outermost, or one inside."""
    BODY = "body"
    """Text that a mail client shows."""
    ATTACHMENT = "attachment"
    MEMBER = "member"
    """Out of a container."""


@dataclass(frozen=True, slots=True)
class Part:
    """A decoded piece of a message or a member of a container."""

    path: str
    """How it was reached, e.g. ``message/2:a.zip/b.exe``: unique within a scan, safe to print."""
    data: bytes
    role: Role
    name: str = ""
    """File name as the sender gave it, decoded; empty if none."""
    content_type: str = ""
    """As declared, lower-case, without parameters; empty if none."""
    depth: int = 0
    """How many messages and containers it is inside of."""
    parent: "Part | None" = field(default=None, compare=False, repr=False)
    """The message or container that it came out of."""
    inside: str = field(default="", compare=False)
    """ClamAV's type of what holds it in ``parent``, where that is not the parent itself."""
    type: str = field(default="", compare=False)
    """ClamAV's type as its reader knows it, of macros; empty: the content tells. A beginning that
    we write would let senders choose which signatures look at a file."""
