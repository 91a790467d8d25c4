"""Encrypted chunks of Inno Setup 5 to 6.3: ARC4 with a salted hash of the password as its key."""

import hashlib
from collections.abc import Iterator

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher

from mailward.scan.budget import Budget
from mailward.scan.passwords import CHEAP

SALT_BYTES = 8
_HASHES = (hashlib.sha1, hashlib.md5)
"""Since 5.3.9, and before."""
_DISCARDED_BYTES = 1000
_BYTES_A_UNIT = 256 * 1024
"""Decrypted and unpacked, for a unit of what passwords cost: a millisecond."""


def opened(locked: memoryview, budget: Budget, *, wide: bool) -> Iterator[tuple[str, bytes]]:
    """Passwords, and what they make of a chunk, right or wrong. Raises Spent.

    ``wide``: whether the installer's texts have two bytes a letter.
    """
    salt, packed = bytes(locked[:SALT_BYTES]), locked[SALT_BYTES:]
    for password in budget.passwords.candidates(CHEAP + len(packed) // _BYTES_A_UNIT):
        budget.check_time()
        spelled = password.encode("utf-16-le" if wide else "cp1252", "replace")
        for make in _HASHES:
            key = make(salt + spelled, usedforsecurity=False).digest()
            stream = Cipher(ARC4(key), mode=None).encryptor()
            stream.update(bytes(_DISCARDED_BYTES))
            yield password, stream.update(packed)
