"""What the compiled code of VBA says: names of the project, and the texts of each line.

Its layout is not published. What is relied on was seen in real documents of VBA 7: behind the mark
FE CA 01 00 a module has a count of lines, twelve bytes for each (size at 4, offset at 8), ten
bytes, and the code, in words of 16 bits. A text is a word that gives its length, then its letters,
padded to words. Instructions are not told apart, so that no release of Office is misread.
"""

import re
import struct
from collections.abc import Iterator

from mailward.settings.base import MIB

_MARK = b"\xfe\xca\x01\0"
_LINE = struct.Struct("<4xH2xL")
_GAP_BYTES = 10
_NO_CODE = 0xFFFFFFFF
_LINES_MAX = 65_535
_TEXT = re.compile(rb"[\x20-\x7e\t\x80-\xff]+")
_TEXT_MIN_BYTES = 3
"""Of a text behind whatever word; shorter ones are believed behind the word for a text."""
_LITERAL, _LITERAL_MASK = 0xB9, 0x3FF
_NAME = re.compile(rb"[A-Za-z_\x80-\xfe][\w\x80-\xfe-]*")
_LONG_ENTRY, _LONG_ENTRY_BYTES, _HASH_BYTES = 0x80, 6, 4
_NAMES_MAX = 20_000
_CODE_MAX_BYTES = 2 * MIB
"""Of a module: its lines are at most 65,534 (MS-VBAL 3.2)."""
_PROJECT_MAX_BYTES = MIB
_SPACE = re.compile(rb"[ \t_]+")
"""And what continues a line."""
_SAID = re.compile(rb"\"[^\"\r\n]*(?:\"\"[^\"\r\n]*)*\"|'[^\r\n]*")
_LOOKED_FOR_MAX = 200
"""Texts that are neither a literal nor a comment of the source, each looked for in all of it."""


def lines(compiled: bytes) -> Iterator[list[bytes]]:
    """The texts of each line that has some, comments among them; none if it is not understood."""
    at = compiled.find(_MARK)
    if at < 0 or at + 6 > len(compiled):
        return
    count = min(int.from_bytes(compiled[at + 4 : at + 6], "little"), _LINES_MAX)
    table = compiled[at + 6 : at + 6 + count * _LINE.size]
    code = memoryview(compiled)[at + 6 + count * _LINE.size + _GAP_BYTES :]
    # Lines do not overlap: together they are no longer than the code.
    left = min(len(code), _CODE_MAX_BYTES)
    for size, offset in _LINE.iter_unpack(table[: len(table) - len(table) % _LINE.size]):
        if offset == _NO_CODE or size > left:
            continue
        left -= size
        found = list(_texts(bytes(code[offset : offset + size])))
        if found:
            yield found


def _texts(line: bytes) -> Iterator[bytes]:
    at, word = 0, 0
    while at + 2 <= len(line):
        before, word = word, line[at] | line[at + 1] << 8
        at += 2
        least = 1 if before & _LITERAL_MASK == _LITERAL else _TEXT_MIN_BYTES
        if least <= word <= len(line) - at and _TEXT.fullmatch(line, at, at + word):
            yield line[at : at + word]
            at += word + (word & 1)
            word = 0


def names(project: bytes) -> Iterator[bytes]:
    """The identifiers in a stream ``_VBA_PROJECT``, in their order."""
    project = project[-_PROJECT_MAX_BYTES:]
    at, count, least = 0, 0, 2  # one letter is a name only in the row: anything looks like it
    while at < len(project) and count < _NAMES_MAX:
        entry = _entry(project, at, least)
        if entry is None:
            at, least = at + 1, 2
            continue
        start, end = entry
        yield project[start:end]
        # Words of the language have no hash behind them.
        is_word = not _entry(project, end + _HASH_BYTES, 1) and _entry(project, end, 1)
        at, count, least = end if is_word else end + _HASH_BYTES, count + 1, 1


def _entry(project: bytes, at: int, least: int) -> tuple[int, int] | None:
    """Where a name begins and ends whose length and kind are at ``at``."""
    if at + 2 > len(project) or project[at] < least:
        return None
    start = at + 2 + (_LONG_ENTRY_BYTES if project[at + 1] & _LONG_ENTRY else 0)
    end = start + project[at]
    return (start, end) if _NAME.fullmatch(project, start, end) else None


def told(texts: list[bytes]) -> bytes:
    """The texts of a line as source would have them, put together."""
    return b" & ".join(b'"%b"' % text.replace(b'"', b'""') for text in texts)


def says_more(compiled: bytes, source: bytes) -> bool:
    """Whether a text in the compiled code is not in the source, white space aside."""
    said = _SPACE.sub(b"", source)
    known = {found.strip(b"'\"") for found in _SAID.findall(said)}
    looked_for = 0
    for text in {text for line in lines(compiled) for text in line}:
        bare = _SPACE.sub(b"", text)
        if bare.replace(b'"', b'""') in known or bare in known:
            continue
        looked_for += 1
        if looked_for > _LOOKED_FOR_MAX or not (bare in said or bare.replace(b'"', b'""') in said):
            return True
    return False
