"""The text format of hash signatures: the quick reader says what the plain one says."""

import io
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailward.scan.engines.hash_lines import (
    LINE_MAX_BYTES,
    SIZE_MAX,
    Entry,
    blocks,
    read_block,
    read_line,
)
from mailward.scan.engines.hash_table import ANY_SIZE

MD5 = b"0123456789abcdef0123456789abcdef"


def test_reads_every_digest_with_and_without_size() -> None:
    for width in (16, 20, 32):
        digest = bytes(range(width))
        text = digest.hex().encode()
        assert read_line(text + b":12:a name: b") == Entry(digest, 12, b"a name: b")
        assert read_line(text + b":*:n") == Entry(digest, ANY_SIZE, b"n")
        assert read_line(text + b":%d:n" % SIZE_MAX) == Entry(digest, SIZE_MAX, b"n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not digest:size:name"),
        (MD5, "not digest:size:name"),
        (MD5 + b":1", "not digest:size:name"),
        (MD5[1:] + b":1:n", "as long as"),
        (MD5 + b"0:1:n", "as long as"),
        (MD5.upper() + b":1:n", "lower-case"),
        (b" " + MD5[1:] + b":1:n", "lower-case"),
        (MD5 + b"::n", "size"),
        (MD5 + b":+1:n", "size"),
        (MD5 + b":1_0:n", "size"),
        (MD5 + b":**:n", "size"),
        (MD5 + b":%d:n" % (SIZE_MAX + 1), "size"),
        (MD5 + b":00000000000001:n", "size"),
        (MD5 + b":1:", "no name"),
        (MD5 + b":1:" + b"n" * 301, "longer than 300"),
        (MD5 + b":1:a\rb", "control"),
        (MD5 + b":1:a\0b", "control"),
        (MD5 + b":1:" + "a\u202eb".encode(), "control or invisible"),
        (MD5 + b":1:\xff", "UTF-8"),
        (b"x" * (LINE_MAX_BYTES + 1), "longer than"),
    ],
)
def test_says_why_a_line_is_bad(line: bytes, reason: str) -> None:
    answer = read_line(line)
    assert isinstance(answer, str)
    assert reason in answer
    assert [bad.reason for bad in read_block(line + b"\n", 1).bad] == ([answer] if line else [])


_DIGESTS = [MD5, MD5 + b"01234567", MD5 * 2, MD5.upper(), b""]
_SIZES = [b"*", b"0", b"17", b"99999999999999", b"%d" % SIZE_MAX, b"-1"]
_NAMES = [b"name", b"na:me", "größe".encode(), b"\xff", b"a\tb", b"n" * 400]
_FIELD = st.sampled_from(_DIGESTS + _SIZES + _NAMES)
_HEX = st.sampled_from([32, 40, 64]).flatmap(
    lambda n: st.text("0123456789abcdef", min_size=n, max_size=n)
)
_SIZE = st.integers(0, SIZE_MAX + 1).map(str) | st.text("0*9/:", max_size=3)
_LINES = st.lists(
    st.one_of(
        st.lists(_FIELD, min_size=1, max_size=4).map(b":".join),
        st.tuples(_HEX, _SIZE, st.text(max_size=12)).map(
            lambda fields: ":".join(fields).encode(errors="replace")
        ),
        st.binary(max_size=100),
    ).map(lambda line: line.replace(b"\n", b"")),
    max_size=12,
)


@given(lines=_LINES, last_ends=st.booleans())
@example(lines=[b":", b"::", b"", MD5 + b":"], last_ends=False)
def test_the_quick_reader_agrees_with_the_plain_one(lines: list[bytes], last_ends: bool) -> None:
    text = b"\n".join(lines) + (b"\n" if last_ends else b"")
    found = read_block(text, 10) if text else None
    answers = {number: read_line(line) for number, line in enumerate(lines, 10) if line}
    entries = [
        Entry(digest.tobytes(), size, name)
        for group in (found.entries.values() if found else ())
        for digest, size, name in zip(group.digests, group.sizes.tolist(), group.names, strict=True)
    ]
    key = repr
    assert sorted(entries, key=key) == sorted(
        (answer for answer in answers.values() if isinstance(answer, Entry)), key=key
    )
    assert [(bad.line, bad.reason) for bad in (found.bad if found else ())] == [
        (number, answer) for number, answer in answers.items() if isinstance(answer, str)
    ]


def test_blocks_are_whole_lines_with_their_numbers() -> None:
    lines = [b"x" * random.Random(n).randrange(200) for n in range(100_000)]
    text = b"\n".join(lines)
    pieces = list(blocks(io.BytesIO(text)))
    assert b"".join(block for _, block in pieces) == text
    assert len(pieces) > 1
    for number, block in pieces:
        assert block.split(b"\n", 1)[0] == lines[number - 1]


def test_a_line_without_end_takes_no_memory() -> None:
    text = b"a" * 20_000_000 + b"\n" + MD5 + b":1:n\n" + b"b" * 10_000_000
    pieces = list(blocks(io.BytesIO(text)))
    assert max(len(block) for _, block in pieces) < 5_000_000
    found = [read_block(block, number) for number, block in pieces]
    assert [bad.line for piece in found for bad in piece.bad] == [1, 3]
    assert [entries.names for piece in found for entries in piece.entries.values()] == [[b"n"]]
