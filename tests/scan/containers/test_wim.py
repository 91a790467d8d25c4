"""Windows images: stored, XPRESS and LZX by the simplest of packers, all else by wimlib."""

import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR

Unpack = Callable[..., list[Found]]
Members = Callable[..., list[tuple[str, bytes]]]
Packer = Callable[[bytes], bytes]

CHUNK = 1 << 15
STORED, XPRESS, LZX, LZMS = 0, 1 << 17, 1 << 18, 1 << 19
IN_METADATA, PACKED, SOLID = 2, 4, 16


class Words:
    """Bits in words of 16, the highest first, the lower byte in front."""

    def __init__(self) -> None:
        self.bits = ""

    def add(self, value: int, count: int) -> None:
        self.bits += f"{value:0{count}b}" if count else ""

    def done(self) -> bytes:
        bits = self.bits + "0" * (-len(self.bits) % 16)
        words = [int(bits[at : at + 16], 2) for at in range(0, len(bits), 16)]
        return struct.pack(f"<{len(words)}H", *words)


def tokens(plain: bytes) -> list[int | tuple[int, int]]:
    """Literals, and what repeats the eight bytes before it as offset and length."""
    found: list[int | tuple[int, int]] = []
    at = 0
    while at < len(plain):
        if at >= 8 and plain[at : at + 8] == plain[at - 8 : at]:
            found.append((8, 8))
            at += 8
        else:
            found.append(plain[at])
            at += 1
    return found


def xpress(plain: bytes) -> bytes:
    """Every symbol has nine bits, so it is its own code."""
    words = Words()
    for token in tokens(plain):
        if isinstance(token, int):
            words.add(token, 9)
        else:
            words.add(256 + (3 << 4) + token[1] - 3, 9)  # offset 8: power 3, nothing added
            words.add(0, 3)
    return b"\x99" * 256 + words.done() + bytes(4)


def lzx(plain: bytes) -> bytes:
    """One block; every symbol of the main tree has nine bits, of that of lengths none."""
    words = Words()
    words.add(1, 3)
    words.add(0, 1)
    words.add(len(plain), 16)
    for count in (256, 240):
        for symbol in range(20):
            words.add(1 if symbol in (7, 8) else 0, 4)
        for _ in range(count):
            words.add(1, 1)  # symbol 8: length 0 - 8, which is 9 by 17
    for symbol in range(20):
        words.add(1 if symbol in (17, 18) else 0, 4)
    for run in (51, 51, 51, 51, 45):
        words.add(1, 1)
        words.add(run - 20, 5)
    for token in tokens(plain):
        if isinstance(token, int):
            words.add(token, 9)
        else:
            words.add(256 + 6 * 8 + token[1] - 2, 9)  # slot 6: offsets 6 to 9
            words.add(2, 2)
    return words.done()


def lzx_stored(plain: bytes) -> bytes:
    words = Words()
    words.add(3, 3)
    words.add(0, 1)
    words.add(len(plain), 16)
    return words.done() + struct.pack("<LLL", 1, 1, 1) + plain + bytes(len(plain) % 2)


def packed(plain: bytes, pack: Packer, size: int = CHUNK) -> bytes:
    """In chunks, behind the table of where they end."""
    chunks = []
    for at in range(0, len(plain), size):
        chunk = plain[at : at + size]
        small = pack(chunk)
        chunks.append(small if len(small) < len(chunk) else chunk)
    ends = [sum(map(len, chunks[: number + 1])) for number in range(len(chunks) - 1)]
    return struct.pack(f"<{len(ends)}L", *ends) + b"".join(chunks)


def dentry(
    name: str, content: bytes, below: int = 0, streams: Sequence[tuple[str, bytes]] = ()
) -> bytes:
    raw = name.encode("utf-16-le")
    fixed = struct.pack("<LlQ", 0x10 if below else 0x20, -1, below) + bytes(40) + key(content)
    body = fixed + bytes(12) + struct.pack("<HHH", len(streams), 0, len(raw)) + raw + bytes(2)
    out = struct.pack("<Q", 8 + len(body)) + body
    out += bytes(-len(out) % 8)
    for stream, inside in streams:
        raw = stream.encode("utf-16-le")
        extra = (
            struct.pack("<QQ", 38 + len(raw), 0) + key(inside) + struct.pack("<H", len(raw)) + raw
        )
        out += extra + bytes(-len(extra) % 8)
    return out


def key(content: bytes) -> bytes:
    """What stands for a content; images have its SHA-1."""
    return (
        (len(content).to_bytes(4, "big") + content[:16]).ljust(20, b"\1") if content else bytes(20)
    )


def wim(
    files: dict[str, bytes],
    pack: Packer | None = None,
    packing: int = STORED,
    *,
    flags: int = 0,
    part: int = 1,
) -> bytes:
    """An image with a folder "in" that has the files."""
    root = dentry("", b"", 8 + 104 + 8)
    folder = dentry("in", b"", 8 + 104 + 8 + 112 + 8)
    inside = b"".join(dentry(name, content) for name, content in files.items())
    metadata = struct.pack("<LL", 8, 0) + root + bytes(8) + folder + bytes(8) + inside + bytes(8)
    body, table = b"", b""
    contents = [(metadata, bytes(19) + b"\1", IN_METADATA)]
    contents += [(content, key(content), flags) for content in files.values()]
    for content, name, own in contents:
        raw = packed(content, pack) if pack is not None else content
        bits = own | (PACKED if pack is not None else 0)
        entry = struct.pack("<QQQHL", bits << 56 | len(raw), 208 + len(body), len(content), part, 1)
        table += entry + name
        body += raw
    head = struct.pack("<8sLLLL16sHHL", b"MSWIM", 208, 0xD00, packing, CHUNK, b"", 1, 1, 1)
    head += struct.pack("<QQQ", len(table), 208 + len(body), len(table))
    return head.ljust(208, b"\0") + body + table


