"""What UPX compresses by, and how it makes code easier to compress before."""

import re
from functools import partial
from typing import Literal

from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import deflate, inflate, lzma_raw
from mailward.scan.contents import Shut
from mailward.scan.programs import nrv
from mailward.scan.verdict import Reason

_LZMA, _DEFLATE = 14, 15
METHODS = (*nrv.METHODS, _LZMA, _DEFLATE)
_LZMA_DICTIONARY_MAX = 1 << 26


def decompress(
    method: int, source: memoryview, limit: int, budget: Budget
) -> tuple[bytearray, Shut | None]:
    """At most ``limit`` bytes, which are all, and why there are fewer. Raises only Spent."""
    if method in nrv.METHODS:
        out, complete = nrv.unpack(method, bytes(source), limit, budget)
        whole = complete or len(out) == limit
        why = "packed program (UPX): the compressed data is damaged"
        return out, None if whole else Shut(Reason.MALFORMED, why)
    if method == _DEFLATE:
        done = inflate(deflate, source, budget)
        return bytearray(done.data), done.shut
    if len(source) < 3:
        return bytearray(), Shut(Reason.MALFORMED, "packed program (UPX): truncated")
    # Two bytes: (lc + lp) << 3 | pb, then lp << 4 | lc.
    position, literal = source[0] & 7, source[1]
    number = (position * 5 + (literal >> 4)) * 9 + (literal & 15)
    dictionary = min(max(limit, 1 << 12), _LZMA_DICTIONARY_MAX)
    properties = bytes([min(number, 255)]) + dictionary.to_bytes(4, "little")
    done = inflate(partial(lzma_raw, properties, limit), source[2:], budget)
    return bytearray(done.data), done.shut


def unfilter(number: int, parameter: int, content: bytearray, start: int, size: int) -> None:
    """Make targets of calls and jumps relative again. Raises ValueError for what is not known."""
    if not number:
        return
    if number not in _FILTERS:
        raise ValueError(f"filter 0x{number:02x} is not known")
    opcodes, order, is_marked = _FILTERS[number]
    mark = re.escape(bytes([parameter])) + b"..." if is_marked else b"...."
    pattern = re.compile(b"(?:%b)(%b)" % (opcodes, mark), re.DOTALL)
    end = max(start, 0) + size
    for found in pattern.finditer(bytes(content[:end]), max(start, 0)):
        at = found.start(1)
        absolute = int.from_bytes(found[1][1:] if is_marked else found[1], order)
        relative = (absolute - at) & 0xFFFFFFFF
        content[at : at + 4] = relative.to_bytes(4, "little")


_CALL, _JUMP, _BOTH = rb"\xe8", rb"\xe9", rb"[\xe8\xe9]"
_FILTERS: dict[int, tuple[bytes, Literal["little", "big"], bool]] = {
    0x11: (_CALL, "little", False),
    0x12: (_JUMP, "little", False),
    0x13: (_BOTH, "little", False),
    0x14: (_CALL, "big", False),
    0x15: (_JUMP, "big", False),
    0x16: (_BOTH, "big", False),
    0x24: (_CALL, "big", True),
    0x25: (_JUMP, "big", True),
    0x26: (_BOTH, "big", True),
    0x46: (_BOTH, "big", True),
    0x49: (_BOTH + rb"|\x0f[\x80-\x8f]", "big", True),
}
"""What is in front of a target, its byte order, and whether its highest byte marks it."""
