"""RAR archives: libarchive unpacks them, what is encrypted is decrypted here first.

libarchive knows no encryption, and its release 3.6 takes some encrypted files for plain ones. So
the blocks of RAR 5 are walked here (``rar4`` has older ones); a decrypted archive is made anew for
libarchive to read.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mailward.scan.budget import Budget
from mailward.scan.containers import libarchive, rar4, rar_files
from mailward.scan.containers.bits import DamagedError
from mailward.scan.containers.rar5_blocks import (
    BLOCKS_MAX,
    CRYPT,
    END,
    FILE,
    FROM_BEFORE,
    GOES_ON,
    HAS_DATA,
    MAGIC,
    SERVICE,
    Block,
    block,
    blocks,
    encoded,
    number,
    sized,
)
from mailward.scan.contents import Contents, Listed, Shut, Unlocked
from mailward.scan.verdict import Reason

STARTS = rb"Rar!\x1a\x07[\0\x01]|RE~\^..[\0-\x3f]"

_FILE_TIME, _FILE_CRC, _SIZE_UNKNOWN = 2, 4, 8
_SOLID, _METHOD = 1 << 6, 7 << 7
_EXTRA_CRYPT = 1
_LAST_BLOCK = 1 << 6
_HAS_CHECK = 1
_ROUNDS_A_UNIT = 5000
"""Of its hash, for a unit of what passwords cost: a millisecond."""
_POWER_MAX = 18
"""Of two: rounds for a key. RAR takes 15, and refuses above 24."""


class _LockedError(Exception):
    """Headers are encrypted, and no password fits."""


@dataclass(frozen=True, slots=True)
class _Crypt:
    """How something is encrypted in RAR 5."""

    power: int
    salt: bytes
    iv: bytes
    check: bytes
    """Eight bytes that tell a right password; empty if there are none."""


@dataclass(frozen=True, slots=True)
class _File:
    """What a file's header says, but for the time and what is optional."""

    flags: int
    size: int
    attributes: int
    crc: bytes
    packing: int
    system: int
    name: bytes

    @property
    def is_packed(self) -> bool:
        return bool(self.packing & _METHOD)

    def made(self, packed: bytes) -> bytes:
        """A block made anew."""
        flags = self.flags & ~(_FILE_TIME | _FILE_CRC) | (_FILE_CRC if self.crc else 0)
        head = encoded(FILE) + encoded(HAS_DATA) + encoded(len(packed))
        head += encoded(flags) + encoded(self.size) + encoded(self.attributes) + self.crc
        head += encoded(self.packing) + encoded(self.system)
        head += encoded(len(self.name)) + self.name
        return sized(head) + packed


