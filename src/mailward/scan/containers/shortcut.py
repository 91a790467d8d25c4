"""Windows shortcuts (MS-SHLLINK): what they start, as text, and what is glued to them."""

import struct

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46"

_HEADER_BYTES = 0x4C
_HAS_ID_LIST, _HAS_LINK_INFO, _UNICODE = 1, 1 << 1, 1 << 7
_STRINGS = (
    (1 << 2, "name"),
    (1 << 3, "relative path"),
    (1 << 4, "working folder"),
    (1 << 5, "arguments"),
    (1 << 6, "icon"),
)
_LOCAL_PATH, _NETWORK_PATH = 1, 1 << 1
_BLOCKS_MAX = 32
_ENVIRONMENT_BLOCK, _ICON_BLOCK = 0xA0000001, 0xA0000007
_ENVIRONMENT_ANSI_BYTES, _ENVIRONMENT_UNICODE_BYTES = 260, 520
_PATH_MAX_BYTES = 1024


def read(data: bytes, _called: str, _budget: Budget) -> Contents:
    """A text with a line for each string, and what follows the shortcut. Never raises."""
    told: list[tuple[str, str]] = []
    try:
        end = _parse(data, told)
    except (struct.error, IndexError):
        end = len(data)
        yield Shut(Reason.MALFORMED, "truncated: the shortcut ends too early")
    if told:
        text = "".join(f"{what}: {value}\n" for what, value in told)
        yield Piece(text.encode("utf-8", "replace"), Role.MEMBER, label="shortcut")
    if end < len(data):
        yield Piece(data[end:], Role.MEMBER, label="behind")


def _parse(data: bytes, told: list[tuple[str, str]]) -> int:
    """Where the shortcut ends. Raises struct.error."""
    flags = struct.unpack_from("<L", data, 20)[0]
    at = _HEADER_BYTES
    if flags & _HAS_ID_LIST:
        at += 2 + struct.unpack_from("<H", data, at)[0]
    if flags & _HAS_LINK_INFO:
        size, header, info, _, local, network, suffix = struct.unpack_from("<7L", data, at)
        block = data[at : at + size]
        if info & _LOCAL_PATH:
            told.append(("target", _ansi(block, local) + _ansi(block, suffix)))
        if info & _NETWORK_PATH and network + 12 <= len(block):
            name = network + struct.unpack_from("<L", block, network + 8)[0]
            told.append(("target", _ansi(block, name) + "\\" + _ansi(block, suffix)))
        if header >= 0x24 and info & _LOCAL_PATH and len(block) >= 0x20:
            told.append(("target", _unicode(block, struct.unpack_from("<L", block, 0x1C)[0])))
        at += max(size, 4)
    for flag, what in _STRINGS:
        if flags & flag:
            count = struct.unpack_from("<H", data, at)[0]
            size = count * 2 if flags & _UNICODE else count
            raw = data[at + 2 : at + 2 + size]
            told.append(
                (what, raw.decode("utf-16-le" if flags & _UNICODE else "cp1252", "replace"))
            )
            at += 2 + size
    for _ in range(_BLOCKS_MAX):
        if at + 4 > len(data):
            return at
        size = struct.unpack_from("<L", data, at)[0]
        if size < 4:
            return at + 4
        if size >= 8:
            _extra(struct.unpack_from("<L", data, at + 4)[0], data[at + 8 : at + size], told)
        at += size
    return at


def _extra(kind: int, block: bytes, told: list[tuple[str, str]]) -> None:
    if kind in (_ENVIRONMENT_BLOCK, _ICON_BLOCK):
        what = "target" if kind == _ENVIRONMENT_BLOCK else "icon"
        told.append((what, _ansi(block[:_ENVIRONMENT_ANSI_BYTES], 0)))
        told.append(
            (
                what,
                _unicode(
                    block[: _ENVIRONMENT_ANSI_BYTES + _ENVIRONMENT_UNICODE_BYTES],
                    _ENVIRONMENT_ANSI_BYTES,
                ),
            )
        )


def _ansi(block: bytes, at: int) -> str:
    return block[at : at + _PATH_MAX_BYTES].partition(b"\0")[0].decode("cp1252", "replace")


def _unicode(block: bytes, at: int) -> str:
    text = block[at : at + 2 * _PATH_MAX_BYTES]
    return text[: len(text) & ~1].decode("utf-16-le", "replace").partition("\0")[0]
