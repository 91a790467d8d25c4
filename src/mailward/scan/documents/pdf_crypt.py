"""Encrypted PDFs (ISO 32000-2 section 7.6): the standard handler, with the empty password first.

Most encrypted PDFs open without a password: they only forbid printing.
"""

import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mailward.scan.budget import Budget
from mailward.scan.documents import pdf_syntax as syntax

_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")
_DICTIONARY_BYTES = 8192
_KEY_BYTES = (5, 16)
"""Both are tried, whatever the document says: some lie, and readers open them. PDF has all lengths
between, too; OpenSSL has not, and nobody writes them."""
_NUMBER = rb"[\s\0]+(-?\d{1,10})"


class UnknownError(Exception):
    """Encrypted in a way or with a password that is not known here."""


@dataclass(frozen=True, slots=True)
class Key:
    """What decrypts a document."""

    key: bytes
    aes: bool
    """Otherwise RC4."""
    revision: int
    by_password_of_mail: bool = False

    def decrypt(self, data: bytes, number: int, generation: int) -> bytes:
        """A stream or text of an object (algorithms 1 and 1.A)."""
        if self.revision >= 5:
            return _aes(self.key, data)
        salted = self.key + struct.pack("<L", number)[:3] + struct.pack("<L", generation)[:2]
        salted += b"sAlT" if self.aes else b""
        key = hashlib.md5(salted, usedforsecurity=False).digest()
        return _aes(key, data) if self.aes else _rc4(key[: min(len(self.key) + 5, 16)], data)


@dataclass(frozen=True, slots=True)
class _Handler:
    revision: int
    permissions: int
    owner: bytes
    user: bytes
    owner_key: bytes
    user_key: bytes
    aes: bool
    metadata: bool
    file_id: bytes


def find_key(data: bytes, budget: Budget) -> Key | None:
    """None if the document is not encrypted. Raises UnknownError, Spent."""
    at = data.rfind(b"/Encrypt")
    if at < 0:
        return None
    dictionary = _dictionary(data, at)
    if dictionary is None:
        return None
    if b"/Standard" not in dictionary:
        raise UnknownError("encrypted for its recipients, or by another handler")
    handler = _handler(dictionary, data)
    for password in _passwords(budget):
        budget.check_time()
        key = _key(handler, password)
        if key is not None:
            if password:
                budget.passwords.worked(password)
            return Key(key, handler.aes, handler.revision, by_password_of_mail=bool(password))
    raise UnknownError("encrypted, and no password that is known opens it")


def _passwords(budget: Budget) -> Iterator[str]:
    yield ""
    yield from budget.passwords.candidates()


def _key(handler: _Handler, password: str) -> bytes | None:
    """The document's key, if the password is its user's or its owner's."""
    if handler.revision >= 5:
        return _try_256(handler, password.encode("utf-8", "replace")[:127])
    # PDFDocEncoding has these letters where Latin-1 has them; some writers take UTF-8.
    spellings = {password.encode("latin-1", "replace"), password.encode("utf-8", "replace")}
    for spelling in spellings:
        key = _try(handler, spelling) or (_try_owner(handler, spelling) if spelling else None)
        if key is not None:
            return key
    return None


def _dictionary(data: bytes, at: int) -> bytes | None:
    reference = re.compile(rb"/Encrypt\s*(\d{1,10})\s+\d{1,5}\s+R").match(data, at)
    if reference is None:
        inline = re.compile(rb"/Encrypt\s*<<").match(data, at)
        return data[inline.end() : inline.end() + _DICTIONARY_BYTES] if inline else None
    found = list(re.finditer(rb"(?<!\d)%b\s+\d{1,5}\s+obj" % reference[1], data))
    if not found:
        return None
    end = data.find(b"endobj", found[-1].end())
    end = end if end >= 0 else len(data)
    return data[found[-1].end() : min(end, found[-1].end() + _DICTIONARY_BYTES)]


