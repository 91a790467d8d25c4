"""APFS, as small as can be: files in pieces, compressed ones, links; encrypted, sealed, damaged."""

import random
import struct
import zlib
from collections.abc import Callable

import pytest

from mailward.scan.containers.apfs import fletcher
from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers.disks import partitioned
from tests.scan.containers.test_disk import dmg

Unpack = Callable[..., list[Found]]

BLOCK = 4096
CONTENT = random.Random(0).randbytes(6000) + b"words and " * 700
NEWER, OBJECTS, OBJECT_TREE, VOLUME, ITS_OBJECTS, ITS_TREE = 1, 2, 3, 4, 5, 6
ROOT, LEAF_1, LEAF_2, DATA = 7, 8, 9, 10
VOLUME_ID, ROOT_ID, LEAF_1_ID, LEAF_2_ID = 1026, 1028, 1029, 1030
IN_TREE, FIXED = 2, 4


def block(kind: int, number: int, body: bytes, *, when: int = 2, subtype: int = 0) -> bytes:
    raw = struct.pack("<QQLL", number, when, kind, subtype) + body
    raw = raw.ljust(BLOCK - 8, b"\0")
    return fletcher(raw) + raw


def node(
    number: int, pairs: list[tuple[bytes, bytes]], *, flags: int, level: int = 0, subtype: int = 14
) -> bytes:
    """With a table of places behind the header; values from the end on."""
    is_root, is_fixed = flags & 1, flags & FIXED
    table = keys = values = b""
    for key, value in pairs:
        values = value + values
        if is_fixed:
            table += struct.pack("<HH", len(keys), len(values))
        else:
            table += struct.pack("<4H", len(keys), len(key), len(values), len(value))
        keys += key
    info = struct.pack("<LLLLLLQQ", 0, BLOCK, *((16, 16) if is_fixed else (0, 0)), 0, 0,
                       len(pairs), 1) if is_root else b""  # fmt: skip
    head = struct.pack("<HHLHHHHHHHH", flags, level, len(pairs), 0, len(table), 0, 0, 0xFFFF, 0,
                       0xFFFF, 0)  # fmt: skip
    front = head + table + keys
    body = front + bytes(BLOCK - 32 - len(front) - len(values) - len(info)) + values + info
    return block(2 if is_root else 3, number, body, subtype=subtype)


def key(number: int, kind: int, rest: bytes = b"") -> bytes:
    return struct.pack("<Q", kind << 60 | number) + rest


def inode(number: int, parent: int, mode: int, size: int, flags: int = 0) -> tuple[bytes, bytes]:
    fixed = struct.pack("<QQQQQQQLLLLLLHHQ", parent, number, 0, 0, 0, 0, 0, 1, 0, 0, flags, 0, 0,
                        mode, 0, 0)  # fmt: skip
    name = struct.pack("<BBH", 4, 2, 5)
    stream = struct.pack("<BBH", 8, 0x20, 40)
    fields = struct.pack("<HH", 2, 56) + name + stream + b"file\0\0\0\0"
    return key(number, 3), fixed + fields + struct.pack("<QQQQQ", size, size, 0, 0, 0)


def entry(parent: int, name: str, number: int, kind: int, *, hashed: bool) -> tuple[bytes, bytes]:
    raw = name.encode() + b"\0"
    rest = struct.pack("<L", len(raw) | 5 << 10) if hashed else struct.pack("<H", len(raw))
    return key(parent, 9, rest + raw), struct.pack("<QQH", number, 0, kind)


def extent(number: int, at: int, size: int, start: int) -> tuple[bytes, bytes]:
    return key(number, 8, struct.pack("<Q", at)), struct.pack("<QQQ", size, start, 0)


def attribute(number: int, name: str, content: bytes) -> tuple[bytes, bytes]:
    raw = name.encode() + b"\0"
    rest = struct.pack("<H", len(raw)) + raw
    return key(number, 4, rest), struct.pack("<HH", 2, len(content)) + content


