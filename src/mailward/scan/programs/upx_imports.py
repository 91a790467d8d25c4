"""Imports as UPX keeps them, made into a table of imports again.

For each library eight bytes (where its name is, where its addresses are kept), then what is
imported: 1 and a name, 255 and a number, or another number and where the packed program imports it
itself; a zero ends each list (``PeFile::rebuildImports`` of UPX's ``src/pefile.cpp``).
"""

import struct

from mailward.scan.programs.portable import IMPORTS, Program

_MAX = 10_000
"""Functions of a program; large ones import a few hundred."""


def put_back(
    image: bytearray | None,
    packed: Program,
    was: Program,
    content: bytearray,
    extra_at: int,
    lowest: int,
) -> None:
    """Write the table, the names and the addresses. Raises struct.error where nothing is.

    ``image``: the packed program in memory. ``content``: of the program as it was, whose memory
    begins at the address ``lowest``. ``extra_at``: what is kept behind its headers there.
    """
    table, size = was.directory(IMPORTS)
    names_at, _ = packed.directory(IMPORTS)
    if image is None or size <= 20 or table < lowest:
        return
    kept, place = struct.unpack_from("<II", content, extra_at)
    width = 8 if was.is_wide else 4
    at = table - lowest
    place -= lowest
    for _ in range(_MAX):
        name_at, addresses = struct.unpack_from("<II", content, kept)
        if not name_at:
            return
        slot = addresses
        kept += 8
        while kept < len(content) and (kind := content[kept]):
            value = 0
            if kind == 1:
                end = content.index(0, kept)
                name = bytes(content[kept + 1 : end])
                kept = end + 1
                value = place + lowest
                place = _put(content, place, b"\0\0" + name)
            elif kind == 0xFF:
                value = 1 << (8 * width - 1) | int.from_bytes(
                    content[kept + 1 : kept + 3], "little"
                )
                kept += 3
            else:
                kept += 5
            struct.pack_into("<Q" if was.is_wide else "<I", content, slot, value)
            slot += width
        kept += 1
        library = _text(image, names_at + name_at)
        struct.pack_into("<IIIII", content, at, 0, 0, 0, place + lowest, addresses + lowest)
        at += 20
        place = _put(content, place, library)


def _put(content: bytearray, place: int, text: bytes) -> int:
    """Text and a zero; where the next begins, which linkers make even."""
    size = len(text) + 1 + (len(text) + 1) % 2
    if not 0 <= place <= len(content) - size:
        raise struct.error("imports are nowhere")
    content[place : place + size] = text.ljust(size, b"\0")
    return place + size


def _text(image: bytearray, at: int) -> bytes:
    end = image.find(0, at, at + 256)
    return bytes(image[at:end]) if end > 0 else b""
