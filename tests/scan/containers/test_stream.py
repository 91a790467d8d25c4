import bz2
import gzip
import io
import lzma
from collections.abc import Callable

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailward.scan.contents import Piece, Shut
from mailward.scan.verdict import Reason

Members = Callable[..., list[tuple[str, bytes]]]
Reasons = Callable[..., list[Reason]]
Unpack = Callable[..., list[Piece | Shut]]

DATA = bytes((i * i * 7 + i // 3) % 251 for i in range(100_000))
BZIP2 = bz2.compress(DATA[:5000])
PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd.compress}
packers = pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)


@packers
def test_a_stream_is_unpacked(unpack: Unpack, pack: Callable[[bytes], bytes]) -> None:
    [piece] = unpack(pack(DATA), "a.txt.gz")
    assert isinstance(piece, Piece)
    assert (piece.data, piece.name) == (DATA, "a.txt")


@packers
def test_several_streams_are_one_file(unpack: Unpack, pack: Callable[[bytes], bytes]) -> None:
    [piece] = unpack(pack(b"one") + pack(b"") + pack(DATA) + bytes(512))
    assert isinstance(piece, Piece)
    assert piece.data == b"one" + DATA


@packers
def test_a_truncated_stream_gives_what_is_there_and_says_so(
    members: Members, reasons: Reasons, pack: Callable[[bytes], bytes]
) -> None:
    data = pack(DATA * 3)[:-9]
    [(_, content)] = members(data)
    assert (DATA * 3).startswith(content)
    assert reasons(data) == [Reason.MALFORMED]


@packers
def test_something_behind_the_stream_is_said(
    members: Members, reasons: Reasons, pack: Callable[[bytes], bytes]
) -> None:
    assert members(pack(DATA) + b"MZ and more") == [("", DATA)]
    assert reasons(pack(DATA) + b"MZ and more") == [Reason.MALFORMED]


def test_a_wrong_checksum_of_gzip_hides_nothing(members: Members) -> None:
    data = gzip.compress(DATA)
    assert members(data[:-8] + bytes(8)) == [("", DATA)]


@pytest.mark.parametrize(
    "data",
    [
        BZIP2[:10] + bytes(4) + BZIP2[14:],
        lzma.compress(DATA[:5000])[:-36] + bytes(36),
        zstd.compress(DATA[:5000], options={zstd.CompressionParameter.checksum_flag: 1})[:-4]
        + bytes(4),
    ],
    ids=["bzip2", "xz", "zstd"],
)
def test_other_wrong_checksums_hide_next_to_nothing(
    members: Members, reasons: Reasons, data: bytes
) -> None:
    [(_, content)] = members(data)
    assert DATA.startswith(content)
    assert len(content) >= 4990
    assert reasons(data) == [Reason.MALFORMED]


@pytest.mark.parametrize(
    ("outer", "inner"), [("a.tgz", "a.tar"), ("a.TBZ2", "a.tar"), ("a.exe.gz", "a.exe"), ("a", "a")]
)
def test_the_name_inside_follows_from_the_outer_one(
    members: Members, outer: str, inner: str
) -> None:
    assert members(gzip.compress(b"x"), outer) == [(inner, b"x")]


def test_gzip_knows_its_name(members: Members) -> None:
    file = io.BytesIO()
    with gzip.GzipFile("invoice.exe", "wb", fileobj=file) as stream:
        stream.write(b"MZ")
    assert members(file.getvalue(), "harmless.gz") == [("invoice.exe", b"MZ")]


@pytest.mark.parametrize(
    "magic", [b"\x1f\x8b\x08", b"BZh91AY&SY", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"]
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(junk=st.binary(max_size=200))
def test_any_junk_behind_a_magic_is_malformed(reasons: Reasons, magic: bytes, junk: bytes) -> None:
    assert set(reasons(magic + junk)) <= {Reason.MALFORMED}
