"""Who made a ClamAV container: the two signatures in it, checked with ClamAV's public keys.

The header's is RSA over the MD5 of the payload, without padding, 1024 bits; ``.info``'s is RSA-PSS
(RFC 8017 section 8.1) over the SHA-256 of the list of members, 2048 bits. The first is what there
is to say that the payload is ClamAV's, and weak by today's measure; the second is sound, and binds
version, sizes and SHA-256 of every member that it lists. The numbers and the alphabet are those
that clamscan and ``sigtool --info`` use (``libclamav/dsig.c``, ``libclamav/readdb.c``).
"""

import hashlib
from dataclasses import dataclass

_DIGITS = {
    character: value
    for value, character in enumerate(
        b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"
    )
}
"""Six bits each, the lowest first: base64's alphabet with the small letters in front."""

_HASH = hashlib.sha256
_HASH_BYTES = 32
_SALT_BYTES = 32
_TRAILER = 0xBC


@dataclass(frozen=True, slots=True)
class PublicKey:
    """RSA."""

    modulus: int
    exponent: int

    def open(self, signature: int) -> int | None:
        """What was signed; None for a number that this key cannot have made."""
        if not 0 < signature < self.modulus:
            return None
        return pow(signature, self.exponent, self.modulus)


@dataclass(frozen=True, slots=True)
class Keys:
    """Of whoever makes containers."""

    payload: PublicKey
    members: PublicKey


CLAMAV = Keys(
    payload=PublicKey(
        int(
            "1186409955516453426030700016584531897515277744120277437465994057432431426074641447"
            "6736106064065584474976078889002228342492276248891756555100246777110966959818941043"
            "4699034532232228621591089508178591428456220796841621637175567590476666928698770143"
            "328137383952820383197532047771780196576957695822641224262693037"
        ),
        100001027,
    ),
    members=PublicKey(
        int(
            "1108889498304854547365955610662719492392894179179504762059165869741358104332271591"
            "2172496806525381055880964520618400224333320534660299233983755341740679502866829909"
            "6799557343913926683783612215242053966310901051516412708572770803107343209516537005"
            "0894171741916872394250789070290470270758745162169105075430785038339986534648720379"
            "8464178537392211402786481359824461197231102895415093770394216666324484593935762408"
            "4685168266331921408266679234948220458053478099328484548458869717064243605586678627"
            "7587607205943770336538020910169773857751547693508546945527999411314597799408461832"
            "8482151013142393373316337519977244732747977"
        ),
        100002049,
    ),
)


def signs_payload(md5: str, signature: bytes, key: PublicKey) -> bool:
    """Whether the header's ``signature`` is the key's over a payload with this MD5 (hex).

    ClamAV compares the lowest 128 bits only; here all others have to be zero, as they are in
    everything that it has signed, so that nobody can choose them.
    """
    number = _number(signature)
    return number is not None and key.open(number) == int(md5, 16)


def signs_members(listed: bytes, signature: bytes, key: PublicKey) -> bool:
    """Whether ``.info``'s ``signature`` is the key's over ``listed``, all before its DSIG line."""
    number = _number(signature)
    opened = None if number is None else key.open(number)
    if opened is None:
        return False
    encoded = opened.to_bytes((key.modulus.bit_length() + 7) // 8, "big")
    return _is_pss_of(_HASH(listed).digest(), encoded)


def _is_pss_of(digest: bytes, encoded: bytes) -> bool:
    # RFC 8017 section 9.1.2, but that ClamAV's signer clears one bit in front whatever the length
    # of the key; all the other bits are checked as there.
    masked, found, trailer = (
        encoded[: -_HASH_BYTES - 1],
        encoded[-_HASH_BYTES - 1 : -1],
        encoded[-1],
    )
    mask = _mgf1(found, len(masked))
    block = bytearray(one ^ other for one, other in zip(masked, mask, strict=True))
    block[0] &= 0x7F
    padding, salt = block[:-_SALT_BYTES], block[-_SALT_BYTES:]
    return (
        trailer == _TRAILER
        and padding == bytes(len(padding) - 1) + b"\x01"
        and _HASH(bytes(8) + digest + salt).digest() == found
    )


def _mgf1(seed: bytes, length: int) -> bytes:
    """RFC 8017 appendix B.2.1."""
    blocks = range(-(-length // _HASH_BYTES))
    return b"".join(_HASH(seed + n.to_bytes(4, "big")).digest() for n in blocks)[:length]


def _number(signature: bytes) -> int | None:
    if not signature or len(signature) > 512 or not _DIGITS.keys() >= set(signature):
        return None
    return sum(_DIGITS[digit] << 6 * place for place, digit in enumerate(signature))
