"""Encrypted Office documents of old, as small as can be, made with the library's own ciphers."""

import hashlib
import io
import struct
from collections.abc import Mapping
from itertools import accumulate

from msoffcrypto.method.rc4 import DocumentRC4
from msoffcrypto.method.rc4_cryptoapi import DocumentRC4CryptoAPI
from msoffcrypto.method.xor_obfuscation import DocumentXOR

from tests.scan.documents.build import compound_file

SALT = bytes(range(16))


def _rc4(password: str, plain: bytes, block_bytes: int) -> bytes:
    return bytes(DocumentRC4.decrypt(password, SALT, io.BytesIO(plain), block_bytes).read())


def _rc4_header(password: str) -> bytes:
    verifier = bytes(range(16, 32))
    both = verifier + hashlib.md5(verifier).digest()
    return struct.pack("<HH", 1, 1) + SALT + _rc4(password, both, 512)


def _api(password: str, plain: bytes, number: int = 0) -> bytes:
    size = max(1, len(plain))
    made = DocumentRC4CryptoAPI.decrypt(
        password, SALT, 128, io.BytesIO(plain), blocksize=size, block=number
    )
    return bytes(made.read())


def _api_header(password: str) -> bytes:
    """EncryptionHeader and EncryptionVerifier of MS-OFFCRYPTO 2.3.5.1."""
    name = "Microsoft Enhanced\0".encode("utf-16-le")
    header = struct.pack("<8L", 4, 0, 0x6801, 0x8004, 128, 1, 0, 0) + name
    verifier = bytes(range(16, 32))
    both = _api(password, verifier + hashlib.sha1(verifier).digest())
    told = struct.pack("<HHLL", 2, 2, 4, len(header)) + header
    return told + struct.pack("<L", 16) + SALT + both[:16] + struct.pack("<L", 20) + both[16:]


def record(kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", kind, len(value)) + value


def workbook(password: str, text: bytes, *, hidden: bool = False) -> bytes:
    """Encrypted by RC4, or ``hidden`` by XOR."""
    header = b"\1\0" + _rc4_header(password)
    if hidden:
        header = struct.pack(
            "<HHH", 0, DocumentXOR.create_xor_key_method1(password), _check(password)
        )
    stream = record(0x809, struct.pack("<HH", 0x600, 5) + bytes(12)) + record(0x2F, header)
    bodies = [(0x3C, text[at : at + 2000]) for at in range(0, len(text), 2000)] + [(0x0A, b"")]
    if hidden:
        array = DocumentXOR.create_xor_array_method1(password)
        for kind, body in bodies:
            at = len(stream) + 4 + len(body)
            stream += record(kind, bytes(
                DocumentXOR.rol(byte, 5, 8) ^ array[(at + n) % 16] for n, byte in enumerate(body)
            ))  # fmt: skip
    else:
        plain = stream + b"".join(record(*each) for each in bodies)
        locked = _rc4(password, plain, 1024)
        at = len(stream)
        for kind, body in bodies:
            stream += record(kind, locked[at + 4 : at + 4 + len(body)])
            at += 4 + len(body)
    return compound_file({"Workbook": stream})


def _check(password: str) -> int:
    return next(number for number in range(1 << 16) if DocumentXOR.verifypw(password, number))


def word(password: str, text: bytes) -> bytes:
    """Text behind a FIB, a table that holds what decrypts it."""
    fib = struct.pack("<HHHHHHHL", 0xA5EC, 0xC1, 0, 0, 0, 0x0300, 0xBF, 52).ljust(0x44, b"\0")
    locked = _rc4(password, fib + text, 512)
    header = _rc4_header(password)
    table = header + _rc4(password, bytes(200), 512)[len(header) :]
    return compound_file({"WordDocument": fib + locked[0x44:], "1Table": table})


def presentation(password: str, objects: Mapping[int, bytes], **streams: bytes) -> bytes:
    """``objects``: records by their number in the directory."""
    session = struct.pack("<HHL", 0xF, 0x2F14, len(_api_header(password))) + _api_header(password)
    number = max(objects) + 1
    parts = [_api(password, content, at) for at, content in objects.items()] + [session]
    offsets = [0, *accumulate(map(len, parts))]
    at = dict(zip([*objects, number], offsets, strict=False))
    directory = b"".join(struct.pack("<LL", 1 << 20 | n, offset) for n, offset in at.items())
    listed = struct.pack("<HHL", 0, 0x1772, len(directory)) + directory
    edit = struct.pack("<HHLLHBBLLLLHHL", 0, 0x0FF5, 32, 0, 0, 0, 3, 0, offsets[-1], 1, number, 0,
                       0, number)  # fmt: skip
    user = struct.pack("<HHLLLLHHBBH", 0, 0x0FF6, 24, 20, 0xF3D1C4DF, offsets[-1] + len(listed), 0,
                       0x03F4, 3, 0, 0) + struct.pack("<L", 8)  # fmt: skip
    return compound_file({
        "PowerPoint Document": b"".join(parts) + listed + edit, "Current User": user,
        "EncryptedSummary": b"x" * 50, **streams,
    })  # fmt: skip
