"""RAR 2.9 to 4 that is encrypted: made anew without, for libarchive, which knows no encryption.

Neither a key nor a file says whether a password is right: what comes out is held against the
file's checksum, a header's against its own. Older archives have other ciphers, and stay shut.
Format: RARLAB's ``technote.txt`` of release 3; key: M. Kreen, ``rarfile.py``.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mailward.scan.budget import Budget, Spent
from mailward.scan.containers import rar_files
from mailward.scan.containers.bits import DamagedError
from mailward.scan.containers.rar4_blocks import (
    BLOCK,
    BLOCKS_MAX,
    END,
    FILE,
    FROM_BEFORE,
    GOES_ON,
    HEADERS_ENCRYPTED,
    IS_ENCRYPTED,
    IS_LARGE,
    IS_SOLID,
    MAGIC,
    MAIN,
    SERVICE,
    Header,
    plain_header,
    remade,
)
from mailward.scan.contents import Listed, Shut

_HAS_SALT = 0x400
_IN_PARTS = FROM_BEFORE | GOES_ON
_OLDEST_CIPHER = 29
_STORED = 0x30
_HEADER_MAX_BYTES = 65_536
_ROUNDS, _ROUNDS_A_BYTE = 16, 0x4000
_SEED_MAX_BYTES = 63
"""Above, RAR's own SHA-1 has an error that its keys depend on."""
_COST = 35
"""Of a try: 262,144 rounds of SHA-1, some 30 ms."""
_PLAIN_MAIN = struct.pack("<HBHH6x", 0x90CF, MAIN, 0, 13)


class LockedError(Exception):
    """Headers are encrypted, and no password fits."""


def listed(data: bytes) -> Iterator[Listed]:
    """What headers say that are neither damaged nor encrypted. Raises struct.error."""
    at, position = len(MAGIC), 0
    for _ in range(BLOCKS_MAX):
        try:
            header = plain_header(data, at)
        except DamagedError:
            return
        if header.kind == MAIN and header.flags & HEADERS_ENCRYPTED:
            return
        if header.kind == FILE:
            raw, start = header.raw, 32
            plain, crc, name_bytes = struct.unpack_from("<LxL6xH", raw, 11)
            if header.flags & IS_LARGE:
                start = 40
                plain |= struct.unpack_from("<L", raw, 36)[0] << 32
            name = raw[start : start + name_bytes].partition(b"\0")[0].decode("utf-8", "replace")
            position += 1
            encrypted = bool(header.flags & IS_ENCRYPTED)
            yield Listed(name, plain, header.data_bytes, encrypted, position, crc)
        at = header.after + header.data_bytes


@dataclass(frozen=True, slots=True)
class _Locked:
    """An encrypted file."""

    name: str
    head: bytes
    """Its header, as it is without encryption."""
    packed: bytes
    salt: bytes
    size: int
    check: int
    is_stored: bool

    def plain(self, packed: bytes) -> bytes:
        """Made anew of what it is packed to."""
        head = self.head
        flags = int.from_bytes(head[3:5], "little")
        return remade(head[:7] + struct.pack("<L", len(packed)) + head[11:], flags) + packed


