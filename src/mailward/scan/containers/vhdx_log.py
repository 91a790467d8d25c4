"""The log of a VHDX ([MS-VHDX] section 2.3): what was to be written when the last writer stopped.

Entries follow each other in a ring. Those that count are the newest row of them without a gap, from
the one that the last entry says is the first.
"""

import struct
from dataclasses import dataclass

from mailward.scan.containers.crc32c import crc32c

_SECTOR = 4096
_HEAD = struct.Struct("<4sLLLQL4x16s")
"""Signature, checksum, bytes, where the first entry of the row is, number, descriptors, log."""
_HEAD_BYTES, _DESCRIPTOR_BYTES = 64, 32
_ZEROS = struct.Struct("<4s4xQQQ")
_DATA = struct.Struct("<4s4s8sQQ")
_LOG_MAX_BYTES = 64 << 20
_CHECKED_MAX_BYTES = 16 << 20
"""Of entries whose checksum is looked at: more than a second of computing."""
_ENTRIES_MAX = 1024
"""Windows and QEMU make logs of a MiB, with room for 128 to 256."""
_ZEROED_MAX = 4
"""How often a log may fill the whole file with zeros."""
_BEHIND_MAX_BYTES = 4 << 20
"""Behind the end of the file, where a log may write: it is for tables, which are in front."""


class LogError(Exception):
    """It cannot be played back; the message says why."""


@dataclass(frozen=True, slots=True)
class _Entry:
    at: int
    size: int
    first_at: int
    number: int
    descriptors: int


def played_back(data: bytes, log: bytes, at: int, size: int) -> bytearray:
    """The file as it is once the log ``log``, which is there, was written. Raises LogError."""
    ring = data[at : at + size]
    if not 0 < size <= _LOG_MAX_BYTES or size % _SECTOR or len(ring) < size:
        raise LogError("it is not there, or too large")
    out = bytearray(data)
    zeros_left = _ZEROED_MAX * len(data)
    for entry in _row(ring, log):
        zeros_left = _write(_cut(ring, entry.at, entry.size), entry, out, zeros_left)
    return out


def _row(ring: bytes, log: bytes) -> list[_Entry]:
    """The newest one."""
    entries = {entry.at: entry for entry in _entries(ring, log)}
    left, known = _CHECKED_MAX_BYTES, dict[int, bool]()
    for last in sorted(entries.values(), key=lambda entry: -entry.number):
        row: list[_Entry] = []
        entry = entries.get(last.first_at)
        while entry is not None and len(row) < len(entries):
            if row and entry.number != row[-1].number + 1:
                break
            if entry.at not in known:
                left -= entry.size
                if left < 0:
                    raise LogError("too much of it would have to be looked at")
                known[entry.at] = _is_right(_cut(ring, entry.at, entry.size))
            if not known[entry.at]:
                break
            row.append(entry)
            if entry is last:
                return row
            entry = entries.get((entry.at + entry.size) % len(ring))
    raise LogError("nothing in it is whole")


def _entries(ring: bytes, log: bytes) -> list[_Entry]:
    found = []
    for at in range(0, len(ring), _SECTOR):
        if ring[at : at + 4] != b"loge":
            continue
        _, _, size, first_at, number, count, own = _HEAD.unpack_from(ring, at)
        fits = 0 < size <= len(ring) and _sectors(count) * _SECTOR <= size
        if own == log and fits and not size % _SECTOR:
            found.append(_Entry(at, size, first_at, number, count))
        if len(found) > _ENTRIES_MAX:
            raise LogError("it has too many entries")
    return found


def _sectors(descriptors: int) -> int:
    """That the head of an entry takes."""
    return -(-(_HEAD_BYTES + descriptors * _DESCRIPTOR_BYTES) // _SECTOR)


def _cut(ring: bytes, at: int, size: int) -> bytes:
    piece = ring[at : at + size]
    return piece + ring[: size - len(piece)]


def _is_right(entry: bytes) -> bool:
    return crc32c(entry[:4] + bytes(4) + entry[8:]) == int.from_bytes(entry[4:8], "little")


def _write(raw: bytes, entry: _Entry, out: bytearray, zeros_left: int) -> int:
    """Do what an entry says; returns how many zeros may still be written. Raises LogError."""
    sector_at = _sectors(entry.descriptors) * _SECTOR
    for number in range(entry.descriptors):
        at = _HEAD_BYTES + number * _DESCRIPTOR_BYTES
        kind = raw[at : at + 4]
        if kind == b"zero":
            _, size, place, sequence = _ZEROS.unpack_from(raw, at)
            size = min(size, max(0, len(out) - place))
            zeros_left -= size
            if sequence != entry.number or zeros_left < 0:
                raise LogError("an impossible entry")
            out[place : place + size] = bytes(size)
            continue
        sector = raw[sector_at : sector_at + _SECTOR]
        sector_at += _SECTOR
        if kind != b"desc" or len(sector) < _SECTOR or sector[:4] != b"data":
            raise LogError("an impossible entry")
        _, trailing, leading, place, sequence = _DATA.unpack_from(raw, at)
        own = int.from_bytes(sector[4:8], "little") << 32 | int.from_bytes(sector[-4:], "little")
        if sequence != entry.number or own != sequence or place % _SECTOR:
            raise LogError("an impossible entry")
        if place > len(out) + _BEHIND_MAX_BYTES:
            raise LogError("it writes far behind the end of the file")
        out.extend(bytes(max(0, place - len(out))))
        out[place : place + _SECTOR] = leading + sector[8:-4] + trailing
    return zeros_left
