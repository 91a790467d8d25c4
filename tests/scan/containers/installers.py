"""Installers with files inside, made by hand, as small as they can be."""

import struct
import zlib
from collections.abc import Mapping, Sequence


def program(behind: bytes = b"", section: bytes = b"code") -> bytes:
    """A Windows program with one section and what is glued behind it."""
    start = 0x200
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<L", 0x40)
    head += b"PE\0\0" + struct.pack("<HHLLLHH", 0x14C, 1, 0, 0, 0, 0, 0x102)
    head += struct.pack("<8sLLLL16x", b".text", len(section), 0x1000, len(section), start)
    return head.ljust(start, b"\0") + section + behind


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
