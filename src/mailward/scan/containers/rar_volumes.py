"""RAR archives in several volumes, made one when all are there.

Of a file that is in several, the last header has what is true of the whole one.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from mailward.scan.containers import rar4_blocks, rar5_blocks
from mailward.scan.containers.bits import DamagedError
from mailward.scan.contents import Piece

_NAME = re.compile(r"(.*?)(?:\.part([0-9]{1,6})\.rar|\.rar|\.([r-z])([0-9]{2}))", re.IGNORECASE)
_IS_VOLUME, _NUMBERED = 0x01, 0x110
"""Of RAR 4: in the main header."""
_VOLUME_5 = 0x03
"""Of RAR 5: that it is one, and that its number follows."""


def is_volume(piece: Piece) -> bool:
    """Whether others, beside it, may belong to it."""
    return _place(piece) is not None


def joined(volumes: Iterable[Piece]) -> Iterator[Piece]:
    """These, sealed where an archive is whole, which follows; it may lack its last volumes."""
    sets: dict[str, dict[int, Piece]] = {}
    for piece in volumes:
        name, number = _place(piece) or ("", 0)
        known = sets.setdefault(name, {})
        if number in known:
            yield piece  # which of the two it is cannot be told
        else:
            known[number] = piece
    for known in sets.values():
        pieces = [known[number] for number in sorted(known)]
        follow = len(pieces) > 1 and sorted(known) == list(range(1, len(pieces) + 1))
        whole = _joined([piece.data for piece in pieces]) if follow else None
        if whole is None:
            yield from pieces
            continue
        yield from (replace(piece, is_sealed=True) for piece in pieces)
        yield Piece(whole, pieces[0].role, pieces[0].name, label="joined")


def _place(piece: Piece) -> tuple[str, int] | None:
    """What the volumes of an archive are called, and which one this is, from 1.

    By the names, as archivers find the next one.
    """
    found = _NAME.fullmatch(piece.name)
    if found is None or piece.is_sealed or not _is_volume(piece.data):
        return None
    stem, part, letter, number = found.groups()
    if part is not None:
        return f"{stem.lower()}.part", int(part)
    if letter is None:
        return stem.lower(), 1
    return stem.lower(), (ord(letter.lower()) - ord("r")) * 100 + int(number) + 2


def _is_volume(data: bytes) -> bool:
    try:
        if data.startswith(rar5_blocks.MAGIC):
            return bool(_main_5(data) & _VOLUME_5)
        if data.startswith(rar4_blocks.MAGIC):
            header = rar4_blocks.plain_header(data, len(rar4_blocks.MAGIC))
            return header.kind == rar4_blocks.MAIN and bool(header.flags & _IS_VOLUME)
    except (IndexError, struct.error, DamagedError):
        pass
    return False


def _main_5(data: bytes) -> int:
    """What the main header says of the archive; 0 if another is the first."""
    main = next(rar5_blocks.blocks(data), None)
    if main is None or main.kind != rar5_blocks.MAIN:
        return 0
    return rar5_blocks.number(main.body, main.fields)[0]


def _joined(volumes: Sequence[bytes]) -> bytes | None:
    """One archive of all, in order; None if they cannot be put together."""
    is_5 = volumes[0].startswith(rar5_blocks.MAGIC)
    try:
        return b"".join(_join_5(volumes) if is_5 else _join_4(volumes))
    except (IndexError, struct.error, DamagedError):
        return None


def _join_4(volumes: Iterable[bytes]) -> Iterator[bytes]:
    """Raises DamagedError, struct.error."""
    pieces: list[bytes] = []
    last: rar4_blocks.Header | None = None
    for position, data in enumerate(volumes):
        for header in _blocks_4(data):
            if header.kind == rar4_blocks.MAIN and not position:
                flags = header.flags & ~(_IS_VOLUME | _NUMBERED)
                yield rar4_blocks.MAGIC + rar4_blocks.remade(header.raw, flags)
            if header.kind != rar4_blocks.FILE:
                continue
            if not header.flags & rar4_blocks.FROM_BEFORE:
                pieces.clear()
            pieces.append(data[header.after : header.after + header.data_bytes])
            last = header
            if not header.flags & rar4_blocks.GOES_ON:
                yield _file_4(header, pieces)
                pieces.clear()
    if pieces and last is not None:
        yield _file_4(last, pieces)


def _blocks_4(data: bytes) -> Iterator[rar4_blocks.Header]:
    at = len(rar4_blocks.MAGIC)
    for _ in range(rar4_blocks.BLOCKS_MAX):
        if at >= len(data):
            return
        header = rar4_blocks.plain_header(data, at)
        if header.kind == rar4_blocks.MAIN and header.flags & rar4_blocks.HEADERS_ENCRYPTED:
            raise DamagedError("its headers are encrypted")
        yield header
        if header.kind == rar4_blocks.END:
            return
        at = header.after + header.data_bytes


def _file_4(header: rar4_blocks.Header, pieces: list[bytes]) -> bytes:
    """That still goes on if the next volume is not there."""
    whole = b"".join(pieces)
    raw = header.raw[:7] + struct.pack("<L", len(whole)) + header.raw[11:]
    return rar4_blocks.remade(raw, header.flags & ~rar4_blocks.FROM_BEFORE) + whole


def _join_5(volumes: Iterable[bytes]) -> Iterator[bytes]:
    """Raises IndexError, DamagedError."""
    yield rar5_blocks.MAGIC
    pieces: list[bytes] = []
    last: rar5_blocks.Block | None = None
    for position, data in enumerate(volumes):
        for block in rar5_blocks.blocks(data):
            if block.kind == rar5_blocks.CRYPT:
                raise DamagedError("its headers are encrypted")
            if block.kind == rar5_blocks.MAIN and not position:
                kept = rar5_blocks.encoded(_main_5(data) & ~_VOLUME_5)
                yield rar5_blocks.sized(rar5_blocks.encoded(rar5_blocks.MAIN) + b"\0" + kept)
            if block.kind != rar5_blocks.FILE:
                continue
            if not block.flags & rar5_blocks.FROM_BEFORE:
                pieces.clear()
            pieces.append(data[block.start : block.stop])
            last = block
            if not block.flags & rar5_blocks.GOES_ON:
                yield _file_5(block, pieces)
                pieces.clear()
    if pieces and last is not None:
        yield _file_5(last, pieces)


def _file_5(block: rar5_blocks.Block, pieces: list[bytes]) -> bytes:
    """That still goes on if the next volume is not there."""
    whole = b"".join(pieces)
    return block.made(block.flags & ~rar5_blocks.FROM_BEFORE, len(whole)) + whole