def _handler(dictionary: bytes, data: bytes) -> _Handler:
    def number(name: bytes, default: int) -> int:
        found = re.search(rb"/%b%b(?!\d)" % (name, _NUMBER), dictionary)
        return int(found[1]) if found is not None else default

    def text(name: bytes) -> bytes:
        found = re.search(rb"/%b\s*(?=[(<])" % name, dictionary)
        return syntax.text(dictionary, found.end())[0] if found is not None else b""

    found = re.search(rb"/ID\s*\[\s*(?=[(<])", data)
    return _Handler(
        number(b"R", 2),
        number(b"P", 0) & 0xFFFFFFFF,
        text(b"O"),
        text(b"U"),
        text(b"OE"),
        text(b"UE"),
        aes=b"/AESV" in dictionary,
        metadata=b"/EncryptMetadata false" not in dictionary,
        file_id=syntax.text(data, found.end())[0] if found is not None else b"",
    )


def _try(handler: _Handler, password: bytes) -> bytes | None:
    """The document's key, if the password is the user's."""
    for length in _KEY_BYTES:
        key = _legacy_key(handler, password, length)
        if handler.revision == 2:
            right = _rc4(key, _PADDING) == handler.user[:32]
        else:
            check = hashlib.md5(_PADDING + handler.file_id, usedforsecurity=False).digest()
            for turn in range(20):
                check = _rc4(bytes(byte ^ turn for byte in key), check)
            right = check == handler.user[:16]
        if right:
            return key
    return None


def _legacy_key(handler: _Handler, password: bytes, length: int) -> bytes:
    """Algorithm 2."""
    padded = (password[:32] + _PADDING)[:32]
    salted = padded + handler.owner[:32] + struct.pack("<L", handler.permissions) + handler.file_id
    if handler.revision >= 4 and not handler.metadata:
        salted += b"\xff\xff\xff\xff"
    digest = hashlib.md5(salted, usedforsecurity=False).digest()
    if handler.revision >= 3:
        for _ in range(50):
            digest = hashlib.md5(digest[:length], usedforsecurity=False).digest()
    return digest[:length]


def _try_owner(handler: _Handler, password: bytes) -> bytes | None:
    """Algorithm 7: the owner's password decrypts the user's."""
    digest = hashlib.md5((password[:32] + _PADDING)[:32], usedforsecurity=False).digest()
    if handler.revision == 2:
        return _try(handler, _rc4(digest[:5], handler.owner[:32]))
    for _ in range(50):
        digest = hashlib.md5(digest, usedforsecurity=False).digest()
    for length in _KEY_BYTES:
        user = handler.owner[:32]
        for turn in reversed(range(20)):
            user = _rc4(bytes(byte ^ turn for byte in digest[:length]), user)
        key = _try(handler, user)
        if key is not None:
            return key
    return None


def _try_256(handler: _Handler, password: bytes) -> bytes | None:
    """Algorithm 2.A."""
    user = handler.user[:48]
    make = _hash_2b if handler.revision >= 6 else _hash_r5
    for told, locked, more in (
        (user, handler.user_key, b""),
        (handler.owner[:48], handler.owner_key, user),
    ):
        if len(told) < 48 or len(locked) < 32:
            continue
        if make(password, told[32:40], more) == told[:32]:
            intermediate = make(password, told[40:48], more)
            decryptor = Cipher(algorithms.AES(intermediate), modes.CBC(bytes(16))).decryptor()
            return decryptor.update(locked[:32]) + decryptor.finalize()
    return None


def _hash_r5(password: bytes, salt: bytes, more: bytes) -> bytes:
    return hashlib.sha256(password + salt + more).digest()


def _hash_2b(password: bytes, salt: bytes, more: bytes) -> bytes:
    """Algorithm 2.B."""
    key = hashlib.sha256(password + salt + more).digest()
    turn, last = 0, 0
    while turn < 64 or last > turn - 32:
        encryptor = Cipher(algorithms.AES(key[:16]), modes.CBC(key[16:32])).encryptor()
        mixed = encryptor.update((password + key + more) * 64) + encryptor.finalize()
        make = (hashlib.sha256, hashlib.sha384, hashlib.sha512)[sum(mixed[:16]) % 3]
        key, last = make(mixed).digest(), mixed[-1]
        turn += 1
    return key[:32]


def _rc4(key: bytes, data: bytes) -> bytes:
    encryptor = Cipher(ARC4(key), mode=None).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _aes(key: bytes, data: bytes) -> bytes:
    vector, body = data[:16], data[16:]
    body = body[: len(body) - len(body) % 16]
    if len(vector) < 16 or not body:
        return b""
    decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
    plain = decryptor.update(body) + decryptor.finalize()
    return plain[: -plain[-1]] if 0 < plain[-1] <= 16 else plain
