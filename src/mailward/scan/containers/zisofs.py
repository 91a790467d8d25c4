"""Files that ``mkzftree`` packed for an ISO 9660 image: blocks, each by deflate.

Linux unpacks them while it reads; other systems show them as they are. Format: Linux,
``fs/isofs/compress.c``.
"""

import struct
import zlib

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"\x37\xe4\x53\x96\xc9\xdb\xd6\x07"

_HEADER = struct.Struct("<8xLBB")
_BLOCK_BITS = range(12, 21)


def read(data: bytes, name: str, budget: Budget) -> Contents:
    """The file. Raises only Spent. ``name``: of what it is in."""
    out = bytearray()
    room = budget.room()
    shut: Shut | None = None
    try:
        size, header_words, bits = _HEADER.unpack_from(data)
        if bits not in _BLOCK_BITS:
            raise ValueError
        begins = struct.unpack_from("<L", data, 4 * header_words)[0]
        for number in range(-(-size // (1 << bits))):
            budget.check_time()
            ends = struct.unpack_from("<L", data, 4 * (header_words + number + 1))[0]
            wanted = min(1 << bits, size - len(out))
            packed = data[begins:ends]
            block = zlib.decompressobj().decompress(packed, wanted) if packed else bytes(wanted)
            out += block
            if len(block) < wanted or begins > ends or ends > len(data):
                raise ValueError
            if len(out) > room:
                shut = budget.over_room(room)
            elif budget.is_bomb(len(out), len(data)):
                shut = budget.bomb()
            if shut is not None:
                break
            begins = ends
    except (ValueError, struct.error, zlib.error):
        shut = Shut(Reason.MALFORMED, "compressed file of an ISO 9660 image: truncated or damaged")
    yield Piece(bytes(out[:room]), Role.MEMBER, name)
    if shut is not None:
        yield shut