def read(data: bytes, name: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    if data.startswith(rar_files.MAGIC_14):
        yield from rar_files.read(data, name, budget)
        return
    plain = _Archive5(data, budget) if data.startswith(MAGIC) else rar4.Archive(data, budget)
    try:
        rewritten = plain.rewrite()
    except (_LockedError, rar4.LockedError):
        yield Shut(Reason.ENCRYPTED, "encrypted RAR archive, names included")
        return
    except (DamagedError, IndexError):
        rewritten = None
        yield Shut(Reason.MALFORMED, "RAR archive: a block in it is damaged")
    for one in plain.unlocked:
        yield Unlocked(one)
    for one in plain.locked:
        yield Shut(Reason.ENCRYPTED, "encrypted archive member", one)
    if rewritten is None and plain.locked:
        return
    whole = rewritten or data
    if isinstance(plain, _Archive5):
        yield from libarchive.read(libarchive.RAR, whole, name, budget)
        for one in plain.in_parts:
            yield Shut(Reason.UNSUPPORTED, "RAR archive: the file is in several volumes", one)
    else:
        yield from rar_files.read(whole, name, budget)


def listed(data: bytes) -> Iterator[Listed]:
    """What the headers say, as far as they are neither damaged nor encrypted."""
    with suppress(IndexError, OverflowError, struct.error):
        yield from (_listed_5 if data.startswith(MAGIC) else rar4.listed)(data)


def _listed_5(data: bytes) -> Iterator[Listed]:
    position = 0
    for one in blocks(data):
        if one.kind == FILE:
            file = _file_header(one.body, one.fields)
            position += 1
            encrypted = _crypt_record(one.extra) is not None
            told = int.from_bytes(file.crc, "little") if file.crc else None
            name = file.name.decode("utf-8", "replace")
            yield Listed(name, file.size, one.stop - one.start, encrypted, position, told)


class _Archive5:
    """One walk over the blocks of a RAR 5."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        self._data = data
        self._budget = budget
        self._keys: dict[tuple[str, bytes, int], bytes] = {}
        self._before = bytearray()
        """What files of no bytes hold, for the next one to begin with."""
        self._begins = True
        """These do not go on from another."""
        self.unlocked: list[str] = []
        self.locked: list[str] = []
        self.in_parts: list[str] = []
        """Files of which some is in another volume."""

    def rewrite(self) -> bytes | None:
        """As libarchive opens it, without encryption; None if it is that already.

        Raises _LockedError, DamagedError, Spent.
        """
        out = bytearray(MAGIC)
        changed = False
        at = len(MAGIC)
        header_key: bytes | None = None
        for _ in range(BLOCKS_MAX):
            if at + 7 > len(self._data):
                break
            self._budget.check_time()
            raw, body, after = self._header(at, header_key)
            one = block(body, after)
            if one.kind == CRYPT:
                header_key = self._unlock(_crypt_header(body, one.fields))
                if header_key is None:
                    raise _LockedError
                changed = True
            else:
                made = self._file(one) if one.kind in (FILE, SERVICE) else None
                changed |= made is not None
                out += raw + self._data[after : one.stop] if made is None else made
            at = one.stop
            if one.kind == END:
                break
        return bytes(out) if changed else None

    def _header(self, at: int, key: bytes | None) -> tuple[bytes, bytes, int]:
        """The block's header as it is when plain, its body, where its data begins."""
        data = self._data
        if key is None:
            size, start = number(data, at + 4)
            return data[at : start + size], data[start : start + size], start + size
        if at + 32 > len(data):
            raise DamagedError("a header is damaged")
        decryptor = Cipher(algorithms.AES(key), modes.CBC(data[at : at + 16])).decryptor()
        first = decryptor.update(data[at + 16 : at + 32])
        size, start = number(first, 4)
        whole = start + size
        padded = (whole + 15) & ~15
        if padded > 4 * 1024 * 1024 or at + 16 + padded > len(data):
            raise DamagedError("a header is damaged")
        plain = (first + decryptor.update(data[at + 32 : at + 16 + padded]))[:whole]
        if zlib.crc32(plain[4:]) != int.from_bytes(plain[:4], "little"):
            raise DamagedError("a header is damaged")
        return plain, plain[start:], at + 16 + padded

    def _file(self, one: Block) -> bytes | None:
        """The block as libarchive opens it; None if it is that already.

        Nothing is left of it if it is encrypted and no password fits.
        """
        crypt = _crypt_record(one.extra)
        if one.kind == SERVICE:
            return None if crypt is None else b""
        file = _file_header(one.body, one.fields)
        packed = self._data[one.start : one.stop]
        if one.flags & (FROM_BEFORE | GOES_ON):
            self.in_parts.append(file.name.decode("utf-8", "replace"))
        if crypt is not None:
            shown = file.name.decode("utf-8", "replace")
            key = self._unlock(crypt)
            if key is None:
                self.locked.append(shown)
                return b""
            self.unlocked.append(shown)
            decryptor = Cipher(algorithms.AES(key), modes.CBC(crypt.iv)).decryptor()
            packed = decryptor.update(packed[: len(packed) & ~15])
            if not file.is_packed:
                packed = packed[: file.size]  # the rest only fills the last block
            else:
                packed = b"".join(_blocks(packed))
            # Its checksum may be one that only who has the password can make: it is left out.
            file = replace(file, crc=b"")
        if not file.is_packed:
            return None if crypt is None else file.made(packed)
        if not file.packing & _SOLID:
            self._before, self._begins = bytearray(), True
        if not file.size and not file.flags & _SIZE_UNKNOWN:
            # Of a packed file of no bytes libarchive 3.6 reads some, if the archive is solid. What
            # is in it is how the next file begins.
            self._before += b"".join(_going_on(block) for block in _blocks(packed))
            return replace(file, packing=file.packing & ~_METHOD).made(b"")
        if not self._before:
            self._begins = False
            return None if crypt is None else file.made(packed)
        packed, self._before = bytes(self._before) + packed, bytearray()
        if self._begins:
            file = replace(file, packing=file.packing & ~_SOLID)
        self._begins = False
        return file.made(packed)

    def _unlock(self, crypt: _Crypt) -> bytes | None:
        """The key, with the first password that fits."""
        if crypt.power > _POWER_MAX or not crypt.check:
            return None
        for password in self._candidates(crypt):
            self._budget.check_time()
            check = self._derived(password, crypt, 32)
            folded = bytes(
                check[n] ^ check[n + 8] ^ check[n + 16] ^ check[n + 24] for n in range(8)
            )
            if folded == crypt.check:
                self._budget.passwords.worked(password)
                return self._derived(password, crypt, 0)
        return None

    def _candidates(self, crypt: _Crypt) -> Iterator[str]:
        """What was tried with this salt is not paid again: each file tells its own."""
        known = [p for p, salt, more in self._keys if salt == crypt.salt and more == 32]
        if known:
            yield from known
            return
        yield from self._budget.passwords.candidates(1 + (1 << crypt.power) // _ROUNDS_A_UNIT)

    def _derived(self, password: str, crypt: _Crypt, more: int) -> bytes:
        known = password, crypt.salt, more
        if known not in self._keys:
            rounds = (1 << crypt.power) + more
            self._keys[known] = hashlib.pbkdf2_hmac(
                "sha256", password.encode(), crypt.salt, rounds, 32
            )
        return self._keys[known]


def _file_header(body: bytes, at: int) -> _File:
    flags, at = number(body, at)
    size, at = number(body, at)
    attributes, at = number(body, at)
    at += 4 if flags & _FILE_TIME else 0
    crc = body[at : at + 4] if flags & _FILE_CRC else b""
    packing, at = number(body, at + len(crc))
    system, at = number(body, at)
    name_bytes, at = number(body, at)
    return _File(flags, size, attributes, crc, packing, system, body[at : at + name_bytes])


def _blocks(packed: bytes) -> Iterator[bytes]:
    """Up to the one that says that it is the last; libarchive takes what follows for another."""
    at = 0
    while at + 3 <= len(packed):
        size_bytes = (packed[at] >> 3 & 3) + 1
        end = at + 2 + size_bytes
        end += int.from_bytes(packed[at + 2 : end], "little")
        yield packed[at:end]
        if packed[at] & _LAST_BLOCK:
            return
        at = end


def _going_on(block: bytes) -> bytes:
    """A block that is not the last one; both bytes are part of a checksum."""
    last = block[0] & _LAST_BLOCK
    return bytes([block[0] ^ last, block[1] ^ last]) + block[2:]


def _crypt_header(body: bytes, at: int) -> _Crypt:
    """Of a whole archive: no vector, each header has its own in front."""
    _, at = number(body, at)
    flags, at = number(body, at)
    check = body[at + 17 : at + 25] if flags & _HAS_CHECK else b""
    return _Crypt(body[at], body[at + 1 : at + 17], b"", check)


def _crypt_record(extra: bytes) -> _Crypt | None:
    """Of a file, among its extra records."""
    at = 0
    while at < len(extra):
        size, start = number(extra, at)
        kind, inside = number(extra, start)
        if kind == _EXTRA_CRYPT:
            _, inside = number(extra, inside)
            flags, inside = number(extra, inside)
            record = extra[inside : start + size]
            if len(record) < 33:
                return _Crypt(_POWER_MAX + 1, b"", b"", b"")
            check = record[33:41] if flags & _HAS_CHECK else b""
            return _Crypt(record[0], record[1:17], record[17:33], check)
        at = start + size
    return None
