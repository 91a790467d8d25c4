"""Encrypted Office documents, opened with what is known: Excel's own password, and the mail's.

By ``msoffcrypto``, which raises whatever comes to it on damaged files; each is a password that does
not work. The hashing of Office 2010 and later is done here: it costs nearly everything, and the
library does it anew for each of its questions. What stays shut: Word documents, and workbooks of
Excel 95, that only hide their text by XOR.
"""

import hashlib
import io
import struct
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mailward.scan.budget import Budget
from mailward.scan.documents import powerpoint_crypt
from mailward.scan.documents.compound_file import CompoundFile
from mailward.scan.passwords import CHEAP

_EXCEL = "VelvetSweatshop"
"""Excel opens what is encrypted with it without asking (MS-OFFCRYPTO calls it the default)."""
_SPINS_MAX = 200_000
"""Rounds of the hash; Office writes 100,000. A hostile number would cost minutes."""
_SPINS_OF_2007 = 50_000
_SPINS_A_UNIT = 2000
"""A unit of what passwords cost buys so many, which are hashed one by one: a millisecond."""
_INFO, _INFO_MAX_BYTES = "encryptioninfo", 64 * 1024
_HASHES = {
    "SHA1": hashlib.sha1,
    "SHA256": hashlib.sha256,
    "SHA384": hashlib.sha384,
    "SHA512": hashlib.sha512,
}
_VERIFIER_INPUT = bytes.fromhex("fea7d2763b4b9e79")
_VERIFIER_VALUE = bytes.fromhex("d7aa0f6d3061344e")
_KEY_VALUE = bytes.fromhex("146e0be7abacd0d6")
"""Block keys of MS-OFFCRYPTO 2.3.4.13."""
_BLOCK_BYTES = 16


class _InMemory:
    """Stands for ``tempfile`` in the library: workers cannot write files."""

    TemporaryFile = io.BytesIO


def decrypt(data: bytes, file: CompoundFile, budget: Budget) -> tuple[bytes, bool] | None:
    """The document behind the encryption, and whether a password of the mail's was needed.

    None if no password opens it. Raises Spent.
    """
    if any(
        stream.name.lower() == _INFO and stream.size > _INFO_MAX_BYTES for stream in file.streams
    ):
        return None
    try:
        document = _open(data)
        fits, cost, salt = _trial(document)
    except Exception:  # noqa: BLE001 (a library that lets out everything; the part stays encrypted)
        return None
    for password in budget.passwords.candidates(cost, _EXCEL, of=salt):
        budget.check_time()
        plain = _try(document, data, password, fits)
        if plain:
            if password != _EXCEL:
                budget.passwords.worked(password)
            return plain, password != _EXCEL
    return None


def _open(data: bytes) -> Any:
    import msoffcrypto  # here: it costs every worker 6 MB, and few messages need it
    from msoffcrypto.format import doc97, xls97

    for module in (doc97, xls97):
        module.tempfile = _InMemory
    return msoffcrypto.OfficeFile(io.BytesIO(data))


def _trial(document: Any) -> tuple[Callable[[str], bool], int, bytes]:
    """What loads a key if the password fits, what that costs, and the salt. Raises anything."""

    def loads(password: str) -> bool:
        document.load_key(password=password)
        return True

    def loads_verified(password: str) -> bool:
        document.load_key(password=password, verify_password=True)
        return True

    def loads_agile(password: str) -> bool:
        document.secret_key = _agile_key(document.info, password)
        return document.secret_key is not None

    if document.format != "ooxml":
        return loads, CHEAP, b""
    if document.type != "agile":
        cost = 1 + _SPINS_OF_2007 // _SPINS_A_UNIT
        return loads_verified, cost, document.info["verifier"]["salt"]
    spins = document.info["spinValue"]
    if spins > _SPINS_MAX:
        raise ValueError(spins)
    return loads_agile, 1 + spins // _SPINS_A_UNIT, document.info["passwordSalt"]


def _try(document: Any, data: bytes, password: str, fits: Callable[[str], bool]) -> bytes | None:
    plain = io.BytesIO()
    try:
        if not fits(password):
            return None
        if document.format == "ppt97":
            return powerpoint_crypt.decrypt(document, data)
        document.decrypt(plain)
    except Exception:  # noqa: BLE001 (a library that lets out everything; the part stays encrypted)
        return None
    return plain.getvalue()


def _agile_key(info: dict[str, Any], password: str) -> bytes | None:
    """MS-OFFCRYPTO 2.3.4.11 and 2.3.4.13, hashed once; None if the password is wrong."""
    make = _HASHES[info["passwordHashAlgorithm"]]
    salt = info["passwordSalt"]
    vector = salt[:_BLOCK_BYTES].ljust(_BLOCK_BYTES, b"\x36")
    digest = make(salt + password.encode("utf-16-le")).digest()
    pack = struct.Struct("<L").pack
    for turn in range(info["spinValue"]):
        digest = make(pack(turn) + digest).digest()

    def opened(block_key: bytes, locked: bytes) -> bytes:
        key = make(digest + block_key).digest()[: info["passwordKeyBits"] // 8]
        return Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor().update(locked)

    said = opened(_VERIFIER_INPUT, info["encryptedVerifierHashInput"])[: len(salt)]
    value = opened(_VERIFIER_VALUE, info["encryptedVerifierHashValue"])
    if make(said).digest() != value[: make().digest_size]:
        return None
    return opened(_KEY_VALUE, info["encryptedKeyValue"])