def apfs(*, features: int = 1, flags: int = 1, decoy: bool = False) -> bytes:
    """A file, a folder with one in two pieces and a hole between, a compressed one, a link."""
    hashed = bool(features & 9)
    first, second = CONTENT[:BLOCK], CONTENT[BLOCK:]
    note = struct.pack("<4sLQ", b"fpmc", 3, 500) + zlib.compress(CONTENT[:500])
    left = [
        inode(2, 1, 0o40755, 0),
        entry(2, "eicar.com", 20, 8, hashed=hashed),
        entry(2, "in", 21, 4, hashed=hashed),
        entry(2, "link", 24, 10, hashed=hashed),
        inode(20, 2, 0o100644, len(EICAR)),
        extent(20, 0, BLOCK, DATA),
    ]
    right = [
        inode(21, 2, 0o40755, 0),
        entry(21, "content", 22, 8, hashed=hashed),
        entry(21, "packed", 23, 8, hashed=hashed),
        inode(22, 21, 0o100644, 2 * BLOCK + len(second)),
        extent(22, 0, BLOCK, DATA + 1),
        extent(22, 2 * BLOCK, 3 * BLOCK, DATA + 2),
        inode(23, 21, 0o100644, 0, 0x20),
        attribute(23, "com.apple.decmpfs", note),
        inode(24, 2, 0o120755, 0),
        attribute(24, "com.apple.fs.symlink", b"eicar.com\0"),
    ]
    children = [(left[0][0], LEAF_1_ID), (right[0][0], LEAF_2_ID)]
    root = [(one, struct.pack("<Q", child)) for one, child in children]
    container = b"NXSB" + struct.pack("<LQ", BLOCK, 40).ljust(68, b"\0")
    container = container.ljust(72, b"\0") + struct.pack("<LLQQ", 1, 1, NEWER, 0)
    container = container.ljust(128, b"\0") + struct.pack("<QQLLQ", OBJECTS, 0, 0, 1, VOLUME_ID)
    volume = b"APSB" + struct.pack("<LQQQ", 0, 0, 0, features)
    volume = volume.ljust(96, b"\0") + struct.pack("<QQ", ITS_OBJECTS, ROOT_ID)
    volume = volume.ljust(232, b"\0") + struct.pack("<Q", flags)
    volume = volume.ljust(672, b"\0") + b"Volume"

    def places(*pairs: tuple[int, int]) -> list[tuple[bytes, bytes]]:
        return [
            (struct.pack("<QQ", number, 2), struct.pack("<LLQ", 0, BLOCK, place))
            for number, place in pairs
        ]

    def objects(at: int, tree: int) -> bytes:
        return block(0x4000000B, at, struct.pack("<LLLLQ", 0, 0, 0x40000002, 0, tree))

    its = places((ROOT_ID, ROOT), (LEAF_1_ID, LEAF_1), (LEAF_2_ID, LEAF_2))
    wrong = container[:128] + bytes(16) + container[144:]
    blocks = [
        block(0x80000001, 1, wrong if decoy else container, when=1),
        block(0x80000001, 1, container, when=3),
        objects(OBJECTS, OBJECT_TREE),
        node(OBJECT_TREE, places((VOLUME_ID, VOLUME)), flags=7, subtype=11),
        block(0xD, VOLUME_ID, volume),
        objects(ITS_OBJECTS, ITS_TREE),
        node(ITS_TREE, its, flags=7, subtype=11),
        node(ROOT_ID, root, flags=1, level=1),
        node(LEAF_1_ID, left, flags=IN_TREE),
        node(LEAF_2_ID, right, flags=IN_TREE),
        EICAR,
        first,
        second[:BLOCK],
        second[BLOCK : 2 * BLOCK],
        second[2 * BLOCK :],
    ]
    whole = b"".join(one.ljust(BLOCK, b"\0") for one in blocks)
    return whole.ljust(40 * BLOCK, b"\0")