TEXT = b"tomorrow and " * 3000 + b"\xe8\x10\0\0\0" * 3 + b"abcdefgh" * 4000
FILES = {"eicar.com": EICAR, "text": TEXT}
PACKERS: dict[str, tuple[Packer | None, int]] = {
    "stored": (None, STORED),
    "XPRESS": (xpress, XPRESS),
    "LZX": (lzx, LZX),
    "LZX, stored": (lzx_stored, LZX),
}


@pytest.mark.parametrize(("pack", "packing"), PACKERS.values(), ids=PACKERS)
def test_files_have_their_names(members: Members, pack: Packer | None, packing: int) -> None:
    plain = TEXT.replace(b"\xe8", b"\xe9")  # calls are translated, which these packers leave out
    found = members(wim({"eicar.com": EICAR, "text": plain}, pack, packing))
    assert found == [("in/eicar.com", EICAR), ("in/text", plain)]


def test_a_content_that_no_image_names_is_read(members: Members) -> None:
    whole = bytearray(wim(FILES))
    at = whole.index("eicar.com".encode("utf-16-le")) - 38
    whole[at : at + 20] = b"\7" * 20
    assert ("", EICAR) in members(bytes(whole))


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (wim(FILES, bytes, LZMS), "LZMS"),
        (wim(FILES, flags=SOLID), "not known"),
        (wim(FILES, part=2), "another file"),
    ],
    ids=["LZMS", "solid", "split"],
)
def test_what_cannot_be_opened_is_said_once(unpack: Unpack, image: bytes, why: str) -> None:
    shuts = [found for found in unpack(image) if isinstance(found, Shut)]
    assert [shut.reason for shut in shuts] == [Reason.UNSUPPORTED]
    assert why in shuts[0].detail


@pytest.mark.parametrize(("pack", "packing"), PACKERS.values(), ids=PACKERS)
def test_a_truncated_image_is_unscannable(
    unpack: Unpack, pack: Packer | None, packing: int
) -> None:
    whole = wim(FILES, pack, packing)
    for keep in (8, 60, 210, len(whole) - 100, len(whole) - 3):
        assert any(isinstance(found, Shut) for found in unpack(whole[:keep])), keep


def test_nothing_but_a_beginning_is_unscannable(unpack: Unpack) -> None:
    for data in (
        b"MSWIM\0\0\0",
        b"MSWIM\0\0\0".ljust(1 << 20, b"\0"),
        b"MSWIM\0\0\0".ljust(1 << 20, b"\xff"),
    ):
        assert [type(found) for found in unpack(data)][:1] == [Shut]


def test_a_bomb_is_stopped(unpack: Unpack) -> None:
    bomb = wim({"zeros": bytes(1 << 20)}, lzx, LZX)
    found = unpack(bomb, max_part_bytes=1 << 18)
    assert any(isinstance(one, Shut) and one.reason is Reason.LIMIT for one in found)
    assert max(len(one.data) for one in found if isinstance(one, Piece)) <= 1 << 18


def test_folders_that_are_in_each_other_end(unpack: Unpack) -> None:
    whole = wim(FILES).replace(struct.pack("<Q", 240), struct.pack("<Q", 120))
    assert {one.data for one in unpack(whole) if isinstance(one, Piece)} == {EICAR, TEXT}


@pytest.mark.parametrize(("pack", "packing"), PACKERS.values(), ids=PACKERS)
def test_any_damage_is_survived(unpack: Unpack, pack: Packer | None, packing: int) -> None:
    whole = wim({"eicar.com": EICAR, "text": TEXT[:3000]}, pack, packing)
    numbers = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        unpack(bytes(damaged))


@pytest.mark.real
@pytest.mark.parametrize(
    "options",
    [
        ["--compress=none"], ["--compress=XPRESS"], ["--compress=LZX"],
        ["--compress=XPRESS", "--chunk-size=4K"], ["--compress=LZX", "--chunk-size=2M"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_images_of_wimlib(unpack: Unpack, tmp_path: Path, options: list[str]) -> None:
    if shutil.which("wimlib-imagex") is None:
        pytest.skip("needs wimlib-imagex (Debian: wimtools), which is not installed")
    numbers = random.Random(0)
    program = Path("/usr/bin/env").read_bytes()
    files = {
        "env.exe": program,
        "sub/words": b" ".join(b"%d" % numbers.randrange(3000) for _ in range(40_000)),
        "sub/deep/random": numbers.randbytes(70_000),
    }
    for name, content in files.items():
        place = tmp_path / "tree" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    command = ["wimlib-imagex", "capture", "tree", "image.wim", "name", *options]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = unpack((tmp_path / "image.wim").read_bytes())
    assert {one.name: one.data for one in found if isinstance(one, Piece)} == files
    assert not any(isinstance(one, Shut) for one in found)
