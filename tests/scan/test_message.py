import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.scan import message
from mailward.scan.budget import Budget
from mailward.scan.contents import Found, Fragment, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason
from mailward.settings.scan import ScanSettings


def read(data: bytes) -> list[Found]:
    return list(message.read(data, Budget(ScanSettings())))


def pieces(data: bytes) -> list[Piece]:
    return [found for found in read(data) if isinstance(found, Piece)]


def mixed(*parts: bytes, end: bytes = b"\r\n--b--\r\n", head: bytes = b'boundary="b"') -> bytes:
    body = b"".join(b"\r\n--b\r\n" + part for part in parts)
    return b"Subject: x\r\nContent-Type: multipart/mixed; " + head + b"\r\n" + body + end


def attached(name: bytes, data: bytes, *fields: bytes) -> bytes:
    disposition = b"Content-Disposition: attachment; " + name
    return b"\r\n".join((disposition, *fields, b"", data))


def test_a_plain_message_has_one_body() -> None:
    [body] = pieces(b"From: a@b\r\nSubject: x\r\n\r\nHello\r\n")
    assert (body.data, body.role, body.content_type, body.label) == (
        b"Hello\r\n", Role.BODY, "text/plain", "1",
    )  # fmt: skip


@pytest.mark.parametrize("eol", [b"\r\n", b"\n", b"\r"])
def test_parts_are_numbered_and_decoded_whatever_the_line_ends(eol: bytes) -> None:
    data = mixed(
        b"Content-Type: text/html\r\n\r\n<b>",
        attached(
            b'filename="a.exe"', base64.b64encode(b"MZ"), b"Content-Transfer-Encoding: base64"
        ),
    )
    html, program = pieces(data.replace(b"\r\n", eol))
    assert (html.data, html.role, html.label) == (b"<b>", Role.BODY, "1")
    assert (program.data, program.name, program.role, program.label) == (
        b"MZ", "a.exe", Role.ATTACHMENT, "2",
    )  # fmt: skip


def test_nested_multiparts_are_numbered_as_imap_does() -> None:
    head = b'Content-Type: multipart/alternative; boundary="c"\r\n'
    inner = head + b"\r\n--c\r\n\r\nA\r\n--c\r\n\r\nB\r\n--c--"
    assert [(p.label, p.data) for p in pieces(mixed(inner, b"\r\nC"))] == [
        ("1.1", b"A"), ("1.2", b"B"), ("2", b"C"),
    ]  # fmt: skip


def test_a_message_inside_keeps_its_bytes() -> None:
    inner = b"Subject: inner\r\n\r\nraw  \r\nbytes"
    [found] = pieces(mixed(b"Content-Type: message/rfc822\r\n\r\n" + inner))
    assert (found.role, found.data) == (Role.MESSAGE, inner)


def test_a_message_inside_may_be_encoded_although_it_must_not() -> None:
    inner = b"Subject: inner\r\n\r\nbody"
    fields = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    [found] = pieces(mixed(fields + base64.b64encode(inner)))
    assert (found.role, found.data) == (Role.MESSAGE, inner)


def test_parts_of_a_digest_are_messages() -> None:
    data = mixed(b"\r\nSubject: inner\r\n\r\nbody").replace(b"multipart/mixed", b"multipart/digest")
    assert [p.role for p in pieces(data)] == [Role.MESSAGE]


@pytest.mark.parametrize(
    "name",
    [
        b'filename="\xc3\xa4.exe"',
        b"filename=\xe4.exe",
        b"filename*=utf-8''%C3%A4.exe",
        b"filename*0*=iso-8859-1''%E4; filename*1=.exe",
        b'filename="=?utf-8?B?w6QuZXhl?="',
        b"filename==?iso-8859-1?Q?=E4.exe?=",
        b'filename="=?utf-8?Q?=C3=A4?=\r\n =?utf-8?Q?.exe?="',
    ],
)
def test_names_are_understood_in_every_form(name: bytes) -> None:
    [found] = pieces(mixed(attached(name, b"x")))
    assert found.name == "ä.exe"


def test_a_name_that_the_standard_library_stumbles_over_is_still_seen() -> None:
    [found] = pieces(mixed(attached(b"filename*=a.exe; filename*0=b.exe", b"x")))
    assert found.name in ("a.exe", "b.exe")


def test_the_name_may_stand_in_the_content_type() -> None:
    [found] = pieces(mixed(b'Content-Type: text/plain; name="a.vbs"\r\n\r\nx'))
    assert (found.name, found.role) == ("a.vbs", Role.ATTACHMENT)


def test_a_missing_end_loses_nothing() -> None:
    assert [p.data for p in pieces(mixed(b"\r\nA", b"\r\nB", end=b""))] == [b"A", b"B"]


