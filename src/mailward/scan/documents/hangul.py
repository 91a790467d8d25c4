"""Documents of Hangul, Korea's word processor: version 5 (a compound file), 3, and HWPML.

Texts, scripts and files of version 5 are packed by deflate, each stream by itself; in version 3 all
behind the information is. HWPML is XML, with files in Base64. Layouts: Hancom, "Hangul document
file structure 5.0", "3.0 and HWPML".
"""

import base64
import binascii
import re
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import deflate, inflate
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.documents.compound_file import CompoundFile, Stream
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS_3 = rb"HWP Document File V3\.00 \x1a\x01\x02\x03\x04\x05"
ML_LOOK_BYTES = 1024

_HEADER_NAME, _SIGNATURE = "fileheader", b"HWP Document File"
_FLAGS_AT = 36
_PACKED, _ENCRYPTED, _DISTRIBUTED = 1, 2, 4
_PACKED_STORAGES = ("bodytext", "bindata", "scripts", "docoptions", "viewtext")
_ALWAYS_PACKED = ("bodytext", "scripts", "viewtext")
_KEY_RECORD, _KEY_RECORD_BYTES = 28, 256
"""In front of what is scrambled: a seed, and the key among bytes masked by C's ``rand``."""
_PASSWORD_3, _PACKED_3, _INFO_BYTES_3 = 30 + 96, 30 + 124, 30 + 126
_BODY_3 = 30 + 128 + 1008
"""And the block of information, whose size is told in front."""
_BINARY = re.compile(rb"<BINDATA\b([^>]{0,500})>([^<]*)<", re.IGNORECASE)
_IS_PACKED = re.compile(rb"Compress\s*=\s*[\"']?true", re.IGNORECASE)
_BINARIES_MAX = 2000


def read_streams(file: CompoundFile, streams: list[Stream], budget: Budget) -> Contents:
    """What is packed in streams, which are given as they are already. Raises Spent."""
    header = next((one for one in streams if one.path[-1].lower() == _HEADER_NAME), None)
    head = file.read(header, 256) if header is not None else b""
    if not head.startswith(_SIGNATURE) or len(head) < _FLAGS_AT + 4:
        return
    flags = int.from_bytes(head[_FLAGS_AT : _FLAGS_AT + 4], "little")
    if flags & _ENCRYPTED:
        yield Shut(Reason.ENCRYPTED, "encrypted Hangul document")
        return
    for stream in streams:
        storage = stream.storage[0].lower() if stream.storage else stream.name.lower()
        if storage not in _PACKED_STORAGES and storage != "docinfo":
            continue
        content = file.read(stream, budget.room())
        if flags & _DISTRIBUTED:
            content = _unscrambled(content)
        done = inflate(deflate, memoryview(content), budget)
        label = f"{'/'.join(stream.path)} unpacked"
        if done.data:
            yield Piece(done.data, Role.MEMBER, stream.name, label=label)
        must = flags & _PACKED and storage in _ALWAYS_PACKED
        if done.shut is not None and (must or done.shut.reason is not Reason.MALFORMED):
            yield Shut(done.shut.reason, done.shut.detail, stream.name, label)


def _unscrambled(content: bytes) -> bytes:
    """What a document for distribution hides, with the key beside it; anything else as it is."""
    head = int.from_bytes(content[:4], "little")
    body_at = 4 + _KEY_RECORD_BYTES
    if head & 0x3FF != _KEY_RECORD or head >> 20 != _KEY_RECORD_BYTES or len(content) < body_at:
        return content
    record = bytearray(content[4:body_at])
    seed = state = int.from_bytes(record[:4], "little")
    left = mask = 0
    for at in range(_KEY_RECORD_BYTES):
        if not left:
            state = (state * 214013 + 2531011) & 0xFFFFFFFF
            mask = state >> 16 & 0xFF
            state = (state * 214013 + 2531011) & 0xFFFFFFFF
            left = (state >> 16 & 0xF) + 1
        left -= 1
        if at >= 4:
            record[at] ^= mask
    key_at = 4 + (seed & 0xF)
    cipher = Cipher(algorithms.AES(bytes(record[key_at : key_at + 16])), modes.ECB())  # noqa: S305
    return cipher.decryptor().update(
        content[body_at : len(content) - (len(content) - body_at) % 16]
    )


def read_3(data: bytes, _name: str, budget: Budget) -> Contents:
    """What is behind the information. Raises only Spent."""
    if len(data) < _BODY_3:
        yield Shut(Reason.MALFORMED, "Hangul document: truncated")
        return
    if any(data[_PASSWORD_3 : _PASSWORD_3 + 2]):
        yield Shut(Reason.ENCRYPTED, "encrypted Hangul document")
        return
    start = _BODY_3 + struct.unpack_from("<H", data, _INFO_BYTES_3)[0]
    if not data[_PACKED_3]:
        yield Piece(data[start : start + budget.room() + 1], Role.MEMBER, label="body")
        return
    done = inflate(deflate, memoryview(data)[start:], budget)
    yield Piece(done.data, Role.MEMBER, label="body")
    if done.shut is not None:
        yield Shut(done.shut.reason, done.shut.detail, label="body")


def looks_like_hwpml(data: bytes) -> bool:
    """By its root element."""
    return b"<HWPML" in data[:ML_LOOK_BYTES]


def read_hwpml(data: bytes, _name: str, budget: Budget) -> Contents:
    """The files in it. Raises only Spent."""
    for number, found in enumerate(_BINARY.finditer(data), 1):
        budget.check_time()
        label = f"file {number}"
        if number > _BINARIES_MAX:
            yield Shut(Reason.LIMIT, f"more than {_BINARIES_MAX} files in a Hangul document")
            return
        try:
            content = base64.b64decode(found[2])
        except (binascii.Error, ValueError):
            yield Shut(Reason.MALFORMED, "a file in a Hangul document is no Base64", label=label)
            continue
        if not _IS_PACKED.search(found[1]):
            yield Piece(content, Role.MEMBER, label=label)
            continue
        done = inflate(deflate, memoryview(content), budget)
        yield Piece(done.data, Role.MEMBER, label=label)
        if done.shut is not None:
            yield Shut(done.shut.reason, done.shut.detail, label=label)
