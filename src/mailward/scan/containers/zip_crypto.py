"""Encrypted zip members, opened with a known password: ZipCrypto and WinZip's AES.

APPNOTE.TXT section 6.1; WinZip, "AES Encryption Information: Specification AE-1 and AE-2".
"""

import hashlib
import hmac
import struct
import zlib
from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mailward.scan.budget import Budget

_HEADER_BYTES = 12
_STEP_BYTES = 64 * 1024
_CRC_TABLE = [zlib.crc32(bytes([n]), 0xFFFFFFFF) ^ 0xFFFFFFFF for n in range(256)]

AES_FIELD = 0x9901
_AES_ITERATIONS = 1000
_AES_CODE_BYTES = 10
_AES_VERIFIER_BYTES = 2
_BLOCK = 16


def zip_crypto(packed: memoryview, password: bytes, check: int, budget: Budget) -> bytes | None:
    """The compressed data; None if the password is wrong, as far as one byte can tell.

    ``check``: that byte. Raises Spent.
    """
    keys = [0x12345678, 0x23456789, 0x34567890]
    for byte in password:
        _update(keys, byte)
    header = list(_decrypt(packed[:_HEADER_BYTES], keys))
    if len(header) < _HEADER_BYTES or header[-1] != check:
        return None
    out = bytearray()
    for at in range(_HEADER_BYTES, len(packed), _STEP_BYTES):
        budget.check_time()
        out += bytes(_decrypt(packed[at : at + _STEP_BYTES], keys))
    return bytes(out)


def _decrypt(packed: memoryview, keys: list[int]) -> Iterator[int]:
    a, b, c = keys
    table = _CRC_TABLE
    for byte in packed:
        t = c | 2
        byte ^= (t * (t ^ 1) >> 8) & 0xFF
        a = table[(a ^ byte) & 0xFF] ^ a >> 8
        b = ((b + (a & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        c = table[(c ^ b >> 24) & 0xFF] ^ c >> 8
        yield byte
    keys[:] = a, b, c


def _update(keys: list[int], byte: int) -> None:
    a, b, c = keys
    a = _CRC_TABLE[(a ^ byte) & 0xFF] ^ a >> 8
    b = ((b + (a & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
    keys[:] = a, b, _CRC_TABLE[(c ^ b >> 24) & 0xFF] ^ c >> 8


def aes(packed: memoryview, password: bytes, strength: int) -> bytes | None:
    """The compressed data; None if the password is wrong or the data damaged.

    ``strength``: 1 to 3, for keys of 128 to 256 bits.
    """
    if strength not in (1, 2, 3):
        return None
    key_bytes = 8 + 8 * strength
    salt_bytes = key_bytes // 2
    at = salt_bytes + _AES_VERIFIER_BYTES
    if len(packed) < at + _AES_CODE_BYTES:
        return None
    derived = hashlib.pbkdf2_hmac(
        "sha1", password, packed[:salt_bytes], _AES_ITERATIONS, 2 * key_bytes + _AES_VERIFIER_BYTES
    )
    if derived[2 * key_bytes :] != packed[salt_bytes:at]:
        return None
    ciphertext = packed[at : len(packed) - _AES_CODE_BYTES]
    code = hmac.digest(derived[key_bytes : 2 * key_bytes], ciphertext, "sha1")
    if code[:_AES_CODE_BYTES] != packed[len(packed) - _AES_CODE_BYTES :]:
        return None
    import numpy as np  # here: it costs every worker 20 MB, and few messages need it

    body = np.frombuffer(ciphertext, dtype=np.uint8)
    blocks = -(-len(body) // _BLOCK)
    counters = np.zeros((blocks, 2), dtype="<u8")  # a counter of 128 bits, the low half first
    counters[:, 0] = np.arange(1, blocks + 1, dtype=np.uint64)
    # Their counter mode counts in the other direction, so its blocks are made here.
    encryptor = Cipher(algorithms.AES(derived[:key_bytes]), modes.ECB()).encryptor()  # noqa: S305
    stream = np.frombuffer(encryptor.update(counters.tobytes()), dtype=np.uint8)
    return np.bitwise_xor(body, stream[: len(body)]).tobytes()


def aes_field(extra: bytes) -> tuple[int, int] | None:
    """Strength and the compression method behind the encryption; None if there is none."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == AES_FIELD and len(field) >= 7:
            return field[4], int.from_bytes(field[5:7], "little")
    return None
