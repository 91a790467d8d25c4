"""The lines ``digest:size:name`` of a ``hashes`` shard, by the million.

``read_line`` is the format. ``read_block`` reads many lines at once with numpy: the plain ones,
which are nearly all, in one go; every other one goes to ``read_line``, which says what is wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mailward.scan.engines.hash_table import ALGORITHMS, ANY_SIZE

NAME_MAX_BYTES = 300
"""ClamAV's and every feed's names are below 200; longer ones do not fit a log line."""

SIZE_MAX = 1 << 40
_SIZE_MAX_DIGITS = len(str(SIZE_MAX))
LINE_MAX_BYTES = 2 * max(ALGORITHMS) + 1 + _SIZE_MAX_DIGITS + 1 + NAME_MAX_BYTES

_BLOCK_BYTES = 4 * 1024 * 1024
"""Read at once: large enough for numpy to pay, small enough that working on it takes some 50 MB."""

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.uint64]
_Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Entry:
    """One hash signature."""

    digest: bytes
    size: int
    name: bytes


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that is none."""

    line: int
    text: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Entries:
    """Many hash signatures of one algorithm, side by side."""

    digests: Bytes
    """One row for each."""
    sizes: Numbers
    names: list[bytes]


@dataclass(frozen=True, slots=True)
class Block:
    """What some lines gave."""

    entries: dict[int, Entries]
    """By the length of their digests in bytes."""
    bad: list[Bad]


