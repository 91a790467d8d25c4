import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailward.scan.budget import Budget
from mailward.scan.contents import Piece
from mailward.scan.documents import mapi
from mailward.scan.part import Part, Role
from mailward.scan.verdict import Reason, Unopened
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR
from tests.scan.documents.build import tnef

Files = Callable[..., dict[str, bytes]]
Scan = Callable[..., list[object]]


def test_attachments_and_the_text_are_found(files: Files) -> None:
    data = tnef(("a.com", EICAR), ("b.txt", b"text"), body=b"Hello\0")
    assert files(data) == {
        "a": data, "a/body": b"Hello", "a/a.com": EICAR, "a/b.txt": b"text",
    }  # fmt: skip


def properties(*values: tuple[int, int, bytes]) -> bytes:
    out = struct.pack("<L", len(values))
    for tag, kind, value in values:
        padded = value.ljust(-(-len(value) // 4) * 4, b"\0")
        out += struct.pack("<HHLL", kind, tag, 1, len(value)) + padded
    return out


def test_names_and_data_in_properties(files: Files) -> None:
    inner = properties((0x3707, 0x1F, "ä.com\0".encode("utf-16-le")), (0x3701, 0x102, EICAR))
    head = b"\x78\x9f\x3e\x22\1\0" + struct.pack("<BHHL", 2, 0x9002, 6, 0) + b"\0\0"
    data = head + struct.pack("<BHHL", 2, 0x9005, 6, len(inner)) + inner + b"\0\0"
    assert files(data)["a/ä.com"] == EICAR


def test_a_message_in_a_message(files: Files) -> None:
    inner = properties((0x3701, 0x0D, bytes(16) + tnef(("a.com", EICAR))))
    head = b"\x78\x9f\x3e\x22\1\0" + struct.pack("<BHHL", 2, 0x9002, 6, 0) + b"\0\0"
    data = head + struct.pack("<BHHL", 2, 0x9005, 6, len(inner)) + inner + b"\0\0"
    assert EICAR in files(data).values()


def test_compressed_text_is_decompressed() -> None:
    """The example of MS-OXRTFCP 3.1."""
    packed = bytes.fromhex(
        "2d0000002b0000004c5a4675f1c5c7a703000a00726370673132354232"
        "0af32068656c090020627705b06c647d0a800fa0"
    )
    [found] = mapi.decompress_rtf(packed, Budget(ScanSettings()))
    assert isinstance(found, Piece)
    assert found.data == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"


def test_what_is_torn_is_malformed_and_read_as_far_as_it_goes(scan: Scan) -> None:
    data = tnef(("a.com", EICAR), ("b.com", EICAR))[:-40]
    found = scan(data)
    assert any(isinstance(p, Part) and p.data == EICAR for p in found)
    assert any(isinstance(p, Unopened) and p.reason is Reason.MALFORMED for p in found)


def test_something_behind_it_is_malformed(scan: Scan) -> None:
    assert any(isinstance(p, Unopened) for p in scan(tnef(("a.com", EICAR)) + b"MZ" * 20))


@pytest.mark.parametrize("count", [0xFFFFFFFF, 10_001])
def test_a_count_of_billions_costs_nothing(scan: Scan, count: int) -> None:
    inner = struct.pack("<LHHL", count, 0x102, 0x3701, count)
    data = b"\x78\x9f\x3e\x22\1\0" + struct.pack("<BHHL", 1, 0x9003, 6, len(inner)) + inner
    assert any(isinstance(p, Unopened) for p in scan(data))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 200), junk=st.binary(max_size=20))
def test_any_damage_is_survived(scan: Scan, at: int, junk: bytes) -> None:
    data = tnef(("a.com", EICAR), ("b.com", EICAR), body=b"x")
    scan(data[:at] + junk + data[at + len(junk) :])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("example", "names"),
    [
        ("data-before-name", {"AUTOEXEC.BAT", "CONFIG.SYS", "boot.ini"}),
        ("long-filename", {"allproductsmar2000.dat"}),
        ("two-files", {"AUTHORS", "README"}),
        ("MAPI_OBJECT", {"Untitled_Attachment"}),
        ("multi-value-attribute", {"208225__5_seconds__Voice_Mail.mp3"}),
        (
            "missing-filenames",
            {"generpts.src", "TechlibDEC99.doc", "TechlibDEC99-JAN00.doc", "TechlibNOV99.doc"},
        ),
    ],
)
def test_real_ones_have_the_attachments_that_tnefparse_finds(
    scan: Scan, shared: Path, example: str, names: set[str]
) -> None:
    path = shared / "containers/tnef/tests/examples" / f"{example}.tnef"
    found = scan(path.read_bytes())
    attached = {p.name for p in found if isinstance(p, Part) and p.role is Role.ATTACHMENT}
    assert attached - {"a"} == names
    assert not [p for p in found if isinstance(p, Unopened)]
