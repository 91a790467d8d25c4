"""Archives with one file inside, one builder per format: what unpacking is tested with."""

import functools
import gzip
import hashlib
import lzma
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Builder = Callable[[str, bytes], bytes]
"""The file's name (ASCII) and content."""


def cab(name: str, content: bytes, *, packed: bool = True) -> bytes:
    """[MS-CAB]: one folder, stored or MSZIP, in blocks of 32 KiB."""
    blocks = []
    for at in range(0, len(content), 0x8000):
        plain = content[at : at + 0x8000]
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = b"CK" + packer.compress(plain) + packer.flush() if packed else plain
        blocks.append(struct.pack("<LHH", 0, len(data), len(plain)) + data)
    entry = struct.pack("<LLHHHH", len(content), 0, 0, 0x21, 0, 0x20) + name.encode() + b"\0"
    at = 36 + 8 + len(entry)
    size = at + sum(map(len, blocks))
    header = struct.pack("<4sLLLLLBBHHHHH", b"MSCF", 0, size, 0, 44, 0, 3, 1, 1, 1, 0, 0, 0)
    return header + struct.pack("<LHH", at, len(blocks), packed) + entry + b"".join(blocks)


def _crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def lha(name: str, content: bytes) -> bytes:
    """Level 0, stored."""
    sizes = struct.pack("<LLLBB", len(content), len(content), 0x5000_0000, 0x20, 0)
    body = (
        b"-lh0-"
        + sizes
        + bytes([len(name)])
        + name.encode()
        + _crc16(content).to_bytes(2, "little")
    )
    return bytes([len(body), sum(body) & 0xFF]) + body + content + b"\0"


def rar4(name: str, content: bytes) -> bytes:
    def block(kind: int, flags: int, fields: bytes) -> bytes:
        head = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head

    size = len(content)
    sizes = struct.pack("<LLBLL", size, size, 3, zlib.crc32(content), 0x5000_0000)
    file = sizes + struct.pack("<BBHL", 29, 0x30, len(name), 0o100644) + name.encode()
    return (
        b"Rar!\x1a\7\0"
        + block(0x73, 0, bytes(6))
        + block(0x74, 0x8000, file)
        + content
        + block(0x7B, 0x4000, b"")
    )


def _vint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _rar5_block(kind: int, flags: int, fields: bytes) -> bytes:
    body = _vint(kind) + _vint(flags) + fields
    head = _vint(len(body)) + body
    return struct.pack("<L", zlib.crc32(head)) + head


def rar5(name: str, content: bytes) -> bytes:
    sizes = _vint(4) + _vint(len(content)) + _vint(0o100644)
    file = sizes + struct.pack("<L", zlib.crc32(content)) + _vint(0) + _vint(1) + _vint(len(name))
    with_data = _vint(len(content)) + file + name.encode(errors="surrogateescape")
    head = _rar5_block(1, 0, b"\0") + _rar5_block(2, 2, with_data)
    return b"Rar!\x1a\7\1\0" + head + content + _rar5_block(5, 0, b"\0")