class Archive:
    """One walk over the blocks."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        self._data = data
        self._budget = budget
        self._keys: dict[tuple[str, bytes], tuple[bytes, bytes]] = {}
        self._is_solid = self._is_broken = False
        self._password: str | None = None
        """That fitted a file: others of a solid archive cannot be tried by themselves."""
        self._chain: list[_Locked] = []
        """Files that hold nothing, which is no proof, but that one behind them may go on from."""
        self.unlocked: list[str] = []
        self.locked: list[str] = []

    def rewrite(self) -> bytes | None:
        """Without encryption; None if there is none, or nothing is left.

        Raises LockedError, DamagedError, Spent.
        """
        out = bytearray(MAGIC)
        at = len(MAGIC)
        changed = encrypted = False
        kept = 0
        password: str | None = None
        for _ in range(BLOCKS_MAX):
            if at + BLOCK.size > len(self._data):
                break
            self._budget.check_time()
            try:
                if encrypted and password is None:
                    password = self._password_of_headers(at)
                header = self._header(at, password if encrypted else None)
                stop = header.after + header.data_bytes
                self._is_solid |= header.kind == MAIN and bool(header.flags & IS_SOLID)
                if header.kind == MAIN and header.flags & HEADERS_ENCRYPTED:
                    encrypted = changed = True
                    out += remade(header.raw, header.flags & ~HEADERS_ENCRYPTED)
                elif header.kind in (FILE, SERVICE) and header.flags & IS_ENCRYPTED:
                    changed = True
                    opened = self._opened(header, self._data[header.after : stop])
                    kept += bool(opened)
                    out += opened
                else:
                    kept += header.kind == FILE
                    out += header.raw + self._data[header.after : stop]
            except struct.error as e:
                raise DamagedError from e
            at = stop
            if header.kind == END:
                break
        for one in self._chain:
            out += one.plain(b"")
        return bytes(out) if changed and (kept or self._chain or not self.locked) else None

    def _header(self, at: int, password: str | None) -> Header:
        """Raises DamagedError, struct.error."""
        data = self._data
        if password is None:
            return plain_header(data, at)
        key, vector = self._key(password, data[at : at + 8])
        decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
        first = decryptor.update(data[at + 8 : at + 24])
        check, kind, flags, size = BLOCK.unpack_from(first)
        padded = (size + 15) & ~15
        raw = (first + decryptor.update(data[at + 24 : at + 8 + padded]))[:size]
        if size < BLOCK.size or len(raw) < size or zlib.crc32(raw[2:]) & 0xFFFF != check:
            raise DamagedError("a header is damaged")
        return Header(kind, flags, raw, at + 8 + padded)

    def _password_of_headers(self, at: int) -> str:
        """Raises LockedError, Spent."""
        for password in self._candidates(self._data[at : at + 8]):
            self._budget.check_time()
            try:
                self._header(at, password)
            except (DamagedError, struct.error):
                continue
            self._budget.passwords.worked(password)
            return password
        raise LockedError

    def _opened(self, header: Header, packed: bytes) -> bytes:
        """A block without its encryption; nothing if no password fits. Raises struct.error."""
        raw, flags = header.raw, header.flags
        size, check, version, method, name_bytes = struct.unpack_from("<4xLxL4xBBH", raw, 7)
        name_at = 40 if flags & IS_LARGE else 32
        salt_at = name_at + name_bytes
        name = raw[name_at:salt_at].partition(b"\0")[0].decode("utf-8", "replace")
        name = name.replace("\\", "/")  # as libarchive has it
        if header.kind == SERVICE:
            return b""
        salt = raw[salt_at : salt_at + 8] if flags & _HAS_SALT else b""
        plain_flags = flags & ~(IS_ENCRYPTED | _HAS_SALT)
        head = remade(raw[:salt_at] + raw[salt_at + len(salt) :], plain_flags)
        one = _Locked(name, head, packed, salt, size, check, is_stored=method == _STORED)
        if not size and not self._is_solid:
            return one.plain(b"")
        is_other = bool(self._chain) and salt != self._chain[0].salt  # keys cost time
        if version < _OLDEST_CIPHER or flags & _IN_PARTS or self._is_broken or is_other:
            self._is_broken = self._is_solid
            self.locked.append(name)
            return b""
        if self._password is not None and self._is_solid:
            if self._password in self._candidates(salt):
                self.unlocked.append(name)
                return self._decrypted(one, self._password)
            self.locked.append(name)
            self._is_broken = True
            return b""
        self._chain.append(one)
        return b"" if not size else self._tried()

    def _tried(self) -> bytes:
        """The file that was met last, behind those that it goes on from, with what fits it."""
        chain, self._chain = self._chain, []
        for password in self._candidates(chain[-1].salt):
            self._budget.check_time()
            found = b"".join([self._decrypted(one, password) for one in chain])
            last = chain[-1]
            if last.is_stored:
                content = found[len(found) - last.size :] if last.size <= len(last.packed) else b""
                is_right = zlib.crc32(content) == last.check
            else:
                is_right = self._unpacks(found)
            if is_right:
                self._budget.passwords.worked(password)
                self._password = password
                self.unlocked += [one.name for one in chain]
                return found
        self._is_broken = self._is_solid
        self.locked += [one.name for one in chain]
        return b""

    def _decrypted(self, one: _Locked, password: str) -> bytes:
        key, vector = self._key(password, one.salt)
        decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
        plain = decryptor.update(one.packed[: len(one.packed) & ~15])
        return one.plain(plain[: one.size] if one.is_stored else plain)

    def _unpacks(self, blocks: bytes) -> bool:
        """Whether files have the checksums that they should have; limits don't count here."""
        try:
            scratch = Budget(self._budget.settings)
            found = list(rar_files.read(MAGIC + _PLAIN_MAIN + blocks, "", scratch))
        except Spent:
            return True  # so much that a limit was reached is no accident of a wrong key
        return bool(found) and not any(isinstance(one, Shut) for one in found)

    def _candidates(self, salt: bytes) -> Iterator[str]:
        """What was tried with this salt is not paid again: files of an archive have the same."""
        known = [password for password, of in self._keys if of == salt]
        if known:
            yield from known
            return
        yield from self._budget.passwords.candidates(_COST)

    def _key(self, password: str, salt: bytes) -> tuple[bytes, bytes]:
        """And the first vector."""
        known = password, salt
        if known not in self._keys:
            self._keys[known] = _derived(password, salt)
        return self._keys[known]


def _derived(password: str, salt: bytes) -> tuple[bytes, bytes]:
    seed = (password.encode("utf-16-le", "replace") + salt)[:_SEED_MAX_BYTES]
    state = hashlib.sha1(usedforsecurity=False)
    vector = b""
    for number in range(_ROUNDS):
        first = number * _ROUNDS_A_BYTE
        state.update(seed + first.to_bytes(3, "little"))
        vector += state.digest()[19:]
        following = range(first + 1, first + _ROUNDS_A_BYTE)
        state.update(b"".join([seed + count.to_bytes(3, "little") for count in following]))
    words = struct.unpack(">LLLL", state.digest()[:16])
    return struct.pack("<LLLL", *words), vector
