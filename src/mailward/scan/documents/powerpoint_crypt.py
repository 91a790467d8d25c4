"""Encrypted presentations of old (MS-PPT 2.3.7): each persist object by RC4, with a key of its own.

``msoffcrypto`` checks the password; its way of decrypting takes the objects to lie in the order of
their numbers, with nothing between them. Pictures are encrypted each for itself and stay so.
"""

import io
import struct
from typing import Any

_HEADER = struct.Struct("<HHL")
_CLEAR = frozenset({0x2F14, 0x0FF5, 0x1772})
"""CryptSession10Container, UserEditAtom, PersistDirectoryAtom: never encrypted."""
_TOKEN_AT = 12
_TOKEN_ENCRYPTED, _TOKEN_PLAIN = b"\xdf\xc4\xd1\xf3", b"\x5f\xc0\x91\xe3"
"""headerToken of CurrentUserAtom (MS-PPT 2.3.2)."""
_SUMMARY, _SUMMARY_LEFT = (n.encode("utf-16-le") for n in ("EncryptedSummary", "DecryptedSummary"))
"""Its name says that a presentation is encrypted; what is in it, title and author, stays shut."""


def is_encrypted(current_user: bytes) -> bool:
    """Whether the stream ``Current User`` says so."""
    return current_user[_TOKEN_AT : _TOKEN_AT + 4] == _TOKEN_ENCRYPTED


def decrypt(document: Any, data: bytes) -> bytes:
    """The compound file ``data`` with its presentation in clear; ``document`` has its key.

    Raises whatever the library raises for what is damaged.
    """
    from msoffcrypto.format.ppt97 import construct_persistobjectdirectory
    from msoffcrypto.method.rc4_cryptoapi import DocumentRC4CryptoAPI

    numbers = {offset: at for at, offset in construct_persistobjectdirectory(document.data).items()}
    document.data.powerpointdocument.seek(0)
    stream = bytearray(document.data.powerpointdocument.read())
    offsets = sorted(offset for offset in numbers if offset + _HEADER.size <= len(stream))
    for offset, following in zip(offsets, [*offsets[1:], len(stream)], strict=True):
        if _HEADER.unpack_from(stream, offset)[1] in _CLEAR:
            continue
        locked = stream[offset:following]  # what lies between two objects is in no use
        opened = DocumentRC4CryptoAPI.decrypt(
            document.key,
            document.salt,
            document.keySize,
            io.BytesIO(locked),
            blocksize=len(locked),
            block=numbers[offset],
        ).read()
        size = _HEADER.size + _HEADER.unpack_from(opened)[2]
        stream[offset : min(offset + size, following)] = opened[:size]
    document.data.currentuser.seek(0)
    user = bytearray(document.data.currentuser.read())
    user[_TOKEN_AT : _TOKEN_AT + 4] = _TOKEN_PLAIN
    written = io.BytesIO(data)
    whole = type(document.ole)(written, write_mode=True)
    whole.write_stream("Current User", bytes(user))
    whole.write_stream("PowerPoint Document", bytes(stream))
    return written.getvalue().replace(_SUMMARY, _SUMMARY_LEFT)
