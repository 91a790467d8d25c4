"""Compiled macros are read for their texts and names, and held against their source."""

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mailward.scan.documents import vba_pcode
from mailward.scan.documents.compound_file import CompoundFile
from mailward.scan.verdict import Ambiguity, Doubt
from tests.scan.documents.build import compound_file, vba_project
from tests.scan.documents.conftest import Everything

Files = Callable[..., dict[str, bytes]]
Scan = Callable[..., Everything]

LOAD, CALL, CONCATENATE, LITERAL, COMMENT = 0x20, 0x41, 0x11, 0xB9, 0xE0
HARMLESS = b'Attribute VB_Name = "M"\r\nSub Nothing()\r\nEnd Sub\r\n'


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def literal(text: bytes, opcode: int = LITERAL) -> bytes:
    between = words(0) if opcode == COMMENT else b""  # its column
    return words(opcode) + between + words(len(text)) + text + b"\0" * (len(text) % 2)


def module(*lines: bytes) -> bytes:
    """The head of a module stream is not read."""
    table, code = b"", b""
    for line in lines:
        offset = len(code) if line else 0xFFFFFFFF
        table += struct.pack("<4sHHL", b"\0\x81\x08\4", len(line), 0, offset)
        code += line + bytes(-len(line) % 8)
    head = b"\x01\x16\x03\0" + bytes(700)
    gap = b"\xff\xff\xff\xff\1\1" + struct.pack("<L", len(code))
    return head + b"\xfe\xca\1\0" + struct.pack("<H", len(lines)) + table + gap + code


def name(text: bytes, kind: int = 4) -> bytes:
    more = bytes(6) if kind & 0x80 else b""
    return bytes((len(text), kind)) + more + text + b"\xad\x23\x10\0"


def stomped(*lines: bytes, source: bytes = HARMLESS) -> bytes:
    names = b"".join((name(b"Project1"), name(b"Run", 0x80), name(b"x"), name(b"Item")))
    return compound_file(vba_project({"M": source}, module(*lines), bytes(30) + names))


def test_texts_that_the_source_does_not_have_are_given_line_by_line(files: Files) -> None:
    pieces = b"".join(map(literal, (b"W", b"Script", b".She", b"ll")))
    data = stomped(
        pieces + words(CONCATENATE) * 3 + words(CALL, 0x232, 1),
        b"",
        literal(b"http://example.com/a.exe") + words(CALL, 0x234, 1),
        literal(b" fetch it", COMMENT),
        literal(b'say "hello" now'),
    )
    found = files(data)["a/p-code:project.txt"]
    assert found.splitlines() == [
        b"' names of the project", b"Project1", b"Run", b"x", b"Item", b"' module M",
        b'"W" & "Script" & ".She" & "ll"', b'"http://example.com/a.exe"', b'" fetch it"',
        b'"say ""hello"" now"',
    ]  # fmt: skip


def test_vba_stomping_source_replaced_is_told(scan: Scan) -> None:
    found = scan(stomped(literal(b"http://example.com/a.exe")))
    [told] = [f for f in found if isinstance(f, Ambiguity)]
    assert told.doubt is Doubt.MACRO
    assert "text that its source has not" in told.detail


def test_honest_macros_are_neither_ambiguous_nor_given_twice(scan: Scan, files: Files) -> None:
    source = (
        b'Attribute VB_Name = "M"\r\nSub A() \' It is\r\nMsgBox "say ""hello"" _ now"\r\n'
        b"Rem as it was\r\nEnd Sub\r\n"
    )
    data = stomped(
        literal(b" It is ", COMMENT),
        literal(b"as it was", COMMENT),
        literal(b'say "hello" _ now') + words(CALL, 0x232, 1),
        source=source,
    )  # fmt: skip
    assert not [f for f in scan(data) if isinstance(f, Ambiguity)]
    assert not [path for path in files(data) if "p-code" in path]


def test_what_is_compiled_and_has_no_source_is_given(files: Files) -> None:
    found = files(stomped(literal(b"http://example.com/a.exe"), source=b""))
    assert b"http://example.com/a.exe" in found["a/p-code:project.txt"]


def test_names_without_a_hash_behind_them_are_words_of_the_language() -> None:
    row = bytes(20) + b"\3\x80" + bytes(6) + b"rem" + name(b"Excel") + name(b"i") + name(b"Shell")
    assert list(vba_pcode.names(row)) == [b"rem", b"Excel", b"i", b"Shell"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xfe\xca\1\0",
        b"\xfe\xca\1\0\xff\xff",
        b"\xfe\xca\1\0\xff\xff" + bytes(99),
        b"\xfe\xca\1\0\1\0" + struct.pack("<4sHHL", b"", 0xFFFF, 0, 0xFFFFFFF0) + bytes(99),
        b"\xb9\0\xff\xff" * 500,
        b"\x40\0" + b"a" * 300_000,
    ],
)
def test_torn_code_is_survived(data: bytes) -> None:
    assert not list(vba_pcode.lines(data))
    list(vba_pcode.names(data))


def test_lines_that_all_lie_in_one_place_cost_no_more_than_one() -> None:
    text = literal(b"a" * 1000)
    one = struct.pack("<4sHHL", b"", len(text), 0, 0)
    data = b"\xfe\xca\1\0" + struct.pack("<H", 50_000) + one * 50_000 + bytes(10) + text
    assert len(list(vba_pcode.lines(data))) == 1


def test_any_damage_is_survived(scan: Scan) -> None:
    whole = module(literal(b"http://example.com/a.exe"), literal(b"cmd"), words(LOAD, 0x232))
    numbers = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole[700 : numbers.randrange(700, len(whole))] + bytes(4))
        damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        list(vba_pcode.lines(bytes(damaged)))
        list(vba_pcode.names(bytes(damaged)))


@pytest.mark.shared
def test_a_real_document_is_understood(shared: Path) -> None:
    [path] = list((shared / "clean").rglob("testWORD_macros.doc"))[:1]
    file = CompoundFile(path.read_bytes())
    streams = {stream.name: file.read(stream, 1 << 20) for stream in file.streams}
    lines = list(vba_pcode.lines(streams["NewMacros"]))
    assert lines == [[b" Embolden Macro"], [b" Italicize Macro"]]
    names = list(vba_pcode.names(streams["_VBA_PROJECT"]))
    assert names[names.index(b"NewMacros") :][:6] == [
        b"NewMacros", b"Embolden", b"Selection", b"Font", b"Bold", b"wdToggle",
    ]  # fmt: skip


def test_texts_without_end_are_not_looked_for_without_end() -> None:
    many = [literal(b"text %d" % number) for number in range(30_000)]
    source = b"Rem " + b"x" * 500_000
    assert vba_pcode.says_more(module(*many), source)
    assert vba_pcode.says_more(module(*many), source + b" ".join(b"text %d" % n for n in range(9)))
