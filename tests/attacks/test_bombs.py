"""Archives that are made to exhaust whoever opens them: what they cost is counted, not timed."""

import bz2
import gzip
import io
import lzma
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable

import pytest

from mailward.scan.budget import RATIO_FREE_BYTES, Budget
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.scan.verdict import Reason, Unopened
from mailward.settings.base import MIB
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR, Attachment, message, zipped
from tests.scan.containers.rar_archives import MAGIC as RAR4_MAGIC
from tests.scan.containers.rar_archives import block

ZEROS = bytes(MIB)
ONE_BOMB_BYTES = RATIO_FREE_BYTES + 2 * MIB
COST_MAX_BYTES = 4 * RATIO_FREE_BYTES
"""Three members that turn out to be bombs, and what was unpacked beside them."""


def open_up(data: bytes, **limits: float) -> tuple[Budget, list[Part], list[Unopened]]:
    budget = Budget(ScanSettings.model_validate(limits))
    found = list(parts(data, role=Role.FILE, name="bomb", budget=budget))
    opened = [part for part in found if isinstance(part, Part)]
    return budget, opened, [part for part in found if isinstance(part, Unopened)]


def deflated_zeros(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(packer.compress(ZEROS) for _ in range(mebibytes)) + packer.flush()


def gzip_zeros(mebibytes: int) -> bytes:
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6) as stream:
        for _ in range(mebibytes):
            stream.write(ZEROS)
    return file.getvalue()


def overlapping_zip(members: int, kernel: bytes, plain_bytes: int) -> bytes:
    """Every member of the directory points at the same compressed data."""
    crc = 0
    local = struct.pack(
        "<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(kernel), plain_bytes, 1, 0
    )
    body = local + b"x" + kernel
    sizes = (crc, len(kernel), plain_bytes, 4)
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, *sizes, 0, 0, 0, 0, 0, 0)
    directory = b"".join(entry + b"%04d" % number for number in range(members))
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, members, members, len(directory), len(body), 0)
    return body + directory + end


@pytest.mark.parametrize(
    "bomb",
    [
        lambda: gzip_zeros(200),
        lambda: bz2.compress(bytes(100 * MIB)),
        lambda: lzma.compress(bytes(100 * MIB), preset=0),
        lambda: zipped(Attachment("zeros", bytes(100 * MIB))),
    ],
    ids=["gzip", "bzip2", "xz", "zip"],
)
def test_a_bomb_costs_ten_mebibytes(bomb: Callable[[], bytes]) -> None:
    budget, opened, shut = open_up(bomb())
    assert budget.unpacked_bytes <= ONE_BOMB_BYTES
    assert len(opened) == 2
    assert [part.reason for part in shut] == [Reason.LIMIT]
    assert "scan.max_ratio" in shut[0].detail


def test_a_bomb_does_not_hide_what_is_beside_it() -> None:
    bomb = Attachment("bomb", bytes(50 * MIB))
    _, opened, shut = open_up(
        message(Attachment("a.zip", zipped(bomb, Attachment("b.exe", EICAR))))
    )
    assert any(part.data == EICAR for part in opened)
    assert [part.reason for part in shut] == [Reason.LIMIT]


def test_many_bombs_cost_no_more_than_three() -> None:
    kernel = deflated_zeros(30)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for number in range(200):
            archive.writestr(f"{number}.gz", b"\x1f\x8b\x08" + bytes(7) + kernel + bytes(8))
    budget, _, shut = open_up(file.getvalue())
    assert budget.bombs == 3
    assert budget.unpacked_bytes <= COST_MAX_BYTES
    assert "nothing more" in shut[-1].detail


def test_overlapping_members_are_no_archive() -> None:
    budget, _, shut = open_up(overlapping_zip(5000, deflated_zeros(20), 20 * MIB))
    assert budget.unpacked_bytes <= COST_MAX_BYTES
    assert any("overlap" in part.detail for part in shut) or budget.bombs == 3