def rar5_packed(*files: tuple[str, bytes], block_bytes: int = 50) -> bytes:
    """Solid, of letters alone: their codes are what they are, and those of the first file."""
    bits = "0010" + "0" * 28 + "00100010" + "0" * 36 + "0010"  # widths of 0, 8, 9 and runs of 0
    bits += "01" * 206 + "10" * 100 + "11" + f"{124 - 11:07b}"
    out = b"Rar!\x1a\7\1\0" + _rar5_block(1, 0, b"\4")
    for number, (name, content) in enumerate(files):
        packed = b""
        for at in range(0, len(content) or 1, block_bytes):
            letters = content[at : at + block_bytes]
            coded = "" if packed or number else bits
            coded += "".join(f"{letter:08b}" for letter in letters)
            if not coded:
                continue
            padded = coded + "0" * (-len(coded) % 8)
            body = int(padded, 2).to_bytes(len(padded) // 8, "big")
            flags = (len(coded) - 1) % 8 | (0 if packed or number else 0x80)
            flags |= 0x48 if at + block_bytes >= len(content) else 8
            size = struct.pack("<H", len(body))
            packed += bytes([flags, 0x5A ^ flags ^ size[0] ^ size[1]]) + size + body
        fields = _vint(len(packed)) + _vint(4) + _vint(len(content)) + _vint(0o100644)
        fields += struct.pack("<L", zlib.crc32(content)) + _vint(0x180 | (0x40 if number else 0))
        out += _rar5_block(2, 2, fields + _vint(1) + _vint(len(name)) + name.encode()) + packed
    return out + _rar5_block(5, 0, b"\0")


def rar5_encrypted(name: str, content: bytes, password: str = "secret") -> bytes:
    """As ``rar5``, with the file's data encrypted and a value that tells a right password."""
    salt, iv, power = b"0123456789abcdef", b"vectorvectorvect", 4
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1 << power, 32)
    value = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, (1 << power) + 32, 32)
    check = bytes(value[n] ^ value[n + 8] ^ value[n + 16] ^ value[n + 24] for n in range(8))
    check += hashlib.sha256(check).digest()[:4]
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    packed = encryptor.update(content + bytes(-len(content) % 16))
    record = _vint(1) + _vint(0) + _vint(1) + bytes([power]) + salt + iv + check
    extra = _vint(len(record)) + record
    sizes = _vint(4) + _vint(len(content)) + _vint(0o100644)
    file = sizes + struct.pack("<L", zlib.crc32(content)) + _vint(0) + _vint(1) + _vint(len(name))
    fields = _vint(len(extra)) + _vint(len(packed)) + file + name.encode() + extra
    head = _rar5_block(1, 0, b"\0") + _rar5_block(2, 3, fields)
    return b"Rar!\x1a\7\1\0" + head + packed + _rar5_block(5, 0, b"\0")


def rar5_names_encrypted(behind: bytes, password: str = "secret") -> bytes:
    """A header that says that headers are encrypted, and what follows it."""
    salt, power = b"0123456789abcdef", 4
    value = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, (1 << power) + 32, 32)
    check = bytes(value[n] ^ value[n + 8] ^ value[n + 16] ^ value[n + 24] for n in range(8))
    check += hashlib.sha256(check).digest()[:4]
    crypt = _vint(0) + _vint(1) + bytes([power]) + salt + check
    return b"Rar!\x1a\7\1\0" + _rar5_block(4, 0, crypt) + behind


def nsis(_name: str, content: bytes) -> bytes:
    """Script and one file, each packed by deflate."""
    blocks = b""
    for block in (b"script", content):
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(block) + packer.flush()
        blocks += (len(packed) | 1 << 31).to_bytes(4, "little") + packed
    head = struct.pack("<L16sLL", 0, b"\xef\xbe\xad\xdeNullsoftInst", 6, 28 + len(blocks) + 4)
    return b"MZ".ljust(1024, b"\0") + head + blocks + bytes(4)


def nsis_solid(_name: str, content: bytes) -> bytes:
    """The same, all together by LZMA."""
    inner = (6).to_bytes(4, "little") + b"script" + len(content).to_bytes(4, "little") + content
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}]
    packed = b"\x5d\0\0\1\0" + lzma.compress(inner, lzma.FORMAT_RAW, filters=filters)
    head = struct.pack("<L16sLL", 0, b"\xef\xbe\xad\xdeNullsoftInst", 6, 28 + len(packed) + 4)
    return b"MZ".ljust(1024, b"\0") + head + packed + bytes(4)


def ar(name: str, content: bytes) -> bytes:
    head = f"{name[:15] + '/':<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
    return b"!<arch>\n" + head.encode() + content + b"\n" * (len(content) % 2)


def cpio(name: str, content: bytes) -> bytes:
    def entry(name: str, content: bytes, mode: int) -> bytes:
        fields = (1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)

    return entry(name, content, 0o100644) + entry("TRAILER!!!", b"", 0)


def rpm(name: str, content: bytes) -> bytes:
    """A lead, an empty signature and header, and a compressed cpio (no tag of it is needed)."""
    lead = struct.pack(">4sBBhh66shh16s", b"\xed\xab\xee\xdb", 3, 0, 0, 1, b"x-1-1", 1, 5, b"")
    index = struct.pack(">4s4sLL", b"\x8e\xad\xe8\1", b"", 1, 16)
    empty = index + struct.pack(">LLLL", 1000, 7, 0, 16) + bytes(16)
    return lead + empty + empty + gzip.compress(cpio(name, content))


