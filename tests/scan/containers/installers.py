"""Installers with files inside, made by hand, as small as they can be."""

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy

from tests.scan.signatures.examples.programs import pe


def program(behind: bytes = b"", section: bytes = b"code") -> bytes:
    """A Windows program with one section and what is glued behind it."""
    return pe((section,), overlay=behind)


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _chunked(data: bytes) -> bytes:
    chunks = (deflated(data[at : at + 0x10000]) for at in range(0, len(data), 0x10000))
    return b"".join(struct.pack("<H", len(chunk)) + chunk for chunk in chunks)


def _flushed(data: bytes) -> bytes:
    """As some of version 5: pieces end by a flush, nothing has an end or a size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(
        packer.compress(data[at : at + 0x1000]) + packer.flush(zlib.Z_FULL_FLUSH)
        for at in range(0, len(data), 0x1000)
    )


def garbled(data: bytes) -> bytes:
    """InstallShield's way to hide a file in a cabinet."""
    out = bytearray()
    for number, byte in enumerate(data):
        plus = byte + number % 0x47 & 0xFF
        out.append((plus << 2 & 0xFF | plus >> 6) ^ 0xD5)
    return bytes(out)


def shield_cabinets(
    files: Mapping[str, bytes], *, version: int = 9, hidden: bool = False, split_at: int = 0,
    flushed: bool = False, apart: bool = True,
) -> dict[str, bytes]:  # fmt: skip
    """``data1.hdr`` and ``data1.cab``, or all in the latter; ``split_at``: a second volume."""
    number = 0x01000000 | version << 12 if version < 16 else 0x04000000 | version * 100
    volume_head = 20 + (40 if version <= 5 else 64)
    packed: list[bytes] = []
    for content in files.values():
        data = _flushed(content) if flushed else _chunked(content)
        packed.append(garbled(data) if hidden else data)
    start = max(volume_head, 0x200)
    names, entries, offsets = b"", b"", []
    folders = 1
    wide = version >= 17
    count = len(files)
    table = 4 * (folders + count)
    entry_bytes = 0x3A if version <= 5 else 0x57
    names_at = table + entry_bytes * count
    at = start
    for (name, content), data in zip(files.items(), packed, strict=True):
        flags = 4 | (2 if hidden else 0) | (1 if split_at else 0)
        name_at = names_at + len(names)
        names += name.encode("utf-16-le") + b"\0\0" if wide else name.encode() + b"\0"
        offsets.append(table + len(entries))
        if version <= 5:
            entries += struct.pack(
                "<LLHLL20xL16x", name_at, 0, flags & ~1, len(content), len(data), at
            )
        else:
            entries += struct.pack(
                "<HQQQ32xLH12xLLBH", flags, len(content), len(data), at, name_at, 0, 0, 0, 0, 1
            )
        at += len(data)
    listing = struct.pack(f"<{folders + count}L", names_at, *offsets) + entries + names
    head = struct.pack("<12xL4xLL L8xLL", 0x276, len(listing), len(listing), folders, count, table)
    head = head.ljust(0x276, b"\0") + listing
    body = b"".join(packed)
    cut = split_at or len(body)
    volumes = [body[:cut], body[cut:]] if split_at else [body]
    made: dict[str, bytes] = {}
    for index, volume in enumerate(volumes):
        last = count - 1
        fields = (start, 0, last, start, 0, len(volume), start, 0, len(volume))
        if version <= 5:
            volume_header = struct.pack("<10L", start, 0, *fields[1:])
        else:
            volume_header = struct.pack("<QLLQQQQQQ", *fields)
        common = struct.pack("<4sLLLL", b"ISc(", number, 0, 0x200, 0)
        made[f"data{index + 1}.cab"] = (common + volume_header).ljust(start, b"\0") + volume
    if apart:
        common = struct.pack("<4sLLLLL", b"ISc(", number, 0, 0x200, len(head), 0x200 + len(head))
        made["data1.hdr"] = common.ljust(0x200, b"\0") + head
    else:
        first = made["data1.cab"]
        # The list lies behind the files, where a header has room for it.
        made["data1.cab"] = (
            first[:12] + struct.pack("<LL", len(first), len(head)) + first[20:] + head
        )
    return made


def shield_text(files: Mapping[str, bytes], *, wide: bool = False) -> bytes:
    """``setup.exe`` with records of text."""
    out = struct.pack("<L", len(files)) if wide else b""
    for name, content in files.items():
        fields = (name, f"Disk1\\{name}", "1.0.0.0", str(len(content)))
        for field in fields:
            out += field.encode("utf-16-le") + b"\0\0" if wide else field.encode() + b"\0"
        out += content
    return program(out)


