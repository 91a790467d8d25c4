"""ALZip's archives, and bzip2 without its marks: what they hold is found, damage is survived."""

import bz2
import hashlib
import hmac
import lzma
import random
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mailward.scan.budget import Budget
from mailward.scan.containers import alzip, bare_bzip2
from mailward.scan.containers.bare_bzip2 import ALZIP, NSIS, Marks
from mailward.scan.contents import Found, Piece, Shut, Unlocked
from mailward.scan.passwords import Passwords, Said
from mailward.scan.verdict import Reason
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR
from tests.scan.containers.ace_archives import text
from tests.scan.containers.installers import deflated

Unpack = Callable[..., list[Found]]

FILES = {"한글.txt": "한글".encode() * 9, "folder/a.com": EICAR, "words.txt": text(9000)}


def bare(data: bytes, marks: Marks) -> bytes:
    """One block for each 800,000 bytes, out of what bzip2 made."""
    out = ""
    for at in range(0, len(data), 800_000):
        packed = bz2.compress(data[at : at + 800_000])
        bits = bin(int.from_bytes(b"\1" + packed, "big"))[3:]
        end = bits.rindex(f"{0x177245385090:048b}")
        out += f"{marks.block:0{marks.bits}b}" + bits[32 + 48 + 32 + 1 : end]
    out += f"{marks.end:0{marks.bits}b}"
    out += "0" * (-len(out) % 8)
    return int(out, 2).to_bytes(len(out) // 8, "big")


class ZipCipher:
    """Traditional encryption of zip (APPNOTE.TXT 6.1)."""

    def __init__(self, password: bytes) -> None:
        self.keys = [0x12345678, 0x23456789, 0x34567890]
        for byte in password:
            self._take(byte)

    def _take(self, byte: int) -> None:
        def crc(key: int, byte: int) -> int:
            return zlib.crc32(bytes((byte,)), key ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

        self.keys[0] = crc(self.keys[0], byte)
        self.keys[1] = (self.keys[1] + (self.keys[0] & 0xFF)) * 134775813 + 1 & 0xFFFFFFFF
        self.keys[2] = crc(self.keys[2], self.keys[1] >> 24)

    def encrypt(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            mixed = self.keys[2] & 0xFFFF | 2
            out.append(byte ^ mixed * (mixed ^ 1) >> 8 & 0xFF)
            self._take(byte)
        return bytes(out)


def aes(password: bytes, strength: int, data: bytes) -> tuple[bytes, bytes, bytes]:
    """As WinZip has it: salt and check, what is encrypted, code."""
    key_bytes = 8 + 8 * strength
    salt = bytes(range(key_bytes // 2))
    keys = hashlib.pbkdf2_hmac("sha1", password, salt, 1000, 2 * key_bytes + 2)
    encryptor = Cipher(algorithms.AES(keys[:key_bytes]), modes.ECB()).encryptor()
    counters = b"".join(n.to_bytes(16, "little") for n in range(1, len(data) // 16 + 2))
    stream = encryptor.update(counters)
    locked = bytes(a ^ b for a, b in zip(data, stream, strict=False))
    code = hmac.digest(keys[key_bytes : 2 * key_bytes], locked, "sha1")[:10]
    return salt + keys[-2:], locked, code


def locked_alz(password: bytes, by_time: bool = False) -> bytes:
    out = b"ALZ\x01\x0a\0\0\0"
    for name, content in FILES.items():
        raw, packed, crc = name.encode("cp949"), deflated(content), zlib.crc32(content)
        cipher = ZipCipher(password)
        front = cipher.encrypt(bytes(11) + bytes((0x12 if by_time else crc >> 24,)))
        flags = 0x49 if by_time else 0x41
        out += struct.pack("<4sHBLBx", b"BLZ\x01", len(raw), 0x20, 0x1234, flags)
        out += struct.pack("<BxLLL", 2, crc, len(packed), len(content)) + raw
        out += front + cipher.encrypt(packed)
    return out + b"CLZ\x01" + bytes(12) + b"CLZ\x02"


def locked_egg(password: bytes, method: int, kind: int = 1) -> bytes:
    """``method``: 0 for zip's, 1 and 2 for AES, 5 for LEA, which nothing here can make."""
    end = struct.pack("<L", 0x08E28222)
    out = struct.pack("<4sHLL", b"EGGA", 0x100, 7, 0) + end
    for number, (name, content) in enumerate(FILES.items()):
        half = len(content) // 2
        pieces = content[:half], content[half:]
        packed = [deflated(piece) if kind == 1 else _lzma(piece) for piece in pieces]
        crc = zlib.crc32(content)
        if method:
            front, locked, back = aes(password, {1: 1, 2: 3}.get(method, 3), b"".join(packed))
            body = front + back
        else:
            cipher = ZipCipher(password)
            body = cipher.encrypt(bytes(11) + bytes((crc >> 24,))) + struct.pack("<L", crc)
            locked = cipher.encrypt(b"".join(packed))
        raw = name.encode()
        out += struct.pack("<LLQ", 0x0A8590E3, number, len(content))
        out += struct.pack("<LBH", 0x0A8591AC, 0, len(raw)) + raw
        out += struct.pack("<LBHB", 0x08D1470F, 0, len(body) + 1, method) + body + end
        for piece, plain in zip(pieces, packed, strict=True):
            fields = kind, 0, len(piece), len(plain), zlib.crc32(piece)
            out += struct.pack("<LBBLLL", 0x02B50C13, *fields) + end + locked[: len(plain)]
            locked = locked[len(plain) :]
    return out + end


def alz(files: Mapping[str, bytes], method: int = 2, flags: int = 0) -> bytes:
    out = b"ALZ\x01\x0a\0\0\0"
    for name, content in files.items():
        stored = (content, bare(content, ALZIP), deflated(content))[method if method < 3 else 0]
        raw = name.encode("cp949")
        out += struct.pack("<4sHBLBx", b"BLZ\x01", len(raw), 0x20, 0, 0x40 | flags)
        out += struct.pack("<BxLLL", method, zlib.crc32(content), len(stored), len(content)) + raw
        out += bytes(12 if flags & 1 else 0) + stored
    return out + b"CLZ\x01" + bytes(12) + b"CLZ\x02"


def _lzma(data: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}]
    return b"\0\0\5\0\x5d\0\0\1\0" + lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def egg(files: Mapping[str, bytes], method: int = 1, *, extra: int = 0, inside: int = 0) -> bytes:
    """In two blocks a file; ``extra``, ``inside``: one more field of the archive, of each file."""
    end = struct.pack("<L", 0x08E28222)

    def more(kind: int) -> bytes:
        return struct.pack("<LBH4x", kind, 0, 4) if kind else b""

    out = struct.pack("<4sHLL", b"EGGA", 0x100, 7, 0) + more(extra) + end
    for number, (name, content) in enumerate(files.items()):
        raw = name.encode()
        out += struct.pack("<LLQ", 0x0A8590E3, number, len(content))
        out += struct.pack("<LBH", 0x0A8591AC, 0, len(raw)) + raw
        out += struct.pack("<LBHQB", 0x2C86950B, 0, 9, 0, 0x20) + more(inside) + end
        half = len(content) // 2
        for piece in (content[:half], content[half:]):
            ways = (bytes, deflated, bz2.compress, bytes, _lzma)
            stored = ways[method](piece)
            fields = method, 0, len(piece), len(stored), zlib.crc32(piece)
            out += struct.pack("<LBBLLL", 0x02B50C13, *fields) + end + stored
    return out + end


def files(found: list[Found]) -> dict[str, bytes]:
    return {piece.name: piece.data for piece in found if isinstance(piece, Piece)}


def shut(found: list[Found]) -> list[Shut]:
    return [one for one in found if isinstance(one, Shut)]


SAMPLES = {
    **{f"alz-{n}": alz(FILES, n) for n in (0, 1, 2)},
    **{f"egg-{n}": egg(FILES, n) for n in (0, 1, 2, 4)},
}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_the_files_are_found(unpack: Unpack, sample: bytes) -> None:
    found = unpack(sample)
    assert files(found) == FILES
    assert not shut(found)


@pytest.mark.parametrize("name", SAMPLES)
def test_an_archive_that_is_cut_says_so(unpack: Unpack, name: str) -> None:
    build = alz if name.startswith("alz") else egg
    whole = build({"a.com": EICAR}, int(name[-1]))
    for end in range(4, len(whole)):
        found = unpack(whole[:end])
        assert EICAR in files(found).values() or shut(found), end


@pytest.mark.parametrize("name", SAMPLES)
def test_damage_anywhere_is_survived(unpack: Unpack, name: str) -> None:
    build = alz if name.startswith("alz") else egg
    whole = build({"a.com": EICAR, "b.txt": b"text " * 20}, int(name[-1]))
    numbers = random.Random(0)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] = numbers.randrange(256)
        unpack(bytes(damaged))


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (alz(FILES, flags=1), Reason.ENCRYPTED),
        (alz(FILES, method=3), Reason.UNSUPPORTED),
        (egg(FILES, method=3), Reason.UNSUPPORTED),
        (egg(FILES, inside=0x08D1470F), Reason.ENCRYPTED),
        (egg(FILES, extra=0x08D144A8), Reason.ENCRYPTED),
        (egg(FILES, extra=0x24E5A060), Reason.UNSUPPORTED),
        (egg(FILES, extra=0x24F5A262), Reason.UNSUPPORTED),
    ],
    ids=["alz-encrypted", "alz-3", "azo", "encrypted", "all-encrypted", "solid", "split"],
)
def test_what_cannot_be_opened_is_said(unpack: Unpack, sample: bytes, reason: Reason) -> None:
    assert {one.reason for one in shut(unpack(sample))} == {reason}


@pytest.mark.parametrize("name", SAMPLES)
def test_files_over_a_limit_are_cut(unpack: Unpack, name: str) -> None:
    build = alz if name.startswith("alz") else egg
    found = unpack(build({"a": bytes(300_000)}, int(name[-1])), max_part_bytes=100_000)
    assert len(files(found)["a"]) in (100_000, 100_001)
    assert Reason.LIMIT in {one.reason for one in shut(found)}


@pytest.mark.parametrize("marks", [NSIS, ALZIP])
@pytest.mark.parametrize(
    "plain",
    [b"x", EICAR, b"aaaab" * 300, bytes(2_000_000), random.Random(0).randbytes(3000),
     text(100_000)],
    ids=["one", "eicar", "runs", "zeros", "random", "words"],
)  # fmt: skip
def test_bzip2_without_its_marks_is_unpacked(plain: bytes, marks: Marks) -> None:
    packed = bare(plain, marks)
    budget = Budget(ScanSettings(max_ratio=1_000_000))
    done = bare_bzip2.unpack(memoryview(packed + b"behind"), marks, budget)
    assert done.data == plain
    assert (done.shut, done.used) == (None, len(packed))


def test_bombs_in_bzip2_are_stopped() -> None:
    packed = bare(bytes(20_000_000), NSIS)
    done = bare_bzip2.unpack(memoryview(packed), NSIS, Budget(ScanSettings()))
    assert len(done.data) < 12_000_000
    assert done.shut is not None
    assert done.shut.reason is Reason.LIMIT


@pytest.mark.real
@pytest.mark.parametrize("solid", ["", "/SOLID"])
@pytest.mark.parametrize("way", ["zlib", "bzip2", "lzma"])
def test_an_installer_that_nsis_made_is_opened(
    unpack: Unpack, tmp_path: Path, way: str, solid: str
) -> None:
    if shutil.which("makensis") is None:
        pytest.skip("needs makensis, which is not installed")
    (tmp_path / "words.txt").write_bytes(FILES["words.txt"])
    (tmp_path / "a.com").write_bytes(EICAR)
    (tmp_path / "made.nsi").write_text(
        f'SetCompressor {solid} {way}\nName "x"\nOutFile "{tmp_path}/setup.exe"\n'
        f'InstallDir "$TEMP"\nSection\nSetOutPath $INSTDIR\nFile "{tmp_path}/words.txt"\n'
        f'File "{tmp_path}/a.com"\nSectionEnd\n'
    )
    command = ["makensis", "-V1", str(tmp_path / "made.nsi")]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    found = unpack((tmp_path / "setup.exe").read_bytes())
    contents = [piece.data for piece in found if isinstance(piece, Piece)]
    assert FILES["words.txt"] in contents
    assert EICAR in contents
    assert not [one for one in shut(found) if "NSIS" in one.detail or one.label]


KOREAN = "\ube44\ubc00 7"
LOCKED: dict[str, Callable[[bytes], bytes]] = {
    "alz": locked_alz,
    "alz checked by time": lambda password: locked_alz(password, by_time=True),
    "egg": lambda password: locked_egg(password, 0),
    "egg by AES 128": lambda password: locked_egg(password, 1),
    "egg by AES 256": lambda password: locked_egg(password, 2),
    "egg of LZMA": lambda password: locked_egg(password, 2, kind=4),
}


def unlock(data: bytes, named: str) -> list[Found]:
    budget = Budget(ScanSettings())
    budget.passwords = Passwords(lambda: [Said(f"password: {named}\n")])
    return list((alzip.read_alz if data[:3] == b"ALZ" else alzip.read_egg)(data, "", budget))


@pytest.mark.parametrize("named", ["Xq7!z", KOREAN])
@pytest.mark.parametrize("build", LOCKED.values(), ids=LOCKED)
def test_a_password_in_the_text_opens_it(build: Callable[[bytes], bytes], named: str) -> None:
    found = unlock(build(named.encode("cp949")), named)
    assert files(found) == FILES
    assert [one.name for one in found if isinstance(one, Unlocked)] == list(FILES)
    assert not shut(found)


@pytest.mark.parametrize("build", LOCKED.values(), ids=LOCKED)
def test_another_password_leaves_it_shut(build: Callable[[bytes], bytes]) -> None:
    found = unlock(build(b"Xq7!z"), "another")
    assert not files(found)
    assert [(one.reason, one.name) for one in shut(found)] == [
        (Reason.ENCRYPTED, name) for name in FILES
    ]


def test_what_is_encrypted_by_lea_is_told() -> None:
    found = unlock(locked_egg(b"Xq7!z", 5), "Xq7!z")
    assert {one.reason for one in shut(found)} == {Reason.ENCRYPTED}
    assert not files(found)


@pytest.mark.parametrize("build", LOCKED.values(), ids=LOCKED)
def test_damage_to_what_is_encrypted_is_survived(build: Callable[[bytes], bytes]) -> None:
    whole = build(b"Xq7!z")
    numbers = random.Random(0)
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[numbers.randrange(len(whole))] = numbers.randrange(256)
        unlock(bytes(damaged), "Xq7!z")
        unlock(whole[: numbers.randrange(len(whole))], "Xq7!z")
