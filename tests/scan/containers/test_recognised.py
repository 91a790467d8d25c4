from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailward.scan.contents import Piece, Shut
from mailward.scan.verdict import Reason

Reasons = Callable[..., list[Reason]]
Unpack = Callable[..., list[Piece | Shut]]

COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(512, b"\0")
ENVELOPED = bytes.fromhex("3080 06092a864886f70d010703 a080")


@pytest.mark.parametrize(
    "data",
    [
        b"7z\xbc\xaf\x27\x1c\0\4",
        b"Rar!\x1a\x07\x00",
        b"Rar!\x1a\x07\x01\x00",
        b"MSCF\0\0\0\0",
        b"\x19\x5e-lh5-",
        b"\x60\xea\x29\0\x22\x0b\x01\x02\x10\0",
        bytes(0x8001) + b"CD001",
        bytes(1000) + b"koly".ljust(512, b"\0"),
        b"\x78\x9f\x3e\x22",
        b"egg!\0\0",
    ],
    ids=["7z", "rar4", "rar5", "cab", "lha", "arj", "iso", "dmg", "tnef", "egg!"],
)
def test_a_container_that_cannot_be_opened_is_never_silently_clean(
    reasons: Reasons, data: bytes
) -> None:
    assert len(reasons(data)) == 1
    assert reasons(data)[0] in (Reason.UNSUPPORTED, Reason.MALFORMED)


@pytest.mark.parametrize(
    "data",
    [
        b"SIT!\0\1\0\0\2\0rLau", b"StuffIt (c)1997-2001 Aladdin", b"StuffIt!", b"ArC\1\0",
        b"7kSt\xa01\x83\xd3\x8c\xb2", b"LRZI\0\6", b"RZIP\2\1", b"\x1a\x08FILE.TXT\0\0\0", b"UHA\6",
        b"UC2\x1a", bytes(14) + b"\x1aJar\x1b\0", bytes(7) + b"-sqx-", b"yz0102", b"GCAX",
        b"BH\5\7\0", b"KGB_arch -5", b"NanoZip 0", b"ANDROID BACKUP\n5\n", b"!BDN\1\2\3\4",
        b"\xcf\xad\x12\xfe\xc5\xfd\x74\x6f", b"ITOLITLS\1", b"EVF\x09\r\n\xff\0", b"EVF2\r\n\x81\0",
        b"WithouFreSpacExt", b"CISO\0\0", b"DAA\0\0", b"IsZ!", b"\x3a\xff\x26\xed\1\0\0\0",
        b"XFSB\0\0\x10\0", bytes(3) + b"ReFS\0\0\0\0", bytes(16) + b"Compressed ROMFS", b"-rom1fs-",
        b"UBI#\1\0", bytes(1024) + b"\xe2\xe1\xf5\xe0", bytes(65_600) + b"_BHRfS_M",
    ],
)  # fmt: skip
def test_what_other_programs_open_is_unscannable(reasons: Reasons, data: bytes) -> None:
    assert reasons(data.ljust(70_000, b"\x11")) == [Reason.UNSUPPORTED]


@pytest.mark.parametrize(
    "data",
    [
        b"LUKS\xba\xbe\0\2",
        b"\xeb\x58\x90-FVE-FS-",
        b"\r\n-----BEGIN PGP MESSAGE-----\r\n",
        b"Hello,\n-----BEGIN PGP MESSAGE-----\n\nhQE=\n-----END PGP MESSAGE-----\nRegards",
        b"\x84\x5e\x03" + bytes(8) + b"\x12" + bytes(80),
        b"\x85\x01\x0c\x03" + bytes(8) + b"\x01" + bytes(256),
        b"\xc1\xc0\x4c\x03" + bytes(8) + b"\x10" + bytes(256),
        b"\x8c\x0d\x04\x09\x03\x08" + bytes(9) + b"\xd2\x40" + bytes(60),
        ENVELOPED,
        ENVELOPED.replace(b"\x07\x03", b"\x07\x06"),
        bytes.fromhex("3080 060b2a864886f70d0109100117 a080"),
    ],
    ids=[
        "LUKS",
        "BitLocker",
        "OpenPGP",
        "OpenPGP in a text",
        "OpenPGP for an elliptic key",
        "OpenPGP for a key",
        "OpenPGP, new lengths",
        "OpenPGP by passphrase",
        "S/MIME",
        "S/MIME with a password",
        "S/MIME by AES-GCM",
    ],
)
def test_encrypted_documents_and_messages_are_said_so(reasons: Reasons, data: bytes) -> None:
    assert reasons(data) == [Reason.ENCRYPTED]


@pytest.mark.parametrize(
    "data",
    [
        b"%PDF-1.7",
        b"-----BEGIN PGP SIGNED MESSAGE-----",
        b"MZ" + bytes(600),
        b"",
        b"\0" * 600,
        b"`\xea",
        b"They begin with -----BEGIN PGP MESSAGE----- as a rule.",
        b"> ask\n-----BEGIN PGP MESSAGE----- begins it",
        b"\x84\x00\x03" + bytes(100),
        ENVELOPED.replace(b"\x07\x03", b"\x07\x01"),
    ],
)
def test_other_files_are_no_containers(unpack: Unpack, data: bytes) -> None:
    assert unpack(data) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=600))
def test_any_file_can_be_looked_at(unpack: Unpack, data: bytes) -> None:
    unpack(data)