def hidden_by_name(data: bytes, key: bytes, block: int = 0) -> bytes:
    """The reverse of what InstallShield's programs do, byte by byte."""
    out = bytearray()
    for number, byte in enumerate(data):
        at = (number % block if block else number) % len(key)
        turned = ~byte & 0xFF ^ key[at] ^ b"\x13\x35\x86\x07"[at % 4]
        out.append(turned << 4 & 0xF0 | turned >> 4)
    return bytes(out)


def shield_table(
    files: Mapping[str, bytes], *, flags: int = 6, packed: bool = True, stream: int | None = None
) -> bytes:
    """``setup.exe`` with a table; ``stream``: the kind of an ``ISSetupStream``."""
    magic = b"InstallShield\0" if stream is None else b"ISSetupStream\0"
    out = struct.pack("<14sHL26x", magic, len(files), stream or 0)
    for name, content in files.items():
        data = zlib.compress(content) if packed else content
        block = 1024 if flags & 4 else 0
        if flags & 6:
            data = hidden_by_name(data, name.encode(), block)
        if stream is None:
            out += struct.pack("<260sL4xL8xH30x", name.encode(), flags, len(data), packed)
        else:
            wide = name.encode("utf-16-le") + b"\0\0"
            out += struct.pack("<LL2xL8xH", len(wide), flags, len(data), packed)
            out += bytes(24 if stream == 4 else 0) + wide
        out += data
    return program(b"NB10\0\0\0\0x.pdb\0" + out)


def together(cabinets: Mapping[str, bytes], order: Sequence[str]) -> bytes:
    """Cabinets behind each other in a program that says nothing of them."""
    return program(b"anything".join(cabinets[name] for name in order))


class _Ranrot:
    """AutoIt's generator as its program has it: two places that walk down 17 numbers."""

    def __init__(self, seed: int) -> None:
        self._numbers = []
        for _ in range(17):
            seed = 1 - seed * 0x53A9B4FB & 0xFFFFFFFF
            self._numbers.append(seed)
        self._a, self._b = 0, 10
        for _ in range(9):
            self._step()

    def _step(self) -> int:
        def turned(value: int, by: int) -> int:
            return (value << by | value >> 32 - by) & 0xFFFFFFFF

        value = turned(self._numbers[self._a], 9) + turned(self._numbers[self._b], 13)
        self._numbers[self._a] = value & 0xFFFFFFFF
        self._a, self._b = (self._a - 1) % 17, (self._b - 1) % 17
        return value & 0xFFFFFFFF

    def byte(self) -> int:
        self._step()
        return self._step() >> 24


class _Mersenne:
    """MT19937 without its lowest bit."""

    def __init__(self, seed: int) -> None:
        self._numbers = numpy.random.RandomState(seed)

    def byte(self) -> int:
        return int.from_bytes(self._numbers.bytes(4), "little") >> 1 & 0xFF