def lzip(_name: str, content: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}]
    packed = lzma.compress(content, lzma.FORMAT_RAW, filters=filters)
    trailer = struct.pack("<LQQ", zlib.crc32(content), len(content), len(packed) + 26)
    return b"LZIP\1\x10" + packed + trailer


def lzma_alone(_name: str, content: bytes) -> bytes:
    return lzma.compress(content, lzma.FORMAT_ALONE)


def lz4(_name: str, content: bytes) -> bytes:
    """The legacy frame, which has no checksums, with literals only."""
    rest, lengths = len(content) - 15, b""
    token = 0xF0 if rest >= 0 else len(content) << 4
    while rest >= 0:
        lengths += bytes([min(rest, 255)])
        rest -= 255
    block = bytes([token]) + lengths + content
    return b"\x02\x21\x4c\x18" + len(block).to_bytes(4, "little") + block


def compress(_name: str, content: bytes) -> bytes:
    """``.Z`` without a match: codes of 9 bits, and a clear code before they would grow."""
    codes: list[int] = []
    for number, byte in enumerate(content):
        if number and number % 240 == 0:
            codes += [256] * (-len(codes) % 8 or 8)
        codes.append(byte)
    bits = sum(code << 9 * at for at, code in enumerate(codes))
    return b"\x1f\x9d\x90" + bits.to_bytes(-(-9 * len(codes) // 8), "little")


def _with(program: str, *arguments: str) -> Builder:
    """By a program; ``OUT`` and ``FILE`` in its arguments are the archive and what goes in."""

    def build(name: str, content: bytes) -> bytes:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}, which is not installed")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name).write_bytes(content)
            words = {"OUT": "made", "FILE": name}
            command = [words.get(argument, argument) for argument in arguments]
            done = subprocess.run([program, *command], cwd=folder, capture_output=True, check=False)
            made = [*Path(folder).glob("made*")]
            assert made, done.stderr.decode() + done.stdout.decode()
            return made[0].read_bytes()

    return build


def seven_zip(*switches: str) -> Builder:
    return _with("7z", "a", "-bd", *switches, "OUT", "FILE")


def bsdtar(format_: str) -> Builder:
    return _with("bsdtar", "--format", format_, "-cf", "OUT", "FILE")


BUILT: dict[str, Builder] = {
    "cab": cab,
    "cab-stored": functools.partial(cab, packed=False),
    "lha": lha,
    "rar4": rar4,
    "rar5": rar5,
    "ar": ar,
    "cpio": cpio,
    "rpm": rpm,
    "lzip": lzip,
    "lzma": lzma_alone,
    "lz4": lz4,
    "Z": compress,
}
MADE: dict[str, Builder] = {
    "7z": seven_zip("-t7z"),
    "7z-ppmd": seven_zip("-t7z", "-m0=PPMd"),
    "7z-lzma2-x86": seven_zip("-t7z", "-m0=BCJ", "-m1=LZMA2"),
    "7z-bzip2": seven_zip("-t7z", "-m0=BZip2"),
    "zip-ppmd": seven_zip("-tzip", "-mm=PPMd"),
    "lzop": _with("lzop", "-o", "OUT", "FILE"),
    "lzop-filtered": _with("lzop", "-9", "--crc32", "--filter=5", "-o", "OUT", "FILE"),
    "arj": _with("arj", "a", "-y", "-m1", "OUT", "FILE"),
    "arj-fastest": _with("arj", "a", "-y", "-m4", "OUT", "FILE"),
    "arj-stored": _with("arj", "a", "-y", "-m0", "OUT", "FILE"),
    "xar": bsdtar("xar"),
    "iso": bsdtar("iso9660"),
    "cpio-odc": bsdtar("odc"),
    "cpio-bin": bsdtar("bin"),
    "iso-joliet": _with("genisoimage", "-quiet", "-J", "-r", "-o", "OUT", "FILE"),
    "iso-plain": _with("genisoimage", "-quiet", "-o", "OUT", "FILE"),
    "iso-udf": _with("genisoimage", "-quiet", "-udf", "-o", "OUT", "FILE"),
}
"""By programs that may be absent."""
