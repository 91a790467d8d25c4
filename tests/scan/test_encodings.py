import base64
import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.scan import encodings

DATA = b"The quick brown fox jumps over the lazy dog \x00\xff" * 5
ENCODED = base64.encodebytes(DATA)


@pytest.mark.parametrize(
    "body",
    [
        ENCODED,
        ENCODED.replace(b"\n", b"\r\n"),
        ENCODED.replace(b"\n", b" \t!\r\n*-"),
        ENCODED.rstrip(b"=\n"),
        ENCODED + b"\n\n\n",
        b"\n" + ENCODED,
        ENCODED.rstrip() + b"=====",
    ],
    ids=["plain", "crlf", "junk", "no padding", "blank lines", "leading line", "too much padding"],
)
def test_base64_is_decoded_however_it_is_broken(body: bytes) -> None:
    assert encodings.decode_transfer(body, "base64")[0] == DATA


def test_base64_behind_padding_has_two_readings() -> None:
    body = base64.b64encode(b"first") + b"\n" + base64.b64encode(b"second!")
    assert encodings.decode_transfer(body, "base64") == [b"first", b"firstsecond!"]


def test_a_torn_base64_end_keeps_what_is_whole() -> None:
    assert encodings.decode_transfer(b"QUJDR", "base64") == [b"ABC"]
    assert encodings.decode_transfer(b"QUJDRA", "base64") == [b"ABCD"]


@pytest.mark.parametrize(
    "encoding", ["BASE64", " base64 ", "base64 (really)", "base64;", '"base64"']
)
def test_the_encoding_may_be_dressed_up(encoding: str) -> None:
    assert encodings.decode_transfer(ENCODED, encoding) == [DATA]


def test_what_is_not_in_its_encoding_is_said_so() -> None:
    assert encodings.decode_transfer(b"\xff\xfe ...", "base64") == []
    assert encodings.decode_transfer(b"no begin line", "x-uuencode") == []


def test_nothing_decodes_to_nothing() -> None:
    assert encodings.decode_transfer(b"", "base64") == [b""]
    assert encodings.decode_transfer(b"\r\n", "base64") == [b""]


def test_quoted_printable_with_errors() -> None:
    body = b"a=3Db=\r\nc=ZZ =41 = \r\n="
    assert encodings.decode_transfer(body, "quoted-printable") == [
        b"a=bc=ZZ A = \r\n",
        b"a=bcZZ A ",
    ]


def test_unknown_encodings_leave_the_text() -> None:
    assert encodings.decode_transfer(b"QUJD", "rot13") == [b"QUJD"]


def test_uuencode_with_a_wrong_line_and_trailing_blanks_left_out() -> None:
    lines = codecs.encode(DATA, "uu").replace(b"begin 666", b"begin 644").splitlines()
    body = b"text in front\r\n" + b"\r\n".join(line.rstrip() for line in lines) + b"\r\nend\r\n"
    assert encodings.decode_transfer(body, "x-uuencode") == [DATA]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("=?utf-8?B?w6QuZXhl?=", "ä.exe"),
        ("=?iso-8859-1?q?=E4=2Eexe?=", "ä.exe"),
        ("=?utf-8?Q?in?= =?utf-8?Q?voice?=.pdf", "invoice.pdf"),
        ("=?utf-8*de?Q?a_b?=", "a b"),
        ("=?unknown?Q?abc?=", "abc"),
        ("=?utf-8?B?####?=", ""),
        ("=?base64?B?QUJD?=", "ABC"),
        ("plain", "plain"),
    ],
)
def test_encoded_words(words: str, text: str) -> None:
    assert encodings.decode_words(words) == text


@pytest.mark.parametrize("charset", ["utf-16le", "utf-16be", "utf-32le", "utf-7"])
def test_wide_text_becomes_utf8(charset: str) -> None:
    assert encodings.to_utf8("<script>ä".encode(charset), charset) == "<script>ä".encode()


@pytest.mark.parametrize("charset", ["utf-16", "utf-32"])
def test_a_byte_order_mark_says_how_to_read_a_text(charset: str) -> None:
    wide = "<script>ä".encode(charset)
    assert encodings.text(wide) == "<script>ä"
    assert encodings.to_utf8(wide, charset) is None


@given(st.binary(), st.sampled_from(["base64", "quoted-printable", "uuencode", "8bit", ""]))
def test_any_bytes_can_be_decoded(body: bytes, encoding: str) -> None:
    for reading in encodings.decode_transfer(body, encoding):
        encodings.to_utf8(reading, "utf-16")


@given(st.text(), st.text())
def test_any_words_can_be_decoded(text: str, charset: str) -> None:
    encodings.decode_words(f"=?{charset}?B?{text}?= =?{charset}?q?{text}?=")
    encodings.decode(b"abc", charset)