def blocks(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Pieces of whole lines, each with the number of its first line.

    A line without end is cut to what is just too long to be good, so memory is bounded.
    """
    rest, number = b"", 1
    while chunk := file.read(_BLOCK_BYTES):
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            rest = (rest + chunk)[: LINE_MAX_BYTES + 1]
            continue
        block = rest + chunk[:cut]
        rest = chunk[cut:][: LINE_MAX_BYTES + 1]
        yield number, block
        number += block.count(b"\n")
    if rest:
        yield number, rest


def read_line(line: bytes) -> Entry | str:
    """The signature in a line (without its end), or why there is none."""
    if len(line) > LINE_MAX_BYTES:
        return f"longer than {LINE_MAX_BYTES} bytes"
    fields = line.split(b":", 2)
    if len(fields) != 3:
        return "not digest:size:name"
    hexadecimal, size, name = fields
    if len(hexadecimal) // 2 not in ALGORITHMS or len(hexadecimal) % 2:
        return "the digest is not as long as an MD5, SHA-1 or SHA-256"
    if hexadecimal.strip(b"0123456789abcdef"):
        return "the digest is not lower-case hexadecimal"
    number = _read_size(size)
    if number is None:
        return f"the size is neither * nor a number up to {SIZE_MAX}"
    problem = _name_problem(name)
    return problem or Entry(bytes.fromhex(hexadecimal.decode()), number, name)


def _read_size(text: bytes) -> int | None:
    if text == b"*":
        return ANY_SIZE
    if not text.isdigit() or len(text) > _SIZE_MAX_DIGITS or int(text) > SIZE_MAX:
        return None
    return int(text)


def _name_problem(name: bytes) -> str:
    if not name:
        return "it has no name"
    if len(name) > NAME_MAX_BYTES:
        return f"the name is longer than {NAME_MAX_BYTES} bytes"
    try:
        printable = name.decode().isprintable()
    except UnicodeDecodeError:
        return "the name is not UTF-8"
    return "" if printable else "the name has control or invisible characters"


def read_block(block: bytes, first_line: int) -> Block:
    """Read whole lines. Empty ones are passed over."""
    lines = _Lines(block)
    entries, plain = lines.read_plain()
    bad = []
    for at in np.flatnonzero(~plain & (lines.ends > lines.starts)).tolist():
        line = block[lines.starts[at] : lines.ends[at]]
        entry = read_line(line)
        if isinstance(entry, str):
            bad.append(Bad(first_line + at, line, entry))
        else:
            entries[len(entry.digest)].append(_alone(entry))
    return Block({width: _joined(pieces) for width, pieces in entries.items() if pieces}, bad)


class _Lines:
    """Where the lines of a block and their fields are."""

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._bytes = np.frombuffer(block, np.uint8)
        self.ends: _Places = np.flatnonzero(self._bytes == ord("\n"))
        if not block.endswith(b"\n"):
            self.ends = np.append(self.ends, len(block))
        self.starts: _Places = np.append(0, self.ends[:-1] + 1)
        colons = np.append(np.flatnonzero(self._bytes == ord(":")), [len(block)] * 2)
        first = np.searchsorted(colons, self.starts)
        self._colon1: _Places = colons[first]
        self._colon2: _Places = colons[first + 1]

    def read_plain(self) -> tuple[dict[int, list[Entries]], npt.NDArray[np.bool_]]:
        """The entries of ASCII lines in which everything is right, and which lines those are."""
        right, sizes = self._right_but_for_digests()
        done = np.zeros(len(self.ends), np.bool_)
        entries: dict[int, list[Entries]] = {}
        for width in ALGORITHMS:
            chosen = np.flatnonzero(right & (self._colon1 - self.starts == 2 * width))
            digests, is_hex = self._digests(chosen, width)
            chosen = chosen[is_hex]
            done[chosen] = True
            names = zip(
                (self._colon2[chosen] + 1).tolist(), self.ends[chosen].tolist(), strict=True
            )
            pieces = Entries(
                digests[is_hex], sizes[chosen], [self._block[start:end] for start, end in names]
            )
            entries[width] = [pieces] if len(chosen) else []
        return entries, done

    def _right_but_for_digests(self) -> tuple[npt.NDArray[np.bool_], Numbers]:
        name_bytes = self.ends - self._colon2 - 1
        right = (self._colon2 < self.ends) & (name_bytes >= 1) & (name_bytes <= NAME_MAX_BYTES)
        raw = self._bytes
        odd = np.flatnonzero(((raw < 0x20) & (raw != ord("\n"))) | (raw >= 0x7F))
        right[np.searchsorted(self.ends, odd)] = False
        sizes, good = self._sizes(right)
        return right & good, sizes

    def _sizes(self, right: npt.NDArray[np.bool_]) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        digits = np.where(right, self._colon2 - self._colon1 - 1, 0)
        good = (digits >= 1) & (digits <= _SIZE_MAX_DIGITS)
        sizes = np.zeros(len(digits), np.uint64)
        for at in range(min(_SIZE_MAX_DIGITS, int(digits.max(initial=0)))):
            inside = good & (at < digits)
            digit = self._bytes[np.where(inside, self._colon1 + 1 + at, 0)] - np.uint8(ord("0"))
            good &= ~inside | (digit <= 9)  # uint8: what is below "0" wraps to above 9
            sizes = np.where(inside, sizes * np.uint64(10) + digit, sizes)
        any_size = right & (digits == 1)
        any_size[any_size] = self._bytes[self._colon1[any_size] + 1] == ord("*")
        return np.where(any_size, np.uint64(ANY_SIZE), sizes), any_size | (
            good & (sizes <= np.uint64(SIZE_MAX))
        )

    def _digests(self, chosen: _Places, width: int) -> tuple[Bytes, npt.NDArray[np.bool_]]:
        text = self._bytes[self.starts[chosen, None] + np.arange(2 * width)]
        nibbles = _NIBBLES[text]
        is_hex: npt.NDArray[np.bool_] = (nibbles != _NO_NIBBLE).all(axis=1)
        return (nibbles[:, 0::2] << np.uint8(4)) | nibbles[:, 1::2], is_hex


_NO_NIBBLE = 0xFF
_NIBBLES = np.full(256, _NO_NIBBLE, np.uint8)
_NIBBLES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


def _alone(entry: Entry) -> Entries:
    digest = np.frombuffer(entry.digest, np.uint8).reshape(1, -1)
    return Entries(digest, np.array([entry.size], np.uint64), [entry.name])


def _joined(pieces: list[Entries]) -> Entries:
    if len(pieces) == 1:
        return pieces[0]
    return Entries(
        np.concatenate([p.digests for p in pieces]),
        np.concatenate([p.sizes for p in pieces]),
        [name for p in pieces for name in p.names],
    )
