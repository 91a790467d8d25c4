"""Mail that means one thing to a scanner and another to a mail client: every reading is scanned.

Each test hides a program in a reading that some client makes, and harmless text in the other.
"""

import base64
import binascii
from collections.abc import Iterable

import pytest

from mailward.scan.budget import Budget
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.scan.verdict import Ambiguity, Doubt, OwnPassword, Unopened
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR, message

HEAD = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
BASE64 = base64.encodebytes(EICAR).replace(b"\n", b"\r\n")
PROGRAM = (
    b"Content-Type: application/octet-stream\r\n"
    b"Content-Disposition: attachment; filename=a.com\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n" + BASE64
)
TEXT = b"Content-Type: text/plain\r\n\r\nHello\r\n"


def scan(data: bytes) -> list[Part | Unopened | Ambiguity | OwnPassword]:
    budget = Budget(ScanSettings())
    return list(parts(data, role=Role.MESSAGE, name="", budget=budget))


def reaches(data: bytes, content: bytes = EICAR) -> bool:
    """Whether some part is ``content`` and nothing else."""
    return any(isinstance(p, Part) and p.data.rstrip() == content for p in scan(data))


def doubts(data: bytes) -> set[Doubt]:
    return {found.doubt for found in scan(data) if isinstance(found, Ambiguity)}


def multipart(fields: Iterable[bytes], *sections: bytes, boundary: bytes = b"b") -> bytes:
    body = b"".join(b"--" + boundary + b"\r\n" + section for section in sections)
    return HEAD + b"\r\n".join((*fields, b"", body)) + b"--" + boundary + b"--\r\n"


MIXED = b"Content-Type: multipart/mixed; boundary=b"


def test_plain_mail_has_one_reading() -> None:
    assert doubts(message()) == set()
    assert doubts(multipart([MIXED], TEXT, PROGRAM)) == set()
    assert reaches(multipart([MIXED], TEXT, PROGRAM))


@pytest.mark.parametrize("order", [1, -1], ids=["the first counts", "the last counts"])
def test_two_content_types(order: int) -> None:
    """Outlook takes the last, Thunderbird and the standard library the first."""
    fields = [MIXED, b"Content-Type: text/plain"][::order]
    data = multipart(fields, TEXT, PROGRAM)
    assert reaches(data)
    assert doubts(data)


