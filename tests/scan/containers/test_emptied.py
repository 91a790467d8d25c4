"""Containers whose lists were emptied: what says that it holds nothing is not taken at its word."""

import struct
from collections.abc import Callable

import pytest

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers.test_chm import plain
from tests.scan.containers.test_file_systems import ext, hfs
from tests.scan.containers.test_iso import image, record
from tests.scan.containers.test_sevenzip import START, archive
from tests.scan.containers.test_virtual_disk import qcow2

Unpack = Callable[..., list[Found]]

APPLE = b"\0\5\x16\0\0\2\0\0" + bytes(16)


def over(whole: bytes, at: int, new: bytes) -> bytes:
    return whole[:at] + new + whole[at + len(new) :]


def cabinet() -> bytes:
    """InstallShield's, which lists no file."""
    head = struct.pack("<4sLLLL", b"ISc(", 0x0100600C, 0, 512, 512)
    return head.ljust(1024, b"\0") + EICAR


EMPTIED = {
    "7z without a header": START + bytes(24) + EICAR,
    "7z whose header names no file": archive(b"\1\0", EICAR),
    "chm whose files are empty": plain(b"/a.com", b""),
    "chm without chunks": over(plain(b"/a.com", EICAR), 96 + 44, bytes(4)),
    "ext, a broken root": over(ext(), 10 * 1024, struct.pack("<LH", 0, 0)),
    "ext, a broken end of the root": over(ext(), 10 * 1024 + 48, struct.pack("<LH", 12, 4)),
    "HFS+ without leaves": over(hfs(), 12 * 512 + 24, bytes(4)),
    "InstallShield without files": cabinet(),
    "EGG that ends before its files": b"EGGA" + bytes(10) + b"\x22\x82\xe2\x08" + EICAR,
    "zoo that ends before its files": (
        b"ZOO 2.10 Archive.\x1a\0\0\xdc\xa7\xc4\xfd" + struct.pack("<Ll", 34, -34) + b"\1\0"
        + struct.pack("<LBBL", 0xFDC4A7DC, 1, 1, 0) + bytes(40) + EICAR * 2
    ),
    "AppleSingle whose fork is elsewhere": (
        APPLE + struct.pack(">HLLL", 1, 1, 1 << 20, 100) + EICAR
    ),
    "AppleSingle of more entries than fit": APPLE + struct.pack(">HLLL", 200, 3, 38, 1) + b"a",
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTIED)
def test_a_container_whose_list_was_emptied_is_never_silently_clean(
    unpack: Unpack, name: str
) -> None:
    shut = [one for one in unpack(EMPTIED[name]) if isinstance(one, Shut)]
    assert shut, name
    assert {one.reason for one in shut} <= {Reason.MALFORMED, Reason.UNSUPPORTED}


def test_of_two_data_forks_both_are_read(unpack: Unpack) -> None:
    entries = struct.pack(">HLLLLLL", 2, 1, 50, 68, 1, 118, 2)
    found = unpack(APPLE + entries + EICAR + b"ok")
    assert [one.data for one in found if isinstance(one, Piece)] == [EICAR, b"ok"]


def test_a_file_system_on_a_virtual_disk_without_partitions_is_read(unpack: Unpack) -> None:
    disk = image(record(b"A.COM", 19, len(EICAR)))
    found = unpack(qcow2(disk.ljust(64 * 1024, b"\0")))
    assert EICAR in [one.data for one in found if isinstance(one, Piece)]
