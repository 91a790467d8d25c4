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
        b"\r\n-----BEGIN PGP MESSAGE-----\r\n",
        ENVELOPED,
    ],
    ids=["OpenPGP", "S/MIME"],
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
    ],
)
def test_other_files_are_no_containers(unpack: Unpack, data: bytes) -> None:
    assert unpack(data) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=600))
def test_any_file_can_be_looked_at(unpack: Unpack, data: bytes) -> None:
    unpack(data)
