"""Encrypted macOS disk images of the second kind (``encrcdsa``), with a password of the message.

A key made from the password by PBKDF2 opens what the others are in, by 3DES; they open blocks, by
AES. Layout: W. Hengeveld, "encrypteddmg"; what numbers mean: Apple's ``cssmtype.h``.
"""

import hashlib
import hmac
import struct
from collections.abc import Iterator

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut, Unlocked
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

MAGIC = b"encrcdsa"

_HEADER = struct.Struct(">8s7L16xLQQL")
"""Magic; version, bytes of an IV, mode, algorithm, bits of the key, algorithm and bits of the other
key; bytes of a block, size, where the blocks begin, how many keys there are."""
_VERSION, _IV_BYTES, _CBC, _AES, _HMAC_SHA1 = 2, 16, 5, 0x80000001, 0x5B
_KEY_BITS = (128, 256)
_BLOCKS = range(512, 65_537)
_KEY = struct.Struct(">LQQ")
"""Kind, where it is, its size."""
_BY_PASSWORD = 1
_KEYS_MAX = 8
_WRAPPED = struct.Struct(">L4xLL32sL32s5L")
"""Algorithm, rounds, salt; IV; bits of the key, algorithm, padding, mode; size of what follows."""
_PBKDF2, _TRIPLE_DES, _PKCS7, _CBC_PADDED = 0x67, 0x11, 7, 6
_TRIPLE_DES_BITS, _TRIPLE_DES_BLOCK = 192, 8
_WRAPPED_MAX_BYTES = 512
_MARK = b"CKIE\0"
"""Behind the keys, which tells that the password is right."""
_ROUNDS_A_TRY = 1500
"""That cost what a cheap try of a password does."""
_LOOK_EVERY = 1000


def read(data: bytes, called: str, budget: Budget) -> Contents:
    """What is encrypted: a disk image again. Raises only Spent."""
    shut = Shut(Reason.ENCRYPTED, "encrypted macOS disk image")
    try:
        (_, version, iv_bytes, mode, algorithm, bits, other, _, block_bytes, size, start, count) = (
            _HEADER.unpack_from(data)
        )
        known = (version, iv_bytes, mode, algorithm, other)
        if known != (_VERSION, _IV_BYTES, _CBC, _AES, _HMAC_SHA1) or bits not in _KEY_BITS:
            yield shut
            return
        if block_bytes not in _BLOCKS or block_bytes % _IV_BYTES:
            yield shut
            return
        keys = next(_keys(data, min(count, _KEYS_MAX), budget), None)
    except struct.error:
        yield Shut(Reason.MALFORMED, "encrypted macOS disk image: truncated")
        return
    if keys is None or len(keys) < bits // 8:
        yield shut
        return
    yield Unlocked()
    wanted = min(size, budget.room() + 1)
    plain = _decrypt(
        data[start:], keys[: bits // 8], keys[bits // 8 :], block_bytes, wanted, budget
    )
    room = budget.room()
    yield Piece(plain[:room], Role.MEMBER, called)
    if len(plain) > room:
        yield budget.over_room(room)
    elif len(plain) < size:
        yield Shut(Reason.MALFORMED, "truncated: the disk image ends too early")


def _keys(data: bytes, count: int, budget: Budget) -> Iterator[bytes]:
    """Those that a password opens. Raises struct.error, Spent."""
    for number in range(count):
        kind, at, size = _KEY.unpack_from(data, _HEADER.size + number * _KEY.size)
        if kind != _BY_PASSWORD or size < _WRAPPED.size:
            continue
        (
            derivation,
            rounds,
            salt_bytes,
            salt,
            iv_bytes,
            iv,
            bits,
            algorithm,
            padding,
            mode,
            size,
        ) = _WRAPPED.unpack_from(data, at)
        known = (derivation, bits, algorithm, padding, mode, iv_bytes)
        if known != (
            _PBKDF2,
            _TRIPLE_DES_BITS,
            _TRIPLE_DES,
            _PKCS7,
            _CBC_PADDED,
            _TRIPLE_DES_BLOCK,
        ):
            continue
        wrapped = data[at + _WRAPPED.size : at + _WRAPPED.size + min(size, _WRAPPED_MAX_BYTES)]
        if not wrapped or len(wrapped) % _TRIPLE_DES_BLOCK or not rounds:
            continue
        for password in budget.passwords.candidates(max(1, rounds // _ROUNDS_A_TRY)):
            budget.check_time()
            key = hashlib.pbkdf2_hmac(
                "sha1", password.encode(), salt[:salt_bytes], rounds, _TRIPLE_DES_BITS // 8
            )
            cipher = Cipher(TripleDES(key), modes.CBC(iv[:iv_bytes]))
            plain = cipher.decryptor().update(wrapped)
            plain = plain[: len(plain) - plain[-1]]
            if plain.endswith(_MARK):
                budget.passwords.worked(password)
                yield plain[: -len(_MARK)]


def _decrypt(
    packed: bytes, key: bytes, iv_key: bytes, block_bytes: int, wanted: int, budget: Budget
) -> bytes:
    """Each block by itself; its number, hashed with the other key, is where it begins."""
    out = bytearray()
    aes = algorithms.AES(key)
    for number, at in enumerate(range(0, min(len(packed), wanted), block_bytes)):
        if number % _LOOK_EVERY == 0:
            budget.check_time()
        block = packed[at : at + block_bytes]
        iv = hmac.digest(iv_key, number.to_bytes(4, "big"), "sha1")[:_IV_BYTES]
        decryptor = Cipher(aes, modes.CBC(iv)).decryptor()
        out += decryptor.update(block[: len(block) // _IV_BYTES * _IV_BYTES])
    return bytes(out[:wanted])