def _autoit_bits(data: bytes, literal: int) -> bytes:
    """Literals, and a match wherever a byte comes three times or more."""
    bits = ""
    at = 0
    while at < len(data):
        run = len(data) - at - len(data[at:].lstrip(data[at : at + 1]))
        if at and run >= 3 and data[at - 1] == data[at]:
            left = run - 3
            bits += str(1 - literal) + f"{1:015b}"
            for base, width in ((3, 2), (6, 3), (13, 5), (44, 8), (299, 8)):
                if run - base < (1 << width) - 1:
                    bits += f"{run - base:0{width}b}"
                    break
                bits += "1" * width
            else:
                left = run - 299 - 255
                bits += "1" * 8 * (left // 255) + f"{left % 255:08b}"
            at += run
            continue
        bits += str(literal) + f"{data[at]:08b}"
        at += 1
    bits += "0" * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big")


def autoit(files: Mapping[str, bytes], *, kind: str = "EA06", packed: bool = True) -> bytes:
    """``files``: by what AutoIt calls them; scripts have names of its own."""
    wide = kind == "EA06"
    make = _Ranrot if wide else _Mersenne
    marker, source, path, size, checksum, content = (
        (0x18EE, (0xADBC, 0xB33F), (0xF820, 0xF479), 0x87BC, 0xA685, 0x2477)
        if wide
        else (0x16FA, (0x29BC, 0xA25E), (0x29AC, 0xF25E), 0x45AA, 0xC3D2, 0x22AF)
    )
    sum_of = bytes(range(16))

    def hidden(data: bytes, seed: int) -> bytes:
        key = make(seed)
        return bytes(byte ^ key.byte() for byte in data)

    def text(value: str, seeds: tuple[int, int]) -> bytes:
        raw = value.encode("utf-16-le") if wide else value.encode()
        return struct.pack("<L", len(value) ^ seeds[0]) + hidden(raw, len(value) + seeds[1])

    out = bytes.fromhex("a3484bbe986c4aa9994c530a86d6487d") + b"AU3!" + kind.encode() + sum_of
    for name, data in files.items():
        stored = data
        if packed:
            stored = kind.encode() + struct.pack(">L", len(data)) + _autoit_bits(data, int(wide))
        out += hidden(b"FILE", marker) + text(name, source) + text(r"C:\made\here.tmp", path)
        out += struct.pack(
            "<BLLL16x",
            packed,
            len(stored) ^ size,
            len(data) ^ size,
            zlib.adler32(stored) ^ checksum,
        )
        out += hidden(stored, content + (0 if wide else sum(sum_of)))
    return program(out + bytes(8) + b"AU3!" + kind.encode())


def autoit_tokens(*lines: Sequence[tuple[int, str] | int | bytes]) -> bytes:
    """Words with their kind, signs, or anything else as it is."""
    out = struct.pack("<L", len(lines))
    for line in lines:
        for word in line:
            if isinstance(word, bytes):
                out += word
            elif isinstance(word, int):
                out += bytes([word])
            else:
                kind, text = word
                out += bytes([kind]) + struct.pack("<L", len(text))
                out += b"".join(struct.pack("<H", ord(c) ^ len(text)) for c in text)
        out += b"\x7f"
    return out


def sis(files: Mapping[str, bytes], *, packed: bool = True, unicode: bool = True) -> bytes:
    """The old kind: the second file is in two languages, with what else can be between files."""
    head = 100
    options = (1 if unicode else 0) | (0 if packed else 8)
    words, more = (12, 3) if unicode else (9, 2)
    sizes = [4 * (words + more * (number == 1)) for number in range(len(files))]
    between = struct.pack("<LL5s", 3, 5, b"abcde") + struct.pack("<L", 5) + struct.pack("<L", 6)
    between += struct.pack("<LL32x", 2, 1)
    at = head + sum(sizes) + len(between)
    records, behind = b"", b""
    for number, (name, content) in enumerate(files.items()):
        path = ("C:\\" + name).encode("utf-16-le" if unicode else "cp1252")
        stored = zlib.compress(content) if packed and unicode else content
        name_at = at + len(behind)
        behind += path
        data_at = at + len(behind)
        behind += stored
        count = 2 if number == 1 else 1
        record = struct.pack("<7L", number == 1, 0, 0, 0, 0, len(path), name_at)
        values = [[len(stored)] * count, [data_at] * count]
        if unicode:
            values.append([len(content)] * count)
        record += b"".join(struct.pack("<L", each) for value in values for each in value)
        records += record + (bytes(8) if unicode else b"")
        if not number:
            records += between
    uid = 0x10003A12 if unicode else 0x1000006D
    header = struct.pack("<4L", 1, uid, 0x10000419, 0) + struct.pack(
        "<HHHHHHHHLHHHHLL", 0, 2, len(files) + 4, 0, 0, 0, 0, 0, 200, options, 0, 1, 0, 0, 0
    )
    header += struct.pack("<L", head)
    return header.ljust(head, b"\0") + records.ljust(at - head, b"\0") + behind


def _field(kind: int, body: bytes, *, long: bool = False) -> bytes:
    size = struct.pack("<L", len(body))
    if long:
        size = struct.pack("<LL", len(body) | 1 << 31, 0)
    return struct.pack("<L", kind) + size + body + bytes(-len(body) % 4)


def _array(kind: int, bodies: Sequence[bytes]) -> bytes:
    return _field(1 + 1, struct.pack("<L", kind) + b"".join(_field(0, b)[4:] for b in bodies))


def sisx(files: Mapping[str, bytes], *, way: int = 1) -> bytes:
    """The new kind: a controller with descriptions, then one unit with the files."""

    def packed(body: bytes) -> bytes:
        stored = zlib.compress(body) if way else body
        return _field(3, struct.pack("<LQ", way, len(body)) + stored)

    described = [
        _field(1, f"!:\\{name}".encode("utf-16-le"))
        + _field(1, b"")
        + struct.pack("<LLQQL", 1, 0, len(content), len(content), number)
        for number, (name, content) in enumerate(files.items())
    ]
    block = _field(28, _array(24, described) + _array(13, []) + _array(26, []))
    controller = _field(13, _field(14, b"info") + block)
    unit = _array(32, [packed(content) for content in files.values()])
    contents = packed(controller) + _field(30, _array(31, [unit]))
    return struct.pack("<4L", 0x10201A7A, 0, 0, 0) + _field(12, contents, long=True)
