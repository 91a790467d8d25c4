"""What the headers of a container say of the files in it, whether they can be opened or not.

For signatures that ask (``.cdb``); what is unpacked for scanning comes from the readers beside.
Which container says what, and whether it counts from 0 or 1, is ClamAV's way, as ``clamscan
--debug`` 1.4.6 tells it; for RAR, which Debian's does not open, that of its documentation.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice

from mailward.scan.budget import Budget, Spent
from mailward.scan.containers import arj, libarchive, rar, sevenzip, tar
from mailward.scan.containers import zip as zip_archive
from mailward.scan.contents import Contents, Listed, Piece
from mailward.settings.scan import ScanSettings

LISTED_MAX = 10_000
"""Files of one container that are looked at."""
_CABINET = struct.Struct("<16xL8xH")
"""Where the files are told of, and how many there are: Microsoft's [MS-CAB], CFHEADER."""
_CABINET_FILE = struct.Struct("<L12x")
"""The size; the name follows and ends with a NUL."""
_NAME_MAX_BYTES = 1024

Reader = Callable[[bytes, Budget], Contents]


def listing(data: bytes, container_type: str) -> Iterator[Listed] | None:
    """The files in a container of this type (``CL_TYPE_…``); None if it is of no type that tells.

    Never raises, whatever ``data`` is.
    """
    read = _reader(container_type)
    return islice(_told(read, data), LISTED_MAX) if read is not None else None


def tells(container_type: str) -> bool:
    """Whether headers of such containers say what files are in it."""
    return _reader(container_type) is not None


def _reader(container_type: str) -> Callable[[bytes, Budget], Iterator[Listed]] | None:
    is_office = container_type.startswith("CL_TYPE_OOXML_")
    return _BY_TYPE.get("CL_TYPE_ZIP" if is_office else container_type)


def _told(read: Callable[[bytes, Budget], Iterator[Listed]], data: bytes) -> Iterator[Listed]:
    with suppress(Spent):
        yield from read(data, Budget(ScanSettings()))


def _by_reading(read: Reader, data: bytes, budget: Budget) -> Iterator[Listed]:
    """Of archives that do not pack."""
    files = (found for found in read(data, budget) if isinstance(found, Piece))
    for position, piece in enumerate(files, 1):
        yield Listed(piece.name, len(piece.data), len(piece.data), position=position)


def _cabinet(data: bytes, _budget: Budget) -> Iterator[Listed]:
    with suppress(struct.error):
        at, count = _CABINET.unpack_from(data)
        for position in range(count):
            (size,) = _CABINET_FILE.unpack_from(data, at)
            at += _CABINET_FILE.size
            stop = data.find(b"\0", at, at + _NAME_MAX_BYTES)
            if stop < 0:
                return
            yield Listed(data[at:stop].decode("utf-8", "replace"), size, 0, position=position)
            at = stop + 1


_TAR = partial(_by_reading, lambda data, budget: tar.read(data, "", budget))
_CPIO = partial(
    _by_reading, lambda data, budget: libarchive.read(libarchive.CPIO, data, "", budget)
)
_BY_TYPE: dict[str, Callable[[bytes, Budget], Iterator[Listed]]] = {
    "CL_TYPE_7Z": sevenzip.listed,
    "CL_TYPE_ARJ": lambda data, _: arj.listed(data),
    "CL_TYPE_CPIO_CRC": _CPIO,
    "CL_TYPE_CPIO_NEWC": _CPIO,
    "CL_TYPE_CPIO_ODC": _CPIO,
    "CL_TYPE_CPIO_OLD": _CPIO,
    "CL_TYPE_MSCAB": _cabinet,
    "CL_TYPE_OLD_TAR": _TAR,
    "CL_TYPE_POSIX_TAR": _TAR,
    "CL_TYPE_RAR": lambda data, _: rar.listed(data),
    "CL_TYPE_ZIP": lambda data, _: zip_archive.listed(data),
}
