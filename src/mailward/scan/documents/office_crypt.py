"""Encrypted Office documents, opened with what is known: Excel's own password, and the mail's.

By ``msoffcrypto``, which raises whatever comes to it on damaged files; each is a password that does
not work. Encrypted presentations of old stay shut in workers: it needs a temporary file for them.
"""

import io
import re

from mailward.scan.budget import Budget
from mailward.scan.documents.compound_file import CompoundFile

_EXCEL = "VelvetSweatshop"
"""Excel opens what is encrypted with it without asking (MS-OFFCRYPTO calls it the default)."""
_SPINS = re.compile(rb'spinCount="(\d{1,12})"')
_SPINS_MAX = 200_000
"""Rounds of the hash; Office writes 100,000. A hostile number would cost minutes."""
_SPINS_WITHOUT_WORD = 50_000
"""Of Office 2007, which does not write it down."""
_SPINS_A_UNIT = 1500
"""A unit of what passwords cost buys so many, which are hashed one by one: under a millisecond."""
_INFO_MAX_BYTES = 64 * 1024


def decrypt(data: bytes, file: CompoundFile, budget: Budget) -> tuple[bytes, bool] | None:
    """The document behind the encryption, and whether a password of the mail's was needed.

    None if no password opens it. Raises Spent.
    """
    spins = _SPINS_WITHOUT_WORD
    for stream in file.streams:
        if stream.name.lower() == "encryptioninfo":
            info = file.read(stream, _INFO_MAX_BYTES)
            spins = max((int(found[1]) for found in _SPINS.finditer(info)), default=spins)
            if spins > _SPINS_MAX:
                return None
    for password in budget.passwords.candidates(1 + spins // _SPINS_A_UNIT, _EXCEL):
        budget.check_time()
        plain = _try(data, password)
        if plain:
            if password != _EXCEL:
                budget.passwords.worked(password)
            return plain, password != _EXCEL
    return None


def _try(data: bytes, password: str) -> bytes | None:
    import msoffcrypto  # here: it costs every worker 6 MB, and few messages need it
    from msoffcrypto.method.ecma376_agile import ECMA376Agile

    plain = io.BytesIO()
    try:
        document = msoffcrypto.OfficeFile(io.BytesIO(data))
        # Loading a key hashes twice, whether it is right or not: half of that tells that it is not.
        if getattr(document, "type", "") == "agile" and not ECMA376Agile.verify_password(
            password,
            document.info["passwordSalt"],
            document.info["passwordHashAlgorithm"],
            document.info["encryptedVerifierHashInput"],
            document.info["encryptedVerifierHashValue"],
            document.info["spinValue"],
            document.info["passwordKeyBits"],
        ):
            return None
        document.load_key(password=password, verify_password=True)
        document.decrypt(plain)
    except Exception:  # noqa: BLE001 (a library that lets out everything; the part stays encrypted)
        return None
    return plain.getvalue()