def test_overlapping_members_that_are_no_bombs_are_stopped_too() -> None:
    budget, opened, shut = open_up(overlapping_zip(60_000, zlib.compress(b"small")[2:-4], 5))
    assert len(opened) <= 10_000
    assert budget.unpacked_bytes < MIB
    assert {part.reason for part in shut} <= {Reason.LIMIT, Reason.MALFORMED}
    assert shut


def nested(levels: int, width: int, leaf: bytes) -> bytes:
    data = leaf
    for _ in range(levels):
        data = zipped(*(Attachment(f"{number}.zip", data) for number in range(width)))
    return data


def test_ten_levels_of_sixteen_each_cost_no_more_than_their_limits() -> None:
    budget, opened, shut = open_up(nested(10, 16, zipped(Attachment("0", bytes(20 * MIB)))))
    assert budget.unpacked_bytes <= COST_MAX_BYTES
    assert len(opened) < 1000
    assert shut[-1].reason is Reason.LIMIT


def test_wide_nesting_without_large_members_ends_at_the_number_of_parts() -> None:
    budget, opened, shut = open_up(nested(6, 10, b"leaf"), max_parts=500)
    assert budget.parts == len(opened) == 500
    assert "scan.max_parts" in shut[-1].detail


def test_a_chain_of_archives_ends_at_its_depth() -> None:
    data = b"core"
    for _ in range(40):
        data = gzip.compress(data)
    budget, _, [shut] = open_up(data)
    assert budget.parts == 18
    assert "scan.max_depth" in shut.detail


def test_a_quine_that_unpacks_to_itself_ends_at_its_depth() -> None:
    """What R. Cox's r.gz does, without its cleverness: each level is unpacked to the next."""
    data = b"core"
    for _ in range(30):
        data = zipped(Attachment("r.zip", data))
    budget, _, [shut] = open_up(data)
    assert budget.parts == 18
    assert "scan.max_depth" in shut.detail


def test_ten_gigabytes_of_zeros_cost_ten_mebibytes() -> None:
    once = deflated_zeros(128)
    member = b"\x1f\x8b\x08" + bytes(7) + once + bytes(8)
    budget, _, shut = open_up(member * 80)
    assert budget.unpacked_bytes <= ONE_BOMB_BYTES
    assert [part.reason for part in shut] == [Reason.LIMIT]


def test_honest_text_is_no_bomb() -> None:
    text = b"".join(b"%08d;customer %d;%d\r\n" % (n, n, n * n) for n in range(600_000))
    assert len(text) > RATIO_FREE_BYTES
    _, opened, shut = open_up(zipped(Attachment("list.csv", text)))
    assert opened[1].data == text
    assert not shut


def test_millions_of_folders_end_at_the_number_of_parts() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(300):
            archive.writestr(f"{number}/", b"")
    budget, _, [shut] = open_up(file.getvalue(), max_parts=200)
    assert budget.parts == 200
    assert "scan.max_parts" in shut.detail


def test_bombs_inside_each_other_cost_no_more_than_one() -> None:
    """Each level unpacks to less than the ratio: together they would to 400 MiB."""
    data = gzip_zeros(100)
    while len(data) > 500:
        data = gzip.compress(data)
    budget, _, shut = open_up(data)
    assert budget.unpacked_bytes <= 32 * MIB
    assert Reason.LIMIT in {part.reason for part in shut}


def test_ten_thousand_members_of_one_name_cost_their_number() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(9000):
            archive.writestr("a", b"x")
    _, opened, _ = open_up(file.getvalue())
    assert opened[-1].path == "bomb/a~9000"
    assert len({part.path for part in opened}) == 9001


def test_volumes_of_an_archive_are_not_kept_without_bound() -> None:
    """They wait for each other, to be put together: so many as one part may have."""
    volume = RAR4_MAGIC + block(0x73, 0x101, bytes(6)) + bytes(MIB)
    bomb = zipped(*(Attachment(f"v.part{number:02}.rar", volume) for number in range(64)))
    budget = Budget(ScanSettings(max_part_bytes=4 * MIB))
    seen = 0
    tracemalloc.start()
    for found in parts(bomb, role=Role.FILE, name="bomb", budget=budget):
        seen += isinstance(found, Part) and len(found.data) == len(volume)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * MIB
    assert seen > 20  # until the limit of all parts together
