"""Containers: recognised by their content, never by their name, and unpacked within a budget.

A new format is a module beside these with ``read``, and a line in one of the tables. What two
programs would take for two things is read as both.
"""

import re
from collections.abc import Callable
from functools import partial
from itertools import chain

from mailward.scan.budget import Budget
from mailward.scan.containers import embedded, libarchive, lzw, stream, tar
from mailward.scan.containers import zip as zip_archive
from mailward.scan.containers.recognised import recognise
from mailward.scan.contents import Contents

Reader = Callable[[bytes, str, Budget], Contents]
"""The content, the container's own name, the budget. Raises Spent while it is iterated, and nothing
else, whatever the content is."""


def _by_libarchive(kind: libarchive.Kind) -> Reader:
    return partial(libarchive.read, kind)


_AT_START: tuple[tuple[bytes, Reader], ...] = (
    (stream.STARTS, stream.read),
    (rb"7z\xbc\xaf\x27\x1c", _by_libarchive(libarchive.SEVEN_ZIP)),
    (rb"Rar!\x1a\x07[\0\x01]", _by_libarchive(libarchive.RAR)),
    (rb"MSCF\0\0\0\0", _by_libarchive(libarchive.CAB)),
    (rb"..-(?:lh[0-9dx]|lz[s45]|pm[012])-", _by_libarchive(libarchive.LHA)),
    (rb"07070[12][0-9A-Fa-f]{104}|070707[0-7]{70}", _by_libarchive(libarchive.CPIO)),
    (rb"\xc7\x71.{4}.[\x21-\xcf].{12}.[\0-\x04]", _by_libarchive(libarchive.CPIO)),
    (rb"\x71\xc7.{4}[\x21-\xcf]..{12}[\0-\x04].", _by_libarchive(libarchive.CPIO)),
    (rb"xar!\0", _by_libarchive(libarchive.XAR)),
    (rb"!<arch>\n", _by_libarchive(libarchive.AR)),
    (rb"\xed\xab\xee\xdb", _by_libarchive(libarchive.RPM)),
    (lzw.STARTS, lzw.read),
    (rb"\x04\x22\x4d\x18|\x02\x21\x4c\x18", _by_libarchive(libarchive.LZ4)),
    (embedded.STARTS, embedded.read),
)
"""Regular expressions without groups."""
_START = re.compile(b"|".join(b"(%b)" % magic for magic, _ in _AT_START), re.DOTALL)

_BY_LOOK: tuple[tuple[Callable[[bytes], bool], Reader], ...] = (
    (libarchive.looks_like_iso, _by_libarchive(libarchive.ISO)),
    (zip_archive.looks_like_zip, zip_archive.read),
)
"""Besides what it starts as."""


def unpack(data: bytes, name: str, content_type: str, budget: Budget) -> Contents | None:
    """What is inside; None if ``data`` is no container.

    Making it costs nothing: the work is done while it is iterated, which raises Spent and nothing
    else, whatever ``data`` is. ``name``: the container's own.
    """
    start = _START.match(data)
    readers = [_AT_START[start.lastindex - 1][1]] if start is not None and start.lastindex else []
    readers += [read for looks_so, read in _BY_LOOK if looks_so(data)]
    found = [read(data, name, budget) for read in readers]
    shut = recognise(data, content_type)
    if shut is not None:
        found.append(iter((shut,)))
    if not found and tar.looks_like_tar(data):
        found.append(tar.read(data, name, budget))
    if len(found) > 1:
        return chain.from_iterable(found)
    return found[0] if found else None
