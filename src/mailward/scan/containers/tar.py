"""Tar archives: POSIX ustar and pax, GNU, and those from before (``tar(5)`` of libarchive).

Read here and not by ``tarfile``, which ends without a word at a header that it cannot read.
"""

import re

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_BLOCK = 512
_REGULAR = b"0\x007S"
"""Regular, regular of old, contiguous, GNU sparse (its holes left out)."""
_GNU_NAME, _PAX = ord("L"), ord("x")
_SPARSE = ord("S")
_NAME_MAX_BYTES = 1024 * 1024
_NOT_ZERO = re.compile(rb"[^\0]")


def looks_like_tar(data: bytes) -> bool:
    """By the first header's magic or checksum."""
    header = data[:_BLOCK]
    if len(header) < _BLOCK or not header[0]:
        return False
    return header.startswith(b"ustar", 257) or _checksum_is_right(header)


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files. Links, devices and folders hold nothing and are passed over. Raises only Spent."""
    at, name, size, gap = 0, "", None, False
    while (found := _NOT_ZERO.search(data, at)) is not None:
        at = found.start() // _BLOCK * _BLOCK  # zeros end an archive, but another may follow
        budget.check_time()
        header = data[at : at + _BLOCK]
        if len(header) < _BLOCK or not _checksum_is_right(header):
            gap, at = True, at + _BLOCK
            continue
        kind = header[156]
        stated = _number(header[124:136])
        body = at + _BLOCK
        if kind == _SPARSE:
            body = _after_sparse_map(data, header, body)
        if kind in (_GNU_NAME, _PAX):
            content = data[body : body + min(stated, _NAME_MAX_BYTES)]
            if kind == _GNU_NAME:
                name = _text(content)
            else:
                pax = _pax(content)
                name, size = pax.get("path", name), _decimal(pax.get("size"))
        else:
            stated = stated if size is None else size
            own = name or _name(header)
            name, size = "", None
            if kind in _REGULAR and not own.endswith("/"):
                yield from _open(data, body, stated, own, budget)
            else:
                budget.count_part(0)  # or millions of folders would cost nothing but time
        at = body + -(-stated // _BLOCK) * _BLOCK
        if body + stated > len(data) and kind not in _REGULAR:
            # Programs differ in whether they pass over what such a header says.
            yield Shut(Reason.MALFORMED, "a header in it says that it ends behind the archive")
            at = body
    if gap:
        yield Shut(Reason.MALFORMED, "something in it is not a tar header where one should be")


def _open(data: bytes, body: int, size: int, name: str, budget: Budget) -> Contents:
    wanted = min(size, budget.room() + 1)
    content = data[body : body + wanted]
    yield Piece(content, Role.MEMBER, name)
    if len(content) < wanted:
        yield Shut(Reason.MALFORMED, "truncated: it ends behind the archive", name)


def _checksum_is_right(header: bytes) -> bool:
    """The sum of all bytes, its own eight taken as blanks; some added them up as signed."""
    try:
        stated = int(header[148:156].strip(b" \0"), 8)
    except ValueError:
        return False
    own = header[148:156]
    total = sum(header) - sum(own) + 8 * ord(" ")
    signed = total - 256 * (sum(b > 127 for b in header) - sum(b > 127 for b in own))
    return stated in (total, signed)


def _number(field: bytes) -> int:
    """Octal, or big-endian with the top bit set (GNU); 0 if it is neither or negative."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
        return value if value < 1 << 63 else 0
    try:
        return max(0, int(field.strip(b" \0").split(b"\0")[0] or b"0", 8))
    except ValueError:
        return 0


def _decimal(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 20 else None


def _name(header: bytes) -> str:
    name, prefix = header[:100], b""
    if header.startswith(b"ustar\0", 257):
        prefix = header[345:500].split(b"\0")[0]
    return "/".join(_text(piece) for piece in (prefix, name) if piece.strip(b"\0"))


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace")


def _pax(content: bytes) -> dict[str, str]:
    """Records ``length key=value\\n``, the length including itself."""
    values = {}
    while content:
        length, _, _ = content[:20].partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(content):
            break
        record, content = content[: int(length)], content[int(length) :]
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        values[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return values


def _after_sparse_map(data: bytes, header: bytes, body: int) -> int:
    more = header[482]
    while more and body + _BLOCK <= len(data):
        more = data[body + 504]
        body += _BLOCK
    return body