@pytest.mark.parametrize("order", [1, -1], ids=["the first counts", "the last counts"])
def test_two_transfer_encodings(order: int) -> None:
    lines = [b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: 7bit"][::order]
    data = multipart([MIXED], b"\r\n".join((b"Content-Type: text/plain", *lines, b"", BASE64)))
    assert reaches(data)
    assert Doubt.HEADER in doubts(data)


@pytest.mark.parametrize("named", [b"boundary=b; boundary=c", b"boundary=c; boundary=b"])
def test_two_boundaries(named: bytes) -> None:
    data = multipart([b"Content-Type: multipart/mixed; " + named], PROGRAM)
    data += b"--c\r\n" + TEXT + b"--c--\r\n"
    assert reaches(data)
    assert Doubt.STRUCTURE in doubts(data)


@pytest.mark.parametrize(
    "value",
    [
        b'multipart/mixed; boundary="b',
        b"multipart/mixed; boundary=(comment)b",
        b"multipart/mixed; boundary=b (comment)",
        b"(comment) multipart/mixed; boundary=b",
        b"multipart/mixed boundary=b",
        b"multipart; boundary=b",
        b"multipart/mixed;\r\n\tboundary=\r\n b",
        b'multipart/mixed; boundary="\\b"',
        b"multipart/mixed; boundary*=us-ascii''b",
        b"multipart/mixed; boundary*0=b; boundary*1=",
        b"multipart/mixed; boundary==?us-ascii?Q?b?=",
        b"multi\0part/mixed; boundary=b",
        b"multipart/mixed; boundary=b\0c",
        b"multipart/mixed\xff; boundary=b",
        b"text/plain; multipart/mixed; boundary=b",
    ],
)
def test_a_boundary_or_type_dressed_up(value: bytes) -> None:
    """Comments, folds, quoted pairs, RFC 2231 and RFC 2047 forms: clients undo some of them."""
    assert reaches(multipart([b"Content-Type: " + value], PROGRAM))


@pytest.mark.parametrize(
    "value",
    [b"base64 (really)", b"(7bit) base64", b'"base64"', b"base64;", b"x base64", b"7bit base64",
     b"\0base64", b"BASE64\xff", b"base64,7bit"],
)  # fmt: skip
def test_a_transfer_encoding_dressed_up(value: bytes) -> None:
    section = b"Content-Transfer-Encoding: " + value + b"\r\n\r\n" + BASE64
    assert reaches(multipart([MIXED], section))


@pytest.mark.parametrize("value", [b"x-unknown", b"ba\r\n se64", b"base-64", b"64"])
def test_an_encoding_that_nobody_knows(value: bytes) -> None:
    """RFC 2045 has it shown as it is; some clients look whether it is base64."""
    data = multipart([MIXED], b"Content-Transfer-Encoding: " + value + b"\r\n\r\n" + BASE64)
    assert reaches(data)
    assert Doubt.ENCODING in doubts(data)
    text = multipart([MIXED], b"Content-Transfer-Encoding: " + value + b"\r\n\r\nNo letters\r\n")
    assert doubts(text) == set()


def test_plain_content_under_an_encoding_with_a_comment() -> None:
    section = b"Content-Transfer-Encoding: 8bit base64\r\n\r\n" + EICAR + b"\r\n"
    assert reaches(multipart([MIXED], section))


def test_a_line_that_is_no_field_before_the_transfer_encoding() -> None:
    """Python and Go end the header there, Outlook and Gmail skip the line."""
    section = b"Content-Type: text/plain\r\nno field here\r\nContent-Transfer-Encoding: base64\r\n"
    data = multipart([MIXED], section + b"\r\n" + BASE64)
    assert reaches(data)
    assert Doubt.HEADER in doubts(data)


def test_a_line_of_blanks_ends_the_header_or_does_not() -> None:
    section = b"Content-Type: text/plain\r\n \r\nContent-Transfer-Encoding: base64\r\n\r\n"
    data = multipart([MIXED], section + BASE64)
    assert reaches(data)
    plain = b"Content-Transfer-Encoding: quoted-printable\r\n \r\nX: \r\n\r\n" + EICAR
    assert any(EICAR in part.data for part in scan(plain)[1:] if isinstance(part, Part))


@pytest.mark.parametrize("blank", [b"\r\n", b"\n\n", b" \t\r\n\r\n"])
def test_blank_lines_in_front_of_a_header(blank: bytes) -> None:
    data = multipart([MIXED], blank + b"X-A: 1\r\n 2\r\n" + PROGRAM)
    assert reaches(data)
    assert Doubt.HEADER in doubts(data)
    assert reaches(blank + multipart([MIXED], PROGRAM))
    text = multipart([MIXED], blank + b"Contents: 1\r\nContent-Type is a field\r\n")
    assert doubts(text) == set()


@pytest.mark.parametrize("name", [b"Con\0tent", b"\0Content", b"Content\xff", b"\x01Content"])
def test_control_and_8_bit_characters_in_a_field_name(name: bytes) -> None:
    section = b"Content-Type: text/plain\r\n" + name + b"-Transfer-Encoding: base64\r\n\r\n"
    assert reaches(multipart([MIXED], section + BASE64))


def test_a_bare_cr_that_ends_a_header_line_or_does_not() -> None:
    """Postfix and sendmail keep it, mail clients on Windows and macOS differ."""
    fields = b"X-A: 1\rContent-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    assert reaches(multipart([MIXED], fields + BASE64))
    fields = b"X-A: 1\r\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    assert reaches(multipart([MIXED], fields + BASE64))


def test_a_boundary_that_is_the_beginning_of_another_line() -> None:
    """RFC 2046 compares the beginning, most clients the whole line."""
    data = multipart([MIXED], TEXT + b"--b-x\r\n" + PROGRAM)
    assert reaches(data)
    assert doubts(data) == {Doubt.STRUCTURE}
    hidden = multipart([MIXED], PROGRAM.replace(b"\r\n\r\n", b"\r\n--bogus: x\r\n\r\n"))
    assert reaches(hidden)


def test_a_delimiter_at_a_bare_cr() -> None:
    data = multipart([MIXED], b"Content-Type: text/plain\r\n\r\nHello\r--b\r" + PROGRAM)
    assert reaches(data)
    split = multipart([MIXED], PROGRAM[:-40] + b"\r--b\r" + PROGRAM[-40:])
    assert Doubt.STRUCTURE in doubts(split)
    assert reaches(multipart([MIXED], b"Content-Type: text/plain\r\n\r\n" + EICAR + b"\r--b\r\n"))


def test_missing_ends() -> None:
    data = multipart([MIXED], TEXT, PROGRAM)
    torn = data[: data.rindex(b"--b--")]
    assert reaches(torn)
    assert doubts(torn) == {Doubt.STRUCTURE}


def test_a_multipart_declared_as_text() -> None:
    data = multipart([b"Content-Type: text/plain"], PROGRAM)
    assert reaches(data)
    assert Doubt.STRUCTURE in doubts(data)
    data = multipart([b"Content-Type: text/plain; boundary=b"], PROGRAM)
    assert reaches(data)
    assert Doubt.STRUCTURE in doubts(data)


def test_a_multipart_without_a_boundary_that_clients_guess() -> None:
    data = multipart([b"Content-Type: multipart/mixed"], PROGRAM)
    assert reaches(data)
    assert Doubt.STRUCTURE in doubts(data)


def test_an_empty_boundary() -> None:
    data = (
        HEAD + b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n' + PROGRAM + b"----\r\n"
    )
    assert reaches(data)
    assert Doubt.STRUCTURE in doubts(data)


def test_a_multipart_in_base64() -> None:
    inner = b"--b\r\n" + PROGRAM + b"--b--\r\n"
    data = HEAD + MIXED + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    data += base64.encodebytes(inner)
    assert reaches(data)
    assert Doubt.STRUCTURE in doubts(data)


@pytest.mark.parametrize("where", ["before", "between", "behind"])
def test_text_outside_of_parts(where: str) -> None:
    encoded = b"begin 644 a.com\r\n"
    encoded += b"".join(binascii.b2a_uu(EICAR[i : i + 45]) for i in range(0, len(EICAR), 45))
    encoded += b"`\nend\n"
    body = {
        "before": encoded + b"--b\r\n" + TEXT + b"--b--\r\n",
        "between": b"--b\r\n" + TEXT + b"--b--\r\n" + encoded + b"--b\r\n" + TEXT + b"--b--\r\n",
        "behind": b"--b\r\n" + TEXT + b"--b--\r\n" + encoded,
    }[where]
    data = HEAD + MIXED + b"\r\n\r\n" + body
    assert reaches(data)
    assert doubts(data) == {Doubt.STRUCTURE}


@pytest.mark.parametrize("before", [True, False])
def test_fields_outside_of_parts(before: bool) -> None:
    part = b"--b\r\n" + TEXT + b"--b--\r\n"
    data = HEAD + MIXED + b"\r\n\r\n" + (PROGRAM + part if before else part + PROGRAM)
    assert reaches(data)
    assert doubts(data) == {Doubt.STRUCTURE}


def test_parts_behind_the_end() -> None:
    assert reaches(multipart([MIXED], TEXT) + b"--b\r\n" + PROGRAM + b"--b--\r\n")


def test_the_same_boundary_outside_and_inside() -> None:
    inner = MIXED + b"\r\n\r\n--b\r\n" + PROGRAM + b"--b--\r\n"
    assert reaches(multipart([MIXED], inner))


@pytest.mark.parametrize(
    "body",
    [
        base64.b64encode(b"junk") + b"\r\n" + BASE64,
        BASE64 + b"-- \r\nlist footer\r\n",
        BASE64[:30] + b"!!!" + BASE64[30:],
        BASE64.rstrip(b"=\r\n"),
        b"\r\n\r\n" + BASE64,
        base64.urlsafe_b64encode(b"\xfb\xff" + EICAR),
    ],
    ids=["two runs", "footer", "junk", "no padding", "blank lines", "URL alphabet"],
)
def test_broken_base64(body: bytes) -> None:
    data = multipart([MIXED], b"Content-Transfer-Encoding: base64\r\n\r\n" + body)
    assert any(EICAR in part.data for part in scan(data) if isinstance(part, Part))


def test_base64_with_junk_that_some_decoders_stop_at() -> None:
    body = BASE64.strip() + b"\r\n!!!!\r\nQUJD\r\n"
    data = multipart([MIXED], b"Content-Transfer-Encoding: base64\r\n\r\n" + body)
    assert reaches(data)


@pytest.mark.parametrize("odd", [b"= \r\n", b"=\r\r\n", b"==", b"=", b"=\t\r\n"])
def test_broken_quoted_printable(odd: bytes) -> None:
    encoded = EICAR[:10] + odd + b"=%02X" % EICAR[10] + EICAR[11:]
    data = multipart([MIXED], b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + encoded)
    assert any(EICAR in part.data for part in scan(data) if isinstance(part, Part))


def names(data: bytes) -> set[str]:
    return {part.name for part in scan(data) if isinstance(part, Part)}


@pytest.mark.parametrize(
    "fields",
    [
        b'Content-Type: text/plain; name="a.txt"\r\n'
        b'Content-Disposition: attachment; filename="a.com"',
        b'Content-Type: text/plain; name="a.com"\r\n'
        b'Content-Disposition: attachment; filename="a.txt"',
        b"Content-Disposition: attachment; filename=a.txt; filename=a.com",
        b"Content-Disposition: attachment; filename=a.txt; filename*=utf-8''a.com",
        b"Content-Disposition: attachment; filename=a.com; filename*=utf-8''a.txt",
        b'Content-Disposition: attachment; filename="a.txt"\r\n'
        b'Content-Disposition: attachment; filename="a.com"',
        b'Content-Disposition: attachment; filename="a.com\0.txt"',
    ],
)
def test_a_file_with_two_names(fields: bytes) -> None:
    """Outlook prefers the name of the Content-Type, others the filename of the disposition."""
    data = multipart([MIXED], fields + b"\r\n\r\nx\r\n")
    assert "a.com" in names(data)
    assert Doubt.NAME in doubts(data) or Doubt.HEADER in doubts(data)


def test_a_name_torn_between_two_encoded_words() -> None:
    first = base64.b64encode("ä.c".encode()[:1]).decode()
    second = base64.b64encode("ä.com".encode()[1:]).decode()
    field = f'Content-Disposition: attachment; filename="=?utf-8?B?{first}?= =?utf-8?B?{second}?="'
    assert "ä.com" in names(multipart([MIXED], field.encode() + b"\r\n\r\nx\r\n"))


def test_a_name_with_a_dot_at_its_end_is_opened_without() -> None:
    field = b"Content-Disposition: attachment; filename=a.com."
    assert "a.com" in names(multipart([MIXED], field + b"\r\n\r\nx\r\n"))


def test_a_message_that_comes_back_quoted_in_a_text_is_looked_into() -> None:
    quoted = b"\r\n--- Below is a copy of the message.\r\n\r\n" + multipart([MIXED], TEXT, PROGRAM)
    data = HEAD + b"\r\nYour message could not be delivered.\r\n" + quoted
    assert reaches(data)
    assert doubts(data) == set()


def test_readings_of_readings_end_at_a_limit() -> None:
    odd = b"Content-Type: multipart/mixed; boundary=b%d; boundary=b\r\nContent-Type: text/plain\r\n"
    data = b"".join((odd % i) + b"\r\n--b%d\r\n" % i for i in range(90)) + PROGRAM
    budget = Budget(ScanSettings())
    found = list(parts(data, role=Role.MESSAGE, name="", budget=budget))
    assert budget.parts < 2000
    assert any(isinstance(f, Unopened) and "ways to read it" in f.detail for f in found)
