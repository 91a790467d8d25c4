"""Encrypted files of ACE archives: Blowfish in CBC mode, with words of 32 bits, low byte first.

As ``acefile`` has it: three words of the tables are not those of Blowfish, so that libraries cannot
be used, and the key is one round of SHA-1 as it was first published (its schedule is not rotated)
over the password with its own padding. Nothing checks a password but the result.
"""

import struct
from collections.abc import Iterator
from functools import cache

from mailward.scan.budget import Budget

_BLOCK_BYTES = 8
_PASSWORD_MAX_BYTES = 50
_SETUP_COST = 6
"""Of a password, in what trying them is counted: milliseconds of computing."""
_BYTES_A_UNIT = 2048
"""Decrypted and unpacked, for one of them."""
_WORD = 0xFFFFFFFF
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
_ADDED = (0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6)
_SUBKEYS, _BOX = 18, 256
_TABLE_WORDS = _SUBKEYS + 4 * _BOX
_OF_ACE = {66: 0x2DA9C55D, 69: 0x9B87901E, 157: 0x412C7279}
"""Words of the tables that are otherwise in Blowfish."""
_SPARE_BITS = 128


def opened(locked: memoryview, budget: Budget) -> Iterator[tuple[str, memoryview]]:
    """Passwords, and what they make of a file's packed data, right or wrong. Raises Spent."""
    whole = locked[: len(locked) - len(locked) % _BLOCK_BYTES]
    for password in budget.passwords.candidates(_SETUP_COST + len(whole) // _BYTES_A_UNIT):
        budget.check_time()
        yield password, memoryview(_decrypted(whole, password.encode("cp1252", "replace")))


def _decrypted(locked: memoryview, password: bytes) -> bytes:
    """Of whole blocks."""
    import numpy as np  # here: it costs every worker 20 MB, and few messages need it

    subkeys, boxes = _set_up(_key(password))
    table = np.array(boxes, dtype=np.uint32)
    words = np.frombuffer(locked, dtype="<u4").astype(np.uint32)
    left, right = words[0::2].copy(), words[1::2].copy()
    for subkey in reversed(subkeys[2:]):
        left ^= np.uint32(subkey)
        mixed = table[left >> 24] + table[_BOX + (left >> 16 & 0xFF)]
        mixed ^= table[2 * _BOX + (left >> 8 & 0xFF)]
        right ^= mixed + table[3 * _BOX + (left & 0xFF)]
        left, right = right, left
    out = np.empty_like(words)
    out[0::2] = right ^ np.uint32(subkeys[0])
    out[1::2] = left ^ np.uint32(subkeys[1])
    out[2:] ^= words[:-2]
    return out.astype("<u4").tobytes()


@cache
def _tables() -> list[int]:
    """The digits of pi behind its point, by Machin's formula, but for three words."""
    bits = 32 * _TABLE_WORDS + _SPARE_BITS

    def arc_cotangent(x: int) -> int:
        term = total = (1 << bits) // x
        turn, sign = 1, 1
        while term:
            term //= x * x
            turn, sign = turn + 2, -sign
            total += sign * (term // turn)
        return total

    digits = 4 * (4 * arc_cotangent(5) - arc_cotangent(239)) - (3 << bits)
    words = (digits >> bits - 32 * (at + 1) & _WORD for at in range(_TABLE_WORDS))
    return [_OF_ACE.get(at, word) for at, word in enumerate(words)]


def _set_up(key: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Subkeys and boxes."""
    words = list(_tables())
    for at in range(_SUBKEYS):
        words[at] ^= key[at % len(key)]
    left = right = 0
    for place in range(0, _TABLE_WORDS, 2):
        for subkey in words[: _SUBKEYS - 2]:
            left ^= subkey
            mixed = words[18 + (left >> 24)] + words[274 + (left >> 16 & 0xFF)] & _WORD
            mixed = (mixed ^ words[530 + (left >> 8 & 0xFF)]) + words[786 + (left & 0xFF)]
            left, right = right ^ mixed & _WORD, left
        left, right = right ^ words[_SUBKEYS - 1], left ^ words[_SUBKEYS - 2]
        words[place], words[place + 1] = left, right
    return words[:_SUBKEYS], words[_SUBKEYS:]


def _key(password: bytes) -> tuple[int, ...]:
    cut = password[:_PASSWORD_MAX_BYTES]
    words = list(struct.unpack("<15L", (cut + b"\x80").ljust(60, b"\0")))
    words.append(len(cut) * 8)
    for at in range(16, 80):
        words.append(words[at - 16] ^ words[at - 14] ^ words[at - 8] ^ words[at - 3])
    a, b, c, d, e = _START
    for at, word in enumerate(words):
        part = at // 20
        if part == 0:
            mixed = b & c | ~b & d
        elif part == 2:
            mixed = b & c | b & d | c & d
        else:
            mixed = b ^ c ^ d
        total = (a << 5 | a >> 27) + mixed + e + word + _ADDED[part] & _WORD
        a, b, c, d, e = total, a, (b << 30 | b >> 2) & _WORD, c, d
    return tuple(first + last & _WORD for first, last in zip(_START, (a, b, c, d, e), strict=True))
