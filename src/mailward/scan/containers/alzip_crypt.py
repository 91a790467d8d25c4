"""Encrypted files of ALZip's archives: ZipCrypto, and AES as WinZip has it. LEA stays shut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers import zip_crypto

_ZIP, _AES_128, _AES_256 = range(3)
_ZIP_FRONT_BYTES = 12
_AES_FRONT_BYTES = {_AES_128: 10, _AES_256: 18}
"""Salt and two bytes that tell a wrong password."""
_AES_CODE_BYTES = 10
_STRENGTH = {_AES_128: 1, _AES_256: 3}


@dataclass(frozen=True, slots=True)
class Lock:
    """What stands in front of and behind what is encrypted, and the byte that checks a password."""

    method: int
    front: bytes
    back: bytes = b""
    check: int = 0


def alz_lock(front: bytes, check: int) -> Lock:
    """Of a file of an ``.alz``."""
    return Lock(_ZIP, front, check=check)


def egg_lock(field: bytes) -> Lock | None:
    """Out of a file's field of an ``.egg``; None if it is not known."""
    method, body = field[0] if field else -1, field[1:]
    if method == _ZIP and len(body) >= _ZIP_FRONT_BYTES + 4:
        return Lock(_ZIP, body[:_ZIP_FRONT_BYTES], check=body[_ZIP_FRONT_BYTES + 3])
    size = _AES_FRONT_BYTES.get(method, len(body))
    if len(body) < size + _AES_CODE_BYTES:
        return None
    return Lock(method, body[:size], body[size : size + _AES_CODE_BYTES])


def opened(
    lock: Lock, packed: Sequence[memoryview], budget: Budget
) -> Iterator[tuple[str, memoryview]]:
    """Passwords that may be right, and what they make of all pieces together. Raises Spent."""
    locked = memoryview(b"".join((lock.front, *packed, lock.back)))
    for password in budget.passwords.candidates():
        budget.check_time()
        spellings = password.encode("cp949", "replace"), password.encode("utf-8", "replace")
        for spelling in dict.fromkeys(spellings):
            if lock.method == _ZIP:
                plain = zip_crypto.zip_crypto(locked, spelling, lock.check, budget)
            else:
                plain = zip_crypto.aes(locked, spelling, _STRENGTH[lock.method])
            if plain is not None:
                yield password, memoryview(plain)
