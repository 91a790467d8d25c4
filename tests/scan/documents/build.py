"""Documents made by hand, as small as they can be."""

import struct
from collections.abc import Mapping
from itertools import pairwise

SECTOR = 512
END, FREE, FAT = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD


def compound_file(streams: Mapping[str, bytes]) -> bytes:
    """``streams``: content by path, ``/`` between storages."""
    names: list[tuple[str, int]] = [("Root Entry", 5)]
    parents: dict[int, list[int]] = {0: []}
    storages = {"": 0}
    contents: dict[int, bytes] = {}
    for path, content in streams.items():
        *above, name = path.split("/")
        at = ""
        for each in above:
            below = f"{at}/{each}"
            if below not in storages:
                storages[below] = len(names)
                parents[storages[at]].append(len(names))
                parents[len(names)] = []
                names.append((each, 1))
            at = below
        parents[storages[at]].append(len(names))
        contents[len(names)] = content
        names.append((name, 2))
    mini, mini_fat, sectors, fat = bytearray(), list[int](), list[bytes](), list[int]()

    def store(data: bytes) -> int:
        start, count = len(sectors), -(-len(data) // SECTOR)
        for number in range(count):
            sectors.append(data[number * SECTOR : (number + 1) * SECTOR].ljust(SECTOR, b"\0"))
            fat.append(len(sectors) if number + 1 < count else END)
        return start if count else END

    starts: dict[int, int] = {}
    for number, content in contents.items():
        if len(content) >= 4096:
            starts[number] = store(content)
            continue
        starts[number] = len(mini) // 64 if content else END
        count = -(-len(content) // 64)
        mini += content.ljust(count * 64, b"\0")
        mini_fat += [len(mini_fat) + i + 1 for i in range(count - 1)] + ([END] if count else [])
    root_start = store(bytes(mini))
    mini_fat_start = store(struct.pack(f"<{len(mini_fat)}L", *mini_fat))
    directory = b""
    siblings = {a: b for each in parents.values() for a, b in pairwise(each)}
    for number, (name, kind) in enumerate(names):
        raw = name.encode("utf-16-le") + b"\0\0"
        child = parents.get(number) or [FREE]
        start = root_start if not number else starts.get(number, 0)
        size = len(mini) if not number else len(contents.get(number, b""))
        directory += struct.pack(
            "<64sHBBLLL16sLQQLQ", raw, len(raw), kind, 1, FREE, siblings.get(number, FREE),
            child[0], bytes(16), 0, 0, 0, start, size,
        )  # fmt: skip
    directory_start = store(directory.ljust(-(-len(directory) // SECTOR) * SECTOR, b"\0"))
    fat_sectors = -(-(len(fat) + 2) // 127)
    fat_start = len(sectors)
    fat += [FAT] * fat_sectors
    table = struct.pack(f"<{len(fat)}L", *fat).ljust(fat_sectors * SECTOR, b"\xff")
    difat = [fat_start + i for i in range(fat_sectors)] + [FREE] * (109 - fat_sectors)
    header = struct.pack(
        "<8s16sHHHHH6xLLLLLLLLL", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", bytes(16), 62, 3, 0xFFFE, 9,
        6, 0, fat_sectors, directory_start, 0, 4096, mini_fat_start, 1, END, 0,
    )  # fmt: skip
    return header + struct.pack("<109L", *difat) + b"".join(sectors) + table


def vba_compressed(data: bytes) -> bytes:
    """MS-OVBA 2.4.1, with literal tokens only."""
    out = b"\x01"
    for at in range(0, len(data), 3600):
        chunk = data[at : at + 3600]
        body = b"".join(b"\0" + chunk[i : i + 8] for i in range(0, len(chunk), 8))
        out += struct.pack("<H", 0xB000 | len(body) - 1) + body
    return out


def vba_project(
    modules: Mapping[str, bytes], compiled: bytes = b"", names: bytes = b""
) -> dict[str, bytes]:
    """Streams of a project; ``compiled`` stands in front of each source."""

    def record(kind: int, value: bytes = b"") -> bytes:
        return struct.pack("<HL", kind, len(value)) + value

    long, cookie = bytes(4), b"\xff\xff"
    listed = b"".join(
        (record(1, b"\1\0\0\0"), record(2, long), record(0x14, long), record(3, b"\xe4\4"),
         record(4, b"Project"), record(5), record(0x40), record(6), record(0x3D), record(7, long),
         record(8, long), struct.pack("<HLLH", 9, 4, 1, 1), record(0xC), record(0x3C),
         record(0xF, struct.pack("<H", len(modules))), record(0x13, cookie))
    )  # fmt: skip
    for name in modules:
        plain, wide = name.encode(), name.encode("utf-16-le")
        listed += b"".join(
            (record(0x19, plain), record(0x47, wide), record(0x1A, plain), record(0x32, wide),
             record(0x1C), record(0x48), record(0x31, struct.pack("<L", len(compiled))),
             record(0x1E, long), record(0x2C, cookie), record(0x21), record(0x2B))
        )  # fmt: skip
    listed += record(0x10)
    streams = {
        f"Macros/VBA/{name}": compiled + (vba_compressed(source) if source else b"")
        for name, source in modules.items()
    }
    return {
        "Macros/VBA/dir": vba_compressed(listed),
        "Macros/VBA/_VBA_PROJECT": b"\xcc\x61" + names,
        **streams,
    }


def ole_native(name: str, data: bytes) -> bytes:
    """A stream ``\\1Ole10Native`` with a packaged file."""
    body = package(name, data)
    return struct.pack("<L", len(body)) + body


def package(name: str, data: bytes) -> bytes:
    raw = name.encode() + b"\0"
    path = b"C:\\" + raw
    return b"".join(
        (b"\2\0", raw, path, b"\0\0\3\0", struct.pack("<L", len(path)), path,
         struct.pack("<L", len(data)), data)
    )  # fmt: skip


def ole1_object(class_name: bytes, data: bytes) -> bytes:
    """An object as RTF keeps it."""
    head = struct.pack("<LL", 0x501, 2)
    name = class_name + b"\0"
    return b"".join(
        (head, struct.pack("<L", len(name)), name, bytes(8), struct.pack("<L", len(data)), data)
    )


def tnef(*attachments: tuple[str, bytes], body: bytes = b"") -> bytes:
    """A winmail.dat."""

    def attribute(level: int, kind: int, value: bytes) -> bytes:
        checksum = sum(value) & 0xFFFF
        return (
            struct.pack("<BHHL", level, kind, 6, len(value)) + value + struct.pack("<H", checksum)
        )

    out = b"\x78\x9f\x3e\x22\x01\x00"
    if body:
        out += attribute(1, 0x800C, body)
    for name, data in attachments:
        out += attribute(2, 0x9002, bytes(14)) + attribute(2, 0x8010, name.encode() + b"\0")
        out += attribute(2, 0x800F, data)
    return out
