"""File systems: exFAT, ext, HFS+, SquashFS, each as small as can be; and damaged ones."""

import lzma
import random
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import lzfse
import pytest
from backports import zstd

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers.disks import SECTOR, partitioned

Unpack = Callable[..., list[Found]]

CONTENT = random.Random(0).randbytes(3000) + b"words and " * 2000
FILES = {"eicar.com": EICAR, "in/content": CONTENT}


def exfat_entry(
    name: str, cluster: int, size: int, *, folder: bool = False, whole: bool = True
) -> bytes:
    raw = name.encode("utf-16-le")
    names = [raw[at : at + 30].ljust(30, b"\0") for at in range(0, len(raw), 30)]
    out = struct.pack("<BBHH26x", 0x85, 1 + len(names), 0, 0x10 if folder else 0x20)
    out += struct.pack(
        "<BBBBHHQLLQ", 0xC0, 1 | 2 * whole, 0, len(name), 0, 0, size, 0, cluster, size
    )
    return out + b"".join(b"\xc1\0" + piece for piece in names)


def exfat(files: dict[str, bytes] = FILES) -> bytes:
    """Clusters are sectors; the table is in sector 24, the root in cluster 2; one file has a chain
    of every other cluster, all else is in one piece."""
    eicar, content = files.values()
    first = 6
    count = -(-len(content) // SECTOR)
    chain = [first + 2 * number for number in range(count)]
    table = {2: 0xFFFFFFFF, **dict(zip(chain, [*chain[1:], 0xFFFFFFFF], strict=True))}
    clusters = first + 2 * count
    boot = b"\xeb\x76\x90EXFAT   ".ljust(80, b"\0")
    boot += struct.pack("<LLLLL", 24, 1, 32, clusters - 2, 2)
    boot = boot.ljust(108, b"\0") + bytes([9, 0, 1])
    fat = b"".join(struct.pack("<L", table.get(number, 0)) for number in range(clusters))
    root = exfat_entry("eicar.com", 3, len(eicar)) + b"\x05" * 32
    root += exfat_entry("in", 4, SECTOR, folder=True)
    inside = exfat_entry("content", first, len(content), whole=False)
    pieces = [content[at : at + SECTOR] for at in range(0, len(content), SECTOR)]
    heap = [root, eicar, inside, b""] + [
        piece for one in pieces for piece in (one, b"\xee" * SECTOR)
    ]
    front = boot.ljust(510, b"\0") + b"\x55\xaa"
    front = front.ljust(24 * SECTOR, b"\0") + fat.ljust(8 * SECTOR, b"\0")
    return front + b"".join(cluster.ljust(SECTOR, b"\0") for cluster in heap)


def ext_names(*entries: tuple[int, str]) -> bytes:
    out = b"".join(
        struct.pack("<LHBB", number, 24, len(name), 1) + name.encode().ljust(16, b"\0")
        for number, name in entries
    )
    return out + struct.pack("<LH", 0, 1024 - len(out)).ljust(1024 - len(out), b"\0")


def ext(files: dict[str, bytes] = FILES, *, extents: bool = True, incompatible: int = 0) -> bytes:
    """Blocks of 1 KiB; the inodes from block 5 on, the root in block 10."""
    eicar, content = files.values()
    count = -(-len(content) // 1024)
    super_block = struct.pack("<LLLLLLLLLL", 16, 100, 0, 0, 0, 1, 0, 0, 8192, 0)
    super_block += struct.pack("<L", 16) + bytes(12) + struct.pack("<HHHH", 0xEF53, 1, 1, 0)
    super_block = super_block.ljust(76, b"\0") + struct.pack("<LLLH", 1, 0, 11, 128)
    super_block = super_block.ljust(96, b"\0") + struct.pack("<L", incompatible)
    descriptor = struct.pack("<LLL", 3, 4, 5).ljust(32, b"\0")
    first = 14
    blocks = list(range(first, first + count))
    mapped = [*blocks[:12], 13, 0, 0]
    tree = struct.pack("<HHHHL", 0xF30A, 2, 4, 0, 0)
    tree += struct.pack("<LHHL", 0, 5, 0, first) + struct.pack("<LHHL", 5, count - 5, 0, first + 5)
    inodes = {
        2: inode(0x4000, 1024, struct.pack("<L", 10)),
        12: inode(0x8000, len(eicar), struct.pack("<L", 12)),
        13: inode(0x4000, 1024, struct.pack("<L", 11)),
        14: inode(0x8000, len(content), tree, 0x80000)
        if extents
        else inode(0x8000, len(content), struct.pack("<15L", *mapped)),
        15: inode(0xA000, 9, b"eicar.com"),
    }
    table = b"".join(inodes.get(number, bytes(128)) for number in range(1, 17))
    root = ext_names((2, "."), (2, ".."), (12, "eicar.com"), (13, "in"), (15, "link"))
    inside = ext_names((13, "."), (2, ".."), (14, "content"))
    indirect = b"".join(struct.pack("<L", block) for block in blocks[12:])
    whole = bytes(1024) + super_block.ljust(1024, b"\0") + descriptor.ljust(3 * 1024, b"\0")
    whole += table.ljust(5 * 1024, b"\0") + root + inside
    return (
        whole
        + eicar.ljust(1024, b"\0")
        + indirect.ljust(1024, b"\0")
        + content.ljust(count * 1024, b"\0")
    )


def inode(mode: int, size: int, blocks: bytes, flags: int = 0) -> bytes:
    head = struct.pack("<HHL", mode, 0, size).ljust(32, b"\0") + struct.pack("<LL", flags, 0)
    return (head + blocks.ljust(60, b"\0")).ljust(128, b"\0")


def fork(size: int, *extents: tuple[int, int]) -> bytes:
    flat = [number for extent in extents for number in extent]
    return struct.pack(">QLL", size, 0, 0) + struct.pack(f">{len(flat)}L", *flat).ljust(64, b"\0")


def node(kind: int, following: int, *records: bytes, size: int = 2048) -> bytes:
    head = struct.pack(">LLbBHH", following, 0, kind, 1, len(records), 0)
    places = [14 + sum(map(len, records[:number])) for number in range(len(records) + 1)]
    end = struct.pack(f">{len(places)}H", *reversed(places))
    body = head + b"".join(records)
    return body.ljust(size - len(end), b"\0") + end


def tree(*leaves: tuple[bytes, ...]) -> bytes:
    header = struct.pack(">HLLLLHH", 1, 1, len(leaves), 1, len(leaves), 2048, 516)
    nodes = [node(1, 0, header.ljust(106, b"\0"), bytes(128), bytes(256))]
    for number, records in enumerate(leaves, 1):
        nodes.append(node(-1, number + 1 if number < len(leaves) else 0, *records))
    return b"".join(nodes)


def hfs_key(above: int, name: str) -> bytes:
    raw = struct.pack(">LH", above, len(name)) + name.encode("utf-16-be")
    return struct.pack(">H", len(raw)) + raw


def hfs_file(number: int, data: bytes, resources: bytes = fork(0), flags: int = 0) -> bytes:
    head = struct.pack(">HHLL", 2, 0, 0, number).ljust(41, b"\0") + bytes([flags])
    return head.ljust(88, b"\0") + data + resources


def hfs_folder(number: int) -> bytes:
    return struct.pack(">HHLL", 1, 0, 0, number).ljust(88, b"\0")


def hfs(
    files: dict[str, bytes] = FILES, *, kind: int = 0, packed: bytes = b"", resources: bytes = b""
) -> bytes:
    """Blocks of 512 bytes; the second file is in ten pieces, of which two are in the overflow.

    With ``kind``: a third one, compressed by macOS in that way, with ``packed`` in the attribute.
    """
    eicar, content = files.values()
    count = -(-len(content) // 512)
    lengths = [1] * 9 + [count - 9]
    blocks: list[bytes] = [b""] * 60
    extents = []
    for number, length in enumerate(lengths):
        extents.append((len(blocks), length))
        piece = content[number * 512 :][: length * 512]
        blocks += [piece[at : at + 512] for at in range(0, length * 512, 512)] + [b"\xee" * 512]
    flat = [number for extent in extents[8:] for number in extent]
    overflow = struct.pack(">HBBLL", 10, 0, 0, 21, 8)
    overflow += struct.pack(f">{len(flat)}L", *flat).ljust(64, b"\0")
    packed_at = len(blocks)
    blocks += [resources[at : at + 512] for at in range(0, len(resources), 512)]
    more = fork(len(resources), (packed_at, -(-len(resources) // 512)))
    third = hfs_key(2, "packed") + hfs_file(22, fork(0), more if resources else fork(0), 0x20)
    catalog = tree(
        (
            hfs_key(1, "Volume") + hfs_folder(2),
            hfs_key(2, "eicar.com") + hfs_file(20, fork(len(eicar), (50, 1))),
        ),
        (
            hfs_key(2, "in") + hfs_folder(19),
            *((third,) if kind else ()),
            hfs_key(19, "content") + hfs_file(21, fork(len(content), *extents[:8])),
        ),
    )
    name = "com.apple.decmpfs".encode("utf-16-be")
    key = struct.pack(">HLLH", 0, 22, 0, 17) + name
    value = struct.pack("<4sLQ", b"fpmc", kind, len(CONTENT)) + packed
    record = (
        struct.pack(">H", len(key)) + key + struct.pack(">LLLL", 0x10, 0, 0, len(value)) + value
    )
    attributes = tree((record + bytes(len(record) % 2),))
    trees = [tree((overflow,)), catalog, attributes]
    blocks[50] = eicar
    places = [(4, 8), (12, 12), (24, 8)]
    head = struct.pack(">2sHL", b"H+", 4, 0).ljust(40, b"\0") + struct.pack(">LL", 512, len(blocks))
    head = head.ljust(192, b"\0")
    for raw, place in zip(trees, places, strict=True):
        head += fork(len(raw) if raw is not attributes or kind else 0, place)
        for at in range(0, len(raw), 512):
            blocks[place[0] + at // 512] = raw[at : at + 512]
    blocks[2] = head
    return b"".join(block.ljust(512, b"\0") for block in blocks)


def hfs_wrapped() -> bytes:
    """In a volume of HFS, which begins at block 16 with blocks of 1024 bytes."""
    inner = hfs()
    head = struct.pack(">2s18xLL2xH", b"BD", 1024, 0, 0)[:28] + struct.pack(">H", 16)
    head = head.ljust(124, b"\0") + b"H+" + struct.pack(">HH", 3, len(inner) // 1024 + 1)
    return (bytes(1024) + head).ljust(16 * 512 + 3 * 1024, b"\0") + inner


def in_resources(*chunks: bytes) -> bytes:
    """As compressed files of macOS are in their resources."""
    at = 4 + 8 * len(chunks)
    table = struct.pack("<L", len(chunks))
    for chunk in chunks:
        table += struct.pack("<LL", at, len(chunk))
        at += len(chunk)
    return (
        struct.pack(">L", 256).ljust(256, b"\0") + struct.pack(">L", at) + table + b"".join(chunks)
    )


def listed_resources(*chunks: bytes) -> bytes:
    """As those have them that are packed by LZVN and LZFSE."""
    first = 4 * len(chunks) + 4
    ends = [first + sum(map(len, chunks[:number])) for number in range(len(chunks) + 1)]
    return struct.pack(f"<{len(ends)}L", *ends) + b"".join(chunks)


def lzvn(plain: bytes) -> bytes:
    """Literals of up to 271 bytes, and the end."""
    out = b""
    for at in range(0, len(plain), 271):
        piece = plain[at : at + 271]
        long = bytes([0xE0, len(piece) - 16]) if len(piece) > 15 else bytes([0xE0 | len(piece)])
        out += long + piece
    return out + b"\6" + bytes(7)


EICAR_INODE = inode(0x8000, len(EICAR), b"\x0c")

PACKERS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "gzip": (1, zlib.compress),
    "lzma": (2, lambda plain: lzma.compress(plain, lzma.FORMAT_ALONE)),
    "xz": (4, lzma.compress),
    "lz4": (5, lambda plain: lz4(plain)),
    "zstd": (6, zstd.compress),
}


def lz4(plain: bytes) -> bytes:
    """Runs of 20 bytes of which four come again, and the end as it is."""
    out, at = b"", 0
    while at + 40 < len(plain):
        if plain[at + 20 : at + 24] != plain[at + 10 : at + 14]:
            break
        out += bytes([0xF0, 5]) + plain[at : at + 20] + b"\x0a\0"
        at += 24
    rest = plain[at:]
    size = len(rest) - 15
    return out + bytes([0xF0, *([255] * (size // 255)), size % 255]) + rest


def metadata(plain: bytes) -> bytes:
    return struct.pack("<H", 0x8000 | len(plain)) + plain


def listing(start: int, *entries: tuple[int, int, str]) -> bytes:
    out = struct.pack("<LLL", len(entries) - 1, start, 1)
    for offset, kind, name in entries:
        out += struct.pack("<HhHH", offset, 0, kind, len(name) - 1) + name.encode()
    return out


def squashfs(files: dict[str, bytes] = FILES, packer: str = "gzip") -> bytes:
    """Blocks of 4 KiB; what is left of a file is in a fragment, metadata is plain."""
    number, pack = PACKERS[packer]
    eicar, content = files.values()
    body = bytes(96)
    sizes = []
    whole_blocks = len(content) // 4096
    for at in range(0, whole_blocks * 4096, 4096):
        block = content[at : at + 4096]
        packed = pack(block)
        packed, flag = (packed, 0) if len(packed) < 4096 else (block, 1 << 24)
        sizes.append(len(packed) | flag)
        body += packed
    tails = content[whole_blocks * 4096 :] + eicar
    tail_at, packed_tails = len(body), pack(tails)
    body += packed_tails
    head = struct.pack("<HHHLL", 0o644, 0, 0, 0, 1)
    tail_bytes = len(content) % 4096
    inodes = struct.pack("<H", 2) + head + struct.pack("<LLLL", 96, 0, tail_bytes, len(eicar))
    at_content = len(inodes)
    inodes += struct.pack("<H", 9) + head
    inodes += struct.pack("<QQQLLLL", 96, len(content), 0, 1, 0, 0, 0xFFFFFFFF)
    inodes += struct.pack(f"<{len(sizes)}L", *sizes)
    inside = listing(0, (at_content, 2, "content"))
    at_in = len(inodes)
    inodes += struct.pack("<H", 1) + head + struct.pack("<LLHHL", 0, 2, len(inside) + 3, 0, 1)
    root = listing(0, (0, 2, "eicar.com"), (at_in, 1, "in"))
    at_root = len(inodes)
    inodes += struct.pack("<H", 8) + head
    inodes += struct.pack("<LLLLHHL", 2, len(root) + 3, 0, 1, 0, len(inside), 0xFFFFFFFF)
    inodes_at = len(body)
    body += metadata(inodes)
    folders_at = len(body)
    body += metadata(inside + root)
    entry_at = len(body)
    body += metadata(struct.pack("<QLL", tail_at, len(packed_tails), 0))
    fragments_at = len(body)
    body += struct.pack("<Q", entry_at)
    head = struct.pack("<4sLLLLHHHHHHQQQQQQQQ", b"hsqs", 4, 0, 4096, 1, number, 12, 0, 1, 4, 0,
                       at_root, len(body), 0, 0, inodes_at, folders_at, fragments_at,
                       0)  # fmt: skip
    return head + body[96:]


SYSTEMS: dict[str, Callable[[], bytes]] = {
    "exFAT": exfat,
    "HFS+": hfs,
    "HFS+ in HFS": hfs_wrapped,
    "ext2": lambda: ext(extents=False),
    "ext4": ext,
    **{f"SquashFS, {name}": lambda name=name: squashfs(packer=name) for name in PACKERS},  # type: ignore[misc]
}


@pytest.mark.parametrize("made", SYSTEMS.values(), ids=SYSTEMS)
@pytest.mark.parametrize("wrap", [bytes, partitioned], ids=["bare", "partition"])
def test_files_have_their_names(
    unpack: Unpack, made: Callable[[], bytes], wrap: Callable[[bytes], bytes]
) -> None:
    image = made()
    found = unpack(wrap(image.ljust(-(-len(image) // SECTOR) * SECTOR, b"\0")))
    assert not any(isinstance(one, Shut) for one in found)
    pieces = {one.name: one.data for one in found if isinstance(one, Piece)}
    pieces.pop("link", None)
    assert pieces == FILES


@pytest.mark.parametrize(
    ("kind", "packed", "resources"),
    [
        (3, zlib.compress(CONTENT[:1000]), b""),
        (3, b"\xff" + CONTENT[:1000], b""),
        (9, CONTENT[:1000], b""),
        (4, b"", in_resources(zlib.compress(CONTENT))),
        (4, b"", in_resources(b"\xff" + CONTENT)),
        (7, b"\6" + CONTENT[:1000], b""),
        (8, b"", listed_resources(lzvn(CONTENT))),
        (8, b"", listed_resources(b"\6" + CONTENT)),
        (10, b"", listed_resources(CONTENT)),
        (11, lzfse.compress(CONTENT[:1000]), b""),
        (12, b"", listed_resources(lzfse.compress(CONTENT))),
        (12, b"", listed_resources(b"\xff" + CONTENT)),
    ],
    ids=lambda value: value if isinstance(value, int) else "",
)
def test_a_file_that_macos_compressed(
    unpack: Unpack, kind: int, packed: bytes, resources: bytes
) -> None:
    found = unpack(hfs(kind=kind, packed=packed, resources=resources))
    [content] = [one.data for one in found if isinstance(one, Piece) and one.name == "packed"]
    wanted = CONTENT if resources else CONTENT[:1000]
    assert content == wanted
    told = [one.name for one in found if isinstance(one, Shut)]
    assert told == ([] if resources else ["packed"])  # it says that it is longer


@pytest.mark.parametrize("kind", [5, 13, 99])
def test_a_file_that_macos_compressed_otherwise_is_told(unpack: Unpack, kind: int) -> None:
    shuts = [one for one in unpack(hfs(kind=kind, packed=b"a")) if isinstance(one, Shut)]
    assert [(one.name, one.reason) for one in shuts] == [("packed", Reason.UNSUPPORTED)]


def test_a_compressed_file_without_its_attribute_is_told(unpack: Unpack) -> None:
    image = hfs(kind=3, packed=b"a").replace(b"fpmc", b"none")
    shuts = [one for one in unpack(image) if isinstance(one, Shut)]
    assert [(one.name, one.reason) for one in shuts] == [("packed", Reason.MALFORMED)]


def test_partitions_of_an_apple_map(unpack: Unpack) -> None:
    inner = hfs()
    rows = [(1, 3, b"Apple_partition_map"), (4, len(inner) // 512, b"Apple_HFS")]
    image = b"ER".ljust(512, b"\0")
    for start, count, kind in rows:
        row = struct.pack(">2sHLLL", b"PM", 0, 2, start, count).ljust(48, b"\0") + kind
        image += row.ljust(512, b"\0")
    found = unpack(image.ljust(4 * 512, b"\0") + inner)
    assert {one.name: one.data for one in found if isinstance(one, Piece)} == FILES


def test_nodes_that_lead_to_each_other_end(unpack: Unpack) -> None:
    image = bytearray(hfs())
    image[12 * 512 + 2 * 2048 : 12 * 512 + 2 * 2048 + 4] = (1).to_bytes(4, "big")
    found = unpack(bytes(image))
    assert [one.reason for one in found if isinstance(one, Shut)] == [Reason.MALFORMED]
    assert sum(isinstance(one, Piece) for one in found) == 2


def test_a_link_is_its_target(unpack: Unpack) -> None:
    assert {one.name: one.data for one in unpack(ext()) if isinstance(one, Piece)}[
        "link"
    ] == b"eicar.com"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (ext(incompatible=0x04), Reason.UNSUPPORTED),
        (ext(incompatible=0x10), Reason.UNSUPPORTED),
        (ext().replace(EICAR_INODE, inode(0x8000, 9, b"x", 0x800)), Reason.ENCRYPTED),
        (ext().replace(EICAR_INODE, inode(0x8000, 9, b"x", 0x10000000)), Reason.UNSUPPORTED),
        (squashfs()[:20] + b"\7" + squashfs()[21:], Reason.UNSUPPORTED),
        (b"sqsh" + squashfs()[4:], Reason.UNSUPPORTED),
        (b"XFSB".ljust(4096, b"\0"), Reason.UNSUPPORTED),
        (partitioned(b"XFSB".ljust(4096, b"\0")), Reason.UNSUPPORTED),
        (partitioned(b"LUKS\xba\xbe".ljust(4096, b"\0")), Reason.ENCRYPTED),
        (partitioned(b"\xeb\x58\x90-FVE-FS-".ljust(4096, b"\0")), Reason.ENCRYPTED),
    ],
    ids=[
        "journal", "groups", "encrypted file", "inline", "packing", "byte order", "XFS alone",
        "XFS", "LUKS", "BitLocker",
    ],
)  # fmt: skip
def test_what_is_not_opened_is_told(unpack: Unpack, image: bytes, reason: Reason) -> None:
    shuts = [one.reason for one in unpack(image) if isinstance(one, Shut)]
    assert shuts == [reason]


@pytest.mark.parametrize("made", SYSTEMS.values(), ids=SYSTEMS)
def test_a_truncated_image_is_unscannable(unpack: Unpack, made: Callable[[], bytes]) -> None:
    whole = made()
    for keep in (2100, len(whole) // 2, len(whole) - SECTOR - 600):
        assert any(isinstance(one, Shut) for one in unpack(whole[:keep])), keep


@pytest.mark.parametrize("made", SYSTEMS.values(), ids=SYSTEMS)
def test_any_damage_is_survived(unpack: Unpack, made: Callable[[], bytes]) -> None:
    whole = made()
    numbers = random.Random(0)
    places = [at for at in range(0, len(whole), 16) if any(whole[at : at + 16])]
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            at = numbers.choice(places) + numbers.randrange(16)
            damaged[min(at, len(damaged) - 1)] = numbers.randrange(256)
        unpack(bytes(damaged))


@pytest.mark.parametrize(
    "start",
    [
        b"\xeb\x76\x90EXFAT   ",
        b"hsqs",
        bytes(1024) + ext()[1024:1136],
        bytes(1024) + hfs()[1024:1068],
        bytes(1024) + b"BD".ljust(124, b"\0") + b"H+",
    ],
    ids=["exFAT", "SquashFS", "ext", "HFS+", "HFS"],
)
@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_nothing_but_a_beginning_is_unscannable(
    unpack: Unpack, start: bytes, filler: bytes
) -> None:
    for size in (2048, 100_000):
        assert any(isinstance(one, Shut) for one in unpack(start.ljust(size, filler))), size


def test_a_file_that_is_too_large_is_cut(unpack: Unpack) -> None:
    for made in SYSTEMS.values():
        found = unpack(made(), max_part_bytes=10_000)
        assert max(len(one.data) for one in found if isinstance(one, Piece)) <= 10_001


def test_extents_that_are_in_each_other_end(unpack: Unpack) -> None:
    tree = struct.pack("<HHHHL", 0xF30A, 4, 4, 5, 0)
    tree += 4 * struct.pack("<LLHH", 0, 50, 0, 0)
    node = struct.pack("<HHHHL", 0xF30A, 84, 84, 4, 0) + 84 * struct.pack("<LLHH", 0, 50, 0, 0)
    image = bytearray(ext().ljust(64 * 1024, b"\0"))
    at = image.index(EICAR_INODE)
    image[at : at + 128] = inode(0x8000, 1 << 30, tree, 0x80000)
    image[50 * 1024 : 51 * 1024] = node.ljust(1024, b"\0")
    assert any(isinstance(one, Shut) and one.name == "eicar.com" for one in unpack(bytes(image)))


def program(name: str, package: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        pytest.skip(f"needs {name} (Debian: {package}), which is not installed")
    return found


@pytest.fixture(name="tree")
def files_in_a_folder(tmp_path: Path) -> dict[str, bytes]:
    """A folder ``tree`` with what is returned."""
    numbers = random.Random(0)
    files = {
        "empty": b"",
        "eicar.com": EICAR,
        "sub/large": Path("/usr/bin/env").read_bytes() * 20,
        "sub/random": numbers.randbytes(70_001),
        **{f"many/file number {number}": b"%d" % number for number in range(200)},
    }
    for name, content in files.items():
        place = tmp_path / "tree" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return files


@pytest.mark.real
@pytest.mark.parametrize(
    "options",
    [["ext2"], ["ext3"], ["ext4"], ["ext4", "-b", "1024", "-O", "^64bit"]],
    ids=" ".join,
)
def test_file_systems_of_mke2fs(
    unpack: Unpack, tmp_path: Path, tree: dict[str, bytes], options: list[str]
) -> None:
    command = [program("mke2fs", "e2fsprogs"), "-q", "-d", "tree", "-t", *options, "image", "8M"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = unpack((tmp_path / "image").read_bytes())
    assert {one.name: one.data for one in found if isinstance(one, Piece)} == tree
    assert not any(isinstance(one, Shut) for one in found)


@pytest.mark.real
@pytest.mark.parametrize("packer", [*PACKERS, "lzo"])
def test_images_of_mksquashfs(
    unpack: Unpack, tmp_path: Path, tree: dict[str, bytes], packer: str
) -> None:
    command = [program("mksquashfs", "squashfs-tools"), "tree", "image", "-comp", packer, "-quiet"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = unpack((tmp_path / "image").read_bytes())
    assert {one.name: one.data for one in found if isinstance(one, Piece)} == tree
    assert not any(isinstance(one, Shut) for one in found)


@pytest.mark.real
def test_files_of_both_file_systems_of_a_hybrid_of_xorriso(
    unpack: Unpack, tmp_path: Path, tree: dict[str, bytes]
) -> None:
    program("xorriso", "xorriso")
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-hfsplus", "-o", "image", "tree"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = unpack((tmp_path / "image").read_bytes())
    apple = {one.name: one.data for one in found if isinstance(one, Piece) and one.label}
    assert apple == tree
    assert not any(isinstance(one, Shut) for one in found)


@pytest.mark.real
def test_a_file_in_what_mkfs_exfat_made(unpack: Unpack, tmp_path: Path) -> None:
    """Put there by hand: nothing writes into an image without mounting it."""
    image = tmp_path / "image"
    image.write_bytes(bytes(8 * 1024 * 1024))
    command = [program("mkfs.exfat", "exfatprogs"), "-c", "4K", str(image)]
    subprocess.run(command, check=True, capture_output=True)
    whole = bytearray(image.read_bytes())
    _, _, heap, count, root = struct.unpack_from("<LLLLL", whole, 80)
    root_at = heap * 512 + (root - 2) * 4096
    end = next(at for at in range(root_at, root_at + 4096, 32) if not whole[at])
    at = heap * 512 + (count - 12) * 4096
    entry = exfat_entry("a rather long name of a file.exe", count - 10, len(CONTENT))
    whole[end : end + len(entry)] = entry
    whole[at : at + len(CONTENT)] = CONTENT
    [piece] = unpack(bytes(whole))
    assert isinstance(piece, Piece)
    assert (piece.name, piece.data) == ("a rather long name of a file.exe", CONTENT)


@pytest.mark.shared
def test_a_volume_that_macos_made(unpack: Unpack, shared: Path) -> None:
    [path] = (shared / "clean/tika").rglob("test-documents.dmg")
    found = unpack(path.read_bytes())
    assert not any(isinstance(one, Shut) for one in found)
    sizes = {one.name: len(one.data) for one in found if isinstance(one, Piece)}
    names = {name.rpartition("/")[2]: size for name, size in sizes.items()}
    assert len(names) == 9
    assert (names["testPDF.pdf"], names["testTXT.txt"]) == (34824, 49)
