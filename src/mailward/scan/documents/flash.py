"""Flash (SWF file format 19): the body of a compressed film."""

from functools import partial

from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import deflate, inflate, lzma_raw
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role

STARTS = rb"[CZ]WS[\x05-\x40]"

_HEADER_BYTES = 8
_ZLIB_HEADER_BYTES = 2
_LZMA_SIZE_BYTES, _LZMA_PROPERTIES_BYTES = 4, 5


def read(data: bytes, _name: str, budget: Budget) -> Contents:
    """The film as it would be without compression. Raises only Spent."""
    packed = memoryview(data)[_HEADER_BYTES:]
    if data.startswith(b"CWS"):
        inflated = inflate(deflate, packed[_ZLIB_HEADER_BYTES:], budget)
    else:
        size = max(0, int.from_bytes(data[4:8], "little") - _HEADER_BYTES)
        start = _LZMA_SIZE_BYTES + _LZMA_PROPERTIES_BYTES
        properties = bytes(packed[_LZMA_SIZE_BYTES:start])
        inflated = inflate(partial(lzma_raw, properties, size), packed[start:], budget)
    film = b"FWS" + data[3:_HEADER_BYTES] + inflated.data
    yield Piece(film, Role.MEMBER, content_type="application/x-shockwave-flash", label="film")
    if inflated.shut is not None:
        yield Shut(inflated.shut.reason, inflated.shut.detail)