FILES = {
    "eicar.com": EICAR,
    "in/content": CONTENT[:BLOCK] + bytes(BLOCK) + CONTENT[BLOCK:],
    "in/packed": CONTENT[:500],
    "link": b"eicar.com\0",
}


@pytest.mark.parametrize("features", [1, 8, 0], ids=["caseless", "normalised", "neither"])
@pytest.mark.parametrize("wrap", [bytes, partitioned, dmg], ids=["bare", "partition", "DMG"])
def test_files_have_their_names(
    unpack: Unpack, features: int, wrap: Callable[[bytes], bytes]
) -> None:
    found = unpack(wrap(apfs(features=features)))
    assert {one.name: one.data for one in found if isinstance(one, Piece)} == FILES
    assert not any(isinstance(one, Shut) for one in found)


def test_the_newest_checkpoint_counts(unpack: Unpack) -> None:
    found = unpack(apfs(decoy=True))
    assert {one.name for one in found if isinstance(one, Piece)} == set(FILES)


@pytest.mark.parametrize(
    ("image", "reason"),
    [(apfs(flags=0), Reason.ENCRYPTED), (apfs(features=0x21), Reason.UNSUPPORTED)],
    ids=["encrypted", "sealed"],
)
def test_a_volume_that_is_not_opened_is_told(unpack: Unpack, image: bytes, reason: Reason) -> None:
    assert [one.reason for one in unpack(image) if isinstance(one, Shut)] == [reason]


def test_a_truncated_image_is_unscannable(unpack: Unpack) -> None:
    whole = apfs()
    for keep in (2100, *range(BLOCK, (DATA + 5) * BLOCK, BLOCK)):
        assert any(isinstance(one, Shut) for one in unpack(whole[:keep])), keep // BLOCK


@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_nothing_but_a_beginning_is_unscannable(unpack: Unpack, filler: bytes) -> None:
    for start in (bytes(32) + b"NXSB", apfs()[:64]):
        found = unpack(start.ljust(100_000, filler))
        assert [one.reason for one in found if isinstance(one, Shut)] == [Reason.MALFORMED]


def test_trees_that_are_in_themselves_end(unpack: Unpack) -> None:
    whole = bytearray(apfs())
    for child in (LEAF_1_ID, LEAF_2_ID):
        at = whole.index(struct.pack("<Q", child), ROOT * BLOCK)
        whole[at : at + 8] = struct.pack("<Q", ROOT_ID)
    found = unpack(bytes(whole))
    assert [one.reason for one in found if isinstance(one, Shut)] == [Reason.MALFORMED]


def test_any_damage_is_survived(unpack: Unpack) -> None:
    whole = apfs()
    numbers = random.Random(0)
    places = [at for at in range(0, (DATA + 1) * BLOCK, 8) if any(whole[at : at + 8])]
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[numbers.choice(places) + numbers.randrange(8)] = numbers.randrange(256)
        unpack(bytes(damaged))


def test_content_without_a_size_is_told(unpack: Unpack) -> None:
    whole = apfs().replace(struct.pack("<QQQQQ", len(EICAR), len(EICAR), 0, 0, 0), bytes(40))
    told = [(one.name, one.reason) for one in unpack(whole) if isinstance(one, Shut)]
    assert told == [("eicar.com", Reason.MALFORMED)]


def test_volumes_that_are_nowhere_are_told(unpack: Unpack) -> None:
    for number in (0, 9999):
        old = struct.pack("<LQ", 1, VOLUME_ID)
        whole = bytearray(apfs())
        at = whole.index(old, BLOCK)
        whole[at : at + 12] = struct.pack("<LQ", 1, number)
        whole[BLOCK : BLOCK + 8] = fletcher(bytes(whole[BLOCK + 8 : 2 * BLOCK]))
        assert any(isinstance(one, Shut) for one in unpack(bytes(whole)))