def test_parts_behind_the_closing_delimiter_are_found() -> None:
    data = mixed(b"\r\nA") + b"epilogue\r\n--b\r\n\r\nB\r\n--b--\r\n"
    assert [p.data for p in pieces(data)] == [b"A", b"B"]


def test_a_boundary_that_begins_like_another_is_another() -> None:
    usual, *_ = pieces(mixed(b"\r\nA\r\n--bb\r\nstill A"))
    assert usual.data == b"A\r\n--bb\r\nstill A"


def test_an_outer_boundary_ends_an_inner_multipart() -> None:
    inner = b'Content-Type: multipart/mixed; boundary="c"\r\n\r\n--c\r\n\r\nA'
    assert [p.data for p in pieces(mixed(inner, b"\r\nB"))] == [b"A", b"B"]


def test_a_multipart_without_its_boundary_is_read_as_text() -> None:
    assert [p.data for p in pieces(mixed(b"\r\nA", head=b"charset=x"))] != []
    [body] = pieces(mixed(b"\r\nA", head=b'boundary="never"'))
    assert b"--b\r\n\r\nA" in body.data


def test_no_blank_line_before_the_body() -> None:
    part = b"Content-Transfer-Encoding: base64\r\n" + base64.b64encode(b"MZ program")
    assert [p.data for p in pieces(mixed(part))] == [b"MZ program"]


def test_utf16_text_is_also_given_as_utf8() -> None:
    text = "<script>".encode("utf-16-le")
    fields = (
        b"Content-Type: text/html; charset=utf-16le\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    raw, readable = pieces(mixed(fields + base64.b64encode(text)))
    assert (raw.data, readable.data, readable.label) == (text, b"<script>", "1.utf-8")


def test_what_is_not_in_its_transfer_encoding_is_unscannable() -> None:
    shut, raw = read(b"Content-Transfer-Encoding: base64\r\n\r\n\x01\x02!!")
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.MALFORMED
    assert isinstance(raw, Piece)
    assert raw.data == b"\x01\x02!!"


def test_one_piece_of_a_split_message_is_told_and_looked_into() -> None:
    header = b'Content-Type: message/partial; number=2;\r\n total="3"; id="a b"\r\n\r\n'
    fragment, inner = read(header + b"Subject: x\r\n\r\nA")
    assert fragment == Fragment(b"a b", 2, 3, b"Subject: x\r\n\r\nA", label="1")
    assert isinstance(inner, Piece)
    assert inner.role is Role.MESSAGE


def test_multiparts_nested_beyond_reason_are_a_limit() -> None:
    data = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i)
        for i in range(2000)
    )
    shut = [found for found in read(data) if isinstance(found, Shut)]
    assert {each.reason for each in shut} == {Reason.LIMIT}
    assert "inside each other" in shut[0].detail


@pytest.mark.parametrize(
    ("data", "name", "is_message"),
    [
        (b"From: a@b\nTo: c@d\nSubject: x\n\nhi", "x", True),
        (b"From someone Mon Nov 23 10:00:00 2026\nReceived: x\nDate: y\n\n", "x", True),
        (b"X-A: 1\nX-B: 2\nReceived: by\n  there\nMIME-Version: 1.0\n\n", "x", True),
        (b"anything", "mail.eml", True),
        (b"Subject: only one\n\nhi", "x", False),
        (b"#!/bin/sh\nfrom: x\n", "x", False),
        (b"", "x", False),
    ],
)
def test_messages_are_recognised_by_their_fields(data: bytes, name: str, is_message: bool) -> None:
    assert message.looks_like_message(data, name) is is_message


def test_a_mailbox_is_split_into_its_messages() -> None:
    one = b"From a@b Mon Nov 23 10:00:00 2026\nSubject: one\n\nFrom here on\n\n"
    two = b"From c@d Mon Nov 23 10:00:01 2026\nSubject: two\n\nbody\n"
    found = [one[start:end] if not start else (one + two)[start:end]
             for start, end in message.mbox_messages(one + two)]  # fmt: skip
    assert [data.split(b"\n")[0] for data in found] == [b"Subject: one", b"Subject: two"]
    assert message.mbox_messages(b"Subject: x\n\n") == []


@given(st.lists(st.sampled_from([
    b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: message/rfc822\r\n",
    b"Content-Transfer-Encoding: base64\r\n", b"\r\n", b"\n", b"\r", b"--b\r\n", b"--b--", b"--",
    b"b", b"boundary=", b"; filename*0*=x''", b"; name*=%", b"Content-Disposition: attachment",
    b"QUJD==", b"=?utf-8?B?", b" ", b"\x00", b"\xff", b"From ", b":",
]), max_size=30))  # fmt: skip
def test_any_arrangement_of_mime_can_be_read(tokens: list[bytes]) -> None:
    read(b"".join(tokens))
    read(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + b"".join(tokens))
