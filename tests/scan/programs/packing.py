"""Packs programs as UPX does, so that there is something to unpack on every machine."""

import lzma
import struct

from mailward.scan.programs import portable
from tests.scan.signatures.examples.programs import pe

METHODS = {"nrv2b": 2, "nrv2d": 5, "nrv2e": 8, "lzma": 14, "deflate": 15}


class Bits:
    """Words of 32 bits, each where its first bit is asked for, with bytes between them."""

    def __init__(self) -> None:
        self.out = bytearray()
        self._word_at = 0
        self._left = 0

    def bit(self, value: int) -> None:
        if not self._left:
            self._word_at, self._left = len(self.out), 32
            self.out += bytes(4)
        self._left -= 1
        word = int.from_bytes(self.out[self._word_at : self._word_at + 4], "little")
        word |= value << self._left
        self.out[self._word_at : self._word_at + 4] = word.to_bytes(4, "little")

    def number(self, value: int) -> None:
        """From 2 on: each bit behind the first, and whether it is the last."""
        bits = f"{value:b}"[1:]
        for i, digit in enumerate(bits):
            self.bit(int(digit))
            self.bit(i == len(bits) - 1)

    def pairs(self, value: int) -> None:
        """The same in NRV2D and NRV2E, two bits at a time."""
        self._pairs(value)
        self.bit(1)

    def _pairs(self, value: int) -> None:
        low, rest = value & 1, value >> 1
        if rest != 1:
            self._pairs((rest >> 1) + 1)
            self.bit(0)
            self.bit(rest & 1)
        self.bit(low)


def nrv(method: int, data: bytes) -> bytes:
    """Compressed by the methods 2, 5 or 8 of UPX, taking the first match that is found."""
    bits = Bits()
    far = 0xD00 if method == 2 else 0x500
    last = 1
    at = 0
    seen: dict[bytes, int] = {}
    while at < len(data):
        key = data[at : at + 4]
        place = seen.get(key)
        seen[key] = at
        if place is None or len(key) < 4:
            bits.bit(1)
            bits.out.append(data[at])
            at += 1
            continue
        size = 4
        while at + size < len(data) and data[place + size] == data[at + size]:
            size += 1
        bits.bit(0)
        _match(bits, method, at - place, size - 1 - (at - place > far), again=at - place == last)
        last = at - place
        at += size
    bits.bit(0)
    (bits.number if method == 2 else bits.pairs)((0xFFFFFFFF >> 8) + 3)
    bits.out.append(0xFF)
    return bytes(bits.out)


def _match(bits: Bits, method: int, distance: int, length: int, *, again: bool) -> None:
    number = bits.number if method == 2 else bits.pairs
    low = length >> 1 if length < 4 else 0
    if method == 8:
        low = int(length < 3)
    place = distance - 1 if method == 2 else (distance - 1) << 1 | (low ^ 1)
    if again:
        number(2)
    else:
        number((place >> 8) + 3)
        bits.out.append(place & 0xFF)
    if again or method == 2:
        bits.bit(low)
    if method != 8:
        bits.bit(length & 1 if length < 4 else 0)
        if length >= 4:
            bits.number(length - 2)
    elif low:
        bits.bit(length - 1)
    elif length < 5:
        bits.bit(1)
        bits.bit(length - 3)
    else:
        bits.bit(0)
        bits.number(length - 3)


def compress(method: int, data: bytes) -> bytes:
    if method == METHODS["lzma"]:
        filters = [{"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2, "dict_size": 1 << 16}]
        return bytes([3 << 3 | 2, 3]) + lzma.compress(data, lzma.FORMAT_RAW, filters=filters)
    if method == METHODS["deflate"]:
        import zlib

        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(data) + packer.flush()
    return nrv(method, data)


def upx(
    program: bytes, method: str = "nrv2b", *, filter_: int = 0, mark: int = 0, code: bytes = b""
) -> bytes:
    """``program`` packed. ``code``: what its first section is once filtered."""
    was = portable.read(program)
    assert was is not None
    lowest = was.sections[0].address
    image = portable.load(program, was)
    assert image is not None
    image[lowest : lowest + len(code)] = code
    headers = program[was.header_at : was.table_at + 40 * len(was.sections)]
    content = bytes(image[lowest:])
    content += headers + struct.pack("<I", len(content))
    packed = compress(METHODS[method], content)
    header = struct.pack("<4sBBBBIIIIIBBBB", b"UPX!", 13, 36 if was.is_wide else 9,
                         METHODS[method], 9, 0, 0, len(content), len(packed), len(program),
                         filter_, mark, 0, 0)  # fmt: skip
    shell = bytearray(pe((b"", header + packed), entry=0x101000, spacing=0x100000))
    if was.is_wide:
        return wide(bytes(shell))
    return bytes(shell)


def wide(program: bytes) -> bytes:
    """The same program for 64 bits, as far as headers go."""
    was = portable.read(program)
    assert was is not None
    out = bytearray(program)
    optional = was.header_at + 24
    table = out[was.table_at : was.table_at + 40 * len(was.sections)]
    numbers = out[optional + 32 : optional + 72]
    struct.pack_into("<H", out, was.header_at + 4, portable.AMD64)
    struct.pack_into("<H", out, was.header_at + 20, 240)
    struct.pack_into("<H", out, optional, 0x20B)
    struct.pack_into("<Q", out, optional + 24, 0x140000000)
    out[optional + 32 : optional + 72] = numbers
    out[optional + 72 : optional + 240] = bytes(168)
    struct.pack_into("<I", out, optional + 108, 16)
    out[optional + 240 : optional + 240 + len(table)] = table
    return bytes(out)


def upx_elf(
    program: bytes,
    method: str = "nrv2e",
    *,
    headers: int = 84,
    block: int = 0x2000,
    order: str = "<",
) -> bytes:
    """A program of Linux, packed. ``headers``: bytes of its own headers, a block of their own."""
    blocks = [program[:headers]]
    blocks += [program[i : i + block] for i in range(headers, len(program), block)]
    out = b"\x7fELF" + bytes([1, 2 if order == ">" else 1]) + bytes(46 + 32)
    out += struct.pack(order + "I4sHBB", 0, b"UPX!", 0, 13, 12)
    out += struct.pack(order + "III", 0, len(program), block)
    for content in blocks:
        packed = compress(METHODS[method], content)
        if len(packed) >= len(content):
            packed = content
        out += struct.pack(order + "IIBBBB", len(content), len(packed), METHODS[method], 0, 0, 0)
        out += packed
    return out + struct.pack(order + "I4s", 0, b"UPX!") + b"the code that unpacks"
