"""Programs inside programs, as they are: droppers carry what they drop."""

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.programs import portable
from mailward.scan.programs.portable import Program
from mailward.scan.verdict import Reason

_SIGNATURE = b"PE\0\0"
_STUB_MAX_BYTES = 4096
"""Between ``MZ`` and ``PE``; linkers make a few hundred."""
_TRIES_MAX = 16
"""Places that say ``MZ`` in front of one ``PE``."""
_LOOKED_AT_MAX = 20_000
"""Places that look like the header of a program."""
_FOUND_MAX = 100
"""Programs inside of one; installers carry a few dozens."""


def read(data: bytes, own: Program | None, budget: Budget) -> Contents:
    """Each, as long as its headers say, so that hashes of it alone fit. Raises only Spent.

    ``own``: what ``data`` itself is, if it is a program. What is inside of one of them is found
    when that is looked into.
    """
    at = data.find(_SIGNATURE, own.header_at + 4 if own is not None else 0)
    beyond = found = looked_at = 0
    while at >= 0:
        looked_at += 1
        if looked_at > _LOOKED_AT_MAX or found >= _FOUND_MAX:
            yield Shut(Reason.LIMIT, f"more than {_FOUND_MAX} programs are inside of this one")
            return
        start = _start(data, at, max(beyond, 1))
        program = portable.read(data, start) if start is not None else None
        if start is not None and program is not None:
            found += 1
            budget.check_time()
            beyond = min(start + program.file_size, len(data))
            end = min(beyond, start + budget.room() + 1)
            yield Piece(data[start:end], Role.MEMBER, f"{start}.exe")
        at = data.find(_SIGNATURE, max(at + 4, beyond))


def _start(data: bytes, header_at: int, after: int) -> int | None:
    """Where the program begins whose header is at ``header_at``."""
    at = header_at
    for _ in range(_TRIES_MAX):
        at = data.rfind(b"MZ", max(after, header_at - _STUB_MAX_BYTES), at)
        if at < 0:
            return None
        if int.from_bytes(data[at + 0x3C : at + 0x40], "little") == header_at - at:
            return at
    return None
