import base64
import binascii
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.scan import containers
from mailward.scan.budget import Budget
from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR

BINHEX = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def unpack(text: bytes) -> list[Found]:
    return list(containers.unpack(text, "", "text/plain", Budget(ScanSettings())) or ())


def files(text: bytes) -> list[tuple[str, bytes]]:
    return [(p.name, p.data) for p in unpack(text) if isinstance(p, Piece)]


def uuencoded(name: bytes, data: bytes) -> bytes:
    lines = b"".join(binascii.b2a_uu(data[i : i + 45]) for i in range(0, len(data), 45))
    return b"begin 644 " + name + b"\n" + lines + b"`\nend\n"


def yencoded(name: bytes, data: bytes) -> bytes:
    out = bytearray()
    for byte in data:
        shifted = (byte + 42) % 256
        out += bytes((61, (shifted + 64) % 256)) if shifted in b"\0\r\n=" else bytes((shifted,))
        if len(out) % 100 == 0:
            out += b"\r\n"
    size = b"%d" % len(data)
    head = b"=ybegin line=128 size=" + size + b" name=" + name + b"\r\n"
    return head + out + b"\r\n=yend size=" + size + b"\r\n"


def binhexed(name: bytes, data: bytes, resource: bytes = b"") -> bytes:
    header = bytes((len(name),)) + name + b"\0" + b"TEXTttxt" + struct.pack(
        ">HLL", 0, len(data), len(resource)
    )  # fmt: skip
    packed = b"\0\0".join((header, data, resource, b"")).replace(b"\x90", b"\x90\0")
    letters = base64.b64encode(packed).rstrip(b"=").translate(bytes.maketrans(STANDARD, BINHEX))
    lines = b"\r\n".join(letters[i : i + 64] for i in range(0, len(letters), 64))
    return b"(This file must be converted with BinHex 4.0)\r\n:" + lines + b":\r\n"


@pytest.mark.parametrize("encode", [uuencoded, yencoded, binhexed])
def test_files_in_a_text_are_found_wherever_they_stand(encode) -> None:  # type: ignore[no-untyped-def]
    data = bytes(range(256)) * 2 + EICAR
    one, two = encode(b"a.com", data), encode(b"b.com", EICAR)
    text = b"Hello,\r\n\r\n" + one + b"and\r\n" + two + b"Regards\r\n"
    assert files(text) == [("a.com", data), ("b.com", EICAR)]


def test_uuencode_in_its_base64_form() -> None:
    text = b"begin-base64 644 a.com\n" + base64.encodebytes(EICAR) + b"====\n"
    assert files(text) == [("a.com", EICAR)]


def test_a_torn_file_is_read_as_far_as_it_goes() -> None:
    [(_, found)] = files(uuencoded(b"a.com", EICAR * 3)[:-90])
    assert EICAR in found


def test_runs_in_binhex_are_expanded_within_the_room_there_is() -> None:
    header = b"\1a\0TEXTttxt" + struct.pack(">HLL", 0, 100_000, 0) + b"\0\0"
    packed = header + b"A" + b"\x90\xff" * 1000
    letters = base64.b64encode(packed).rstrip(b"=").translate(bytes.maketrans(STANDARD, BINHEX))
    text = b"(This file must be converted with BinHex 4.0)\r\n:" + letters + b":\r\n"
    [(_, found)] = files(text)
    assert found == b"A" * 100_000
    budget = Budget(ScanSettings(max_part_bytes=5000))
    small = list(containers.unpack(text, "", "", budget) or ())
    assert isinstance(small[0], Piece)
    assert len(small[0].data) < 5002


def test_both_forks_of_a_binhex_file_are_given() -> None:
    assert files(binhexed(b"a", b"data", b"resource")) == [("a", b"data"), ("a.rsrc", b"resource")]


def test_words_that_look_like_the_beginning_of_a_file_are_none() -> None:
    assert files(b"begin 644 times\r\n\r\nand end\r\n") == []
    assert files(b"We begin 644 a\r\n") == []


def test_a_binhex_file_that_cannot_be_decoded_is_malformed() -> None:
    [shut] = unpack(b"(This file must be converted with BinHex 4.0)\r\n\r\n:::")
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.MALFORMED


@given(st.binary(), st.sampled_from([uuencoded, yencoded, binhexed]), st.integers(0, 300))
def test_any_damage_is_survived(junk: bytes, encode, at: int) -> None:  # type: ignore[no-untyped-def]
    text = encode(b"a.com", EICAR * 3)
    files(text[:at] + junk + text[at:])
    files(text[:at])
