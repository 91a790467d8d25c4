"""Disk images: raw ones and virtual disks, whatever their blocks are kept in."""

import re
import struct
from collections.abc import Callable

from mailward.scan.budget import Budget
from mailward.scan.containers import qcow, vdi, vhd, vhdx, vmdk, volumes
from mailward.scan.containers.disk_source import Bytes, Disk, UnopenedError
from mailward.scan.contents import Contents, Shut
from mailward.scan.verdict import Reason

_SECTOR = 512
_BOOTS, _HFS, _EXT = (b"\xeb", b"\xe9"), (b"H+", b"HX", b"BD"), b"\x53\xef"
"""What saves a look at most files, which are no file systems."""
_VIRTUAL: tuple[tuple[bytes, Callable[[bytes], Disk]], ...] = (
    (vhdx.STARTS, vhdx.opened),
    (vmdk.STARTS, vmdk.opened),
    (qcow.STARTS, qcow.opened),
    (vdi.STARTS, vdi.opened),
)
_EVEN_SHORT = re.compile(rb"hsqs|sqsh|shsq|qshs|.{3}EXFAT {3}", re.DOTALL)
"""File systems that are known by their beginning alone, however little follows."""
_VHDX = re.compile(vhdx.STARTS)
_START = re.compile(b"|".join(b"(%b)" % magic for magic, _ in _VIRTUAL), re.DOTALL)


def looks_like_disk(data: bytes) -> bool:
    """By what a virtual disk, a file system, or a partition table begins with; VHD by its end."""
    if vhd.looks_like_vhd(data) or _START.match(data) or _EVEN_SHORT.match(data):
        return True
    if len(data) < 4 * _SECTOR:
        return False
    may_be = data[:1] in _BOOTS or data[1024:1026] in _HFS or data[1080:1082] == _EXT
    may_be = may_be or data[32:36] == b"NXSB"
    if may_be and volumes.bare(Bytes(data)) is not None:
        return True
    if volumes.has_apple_map(data[:2], data[512:514]):
        return True
    return data[510:512] == b"\x55\xaa" and volumes.has_table(data[:_SECTOR])


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files of all partitions. Raises only Spent."""
    played = vhdx.played_back(data) if _VHDX.match(data) else None
    if isinstance(played, Shut):
        yield played
    elif played is not None:
        yield from _read(played, budget)
    yield from _read(data, budget)


def _read(data: bytes, budget: Budget) -> Contents:
    try:
        disk = _opened(data)
    except UnopenedError as e:
        yield e.shut
        return
    except (struct.error, OverflowError):
        yield Shut(Reason.MALFORMED, "virtual disk: truncated")
        return
    yield from disk.left_shut
    yield from volumes.read(disk.source, disk.sector_bytes, budget)


def _opened(data: bytes) -> Disk:
    start = _START.match(data)
    if start is not None and start.lastindex:
        return _VIRTUAL[start.lastindex - 1][1](data)
    if vhd.looks_like_vhd(data):
        return vhd.opened(data)
    return Disk(Bytes(data))
