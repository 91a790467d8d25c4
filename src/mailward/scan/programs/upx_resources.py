"""Resources that UPX leaves outside of what it compresses: icons, versions, manifests."""

import struct

from mailward.scan.programs.portable import RESOURCES, Program

_ENTRIES_MAX = 4096
_DEPTH = 3
"""Types, names, languages."""


def put_back(
    image: bytearray | None, packed: Program, was: Program, content: bytearray, lowest: int
) -> None:
    """Copy them from the packed program to where they were: in front of each is its address.

    ``image``: the packed program in memory. ``content``: of the program as it was, whose memory
    begins at the address ``lowest``.
    """
    root, _ = packed.directory(RESOURCES)
    to, _ = was.directory(RESOURCES)
    if image is None or not root or to < lowest or packed.section_of(root) is None:
        return
    end, leaves = _walk(image, root)
    directory = bytearray(image[root:end])
    room = len(content)
    for leaf in leaves:
        address, size = struct.unpack_from("<II", image, leaf)
        if not root <= address - 4 <= address + size <= len(image):
            continue  # it was compressed with the rest
        (place,) = struct.unpack_from("<I", image, address - 4)
        room -= size
        if room < 0:
            return
        if place >= lowest and place - lowest + size <= len(content):
            content[place - lowest : place - lowest + size] = image[address : address + size]
            struct.pack_into("<I", directory, leaf - root, place)
    if to - lowest + len(directory) <= len(content):
        content[to - lowest : to - lowest + len(directory)] = directory


def _walk(image: bytearray, root: int) -> tuple[int, list[int]]:
    """Where the tree of directories ends, and where its leaves are."""
    end = root
    leaves: list[int] = []
    level = [root]
    seen = 0
    for _ in range(_DEPTH):
        below: list[int] = []
        for directory in level:
            if directory + 16 > len(image):
                continue
            count = sum(struct.unpack_from("<HH", image, directory + 12))
            for at in range(directory + 16, directory + 16 + 8 * count, 8):
                seen += 1
                if seen > _ENTRIES_MAX or at + 8 > len(image):
                    return end, leaves
                _, points_to = struct.unpack_from("<II", image, at)
                place = root + (points_to & 0x7FFFFFFF)
                if place + 16 > len(image):
                    continue
                (below if points_to >> 31 else leaves).append(place)
                end = max(end, at + 8, place + 16)
        level = below
    return end, leaves
