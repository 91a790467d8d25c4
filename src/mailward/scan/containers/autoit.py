"""Compiled AutoIt 3 scripts (``EA05``, ``EA06``): the script as text, and the files packed with it.

They lie behind AutoIt's own program or in its resources, each encrypted by a generator whose seed
is known, and often packed. Layout: that of the package ``autoit-ripper``, which has no bounds.
"""

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.containers.autoit_text import script
from mailward.scan.containers.repeat import repeat
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

MAGIC = bytes.fromhex("a3484bbe986c4aa9994c530a86d6487d")
_KIND = len(MAGIC)
_START = _KIND + 8 + 16
"""Behind the magic number, the kind and a checksum."""
_PLACES_MAX = 20
_ENTRIES_MAX = 10_000
_STRING_MAX = 2048
"""Letters of a path."""
_SIZES = struct.Struct("<BLLL16x")
_PACKED_HEADER = struct.Struct(">4sL")
_TOKENS, _TEXT, _TEXT_WIDE = ">>>AUTOIT SCRIPT<<<", ">AUTOIT SCRIPT<", ">AUTOIT UNICODE SCRIPT<"
_KEY_KEPT_BYTES = 4 * 1024 * 1024
"""Of the one key that all of EA06 share: it is slow to make."""
_KEY_STEP = 64 * 1024
"""Bytes of a key between two looks at the time."""
_LOOK_EVERY, _LOOK_EVERY_BYTES = 4096, 1024 * 1024
"""Symbols, or bytes, between two looks at time and ratio."""
_MASK = 0xFFFFFFFF


class _DamagedError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Way:
    """The seeds of a kind; those of a text are XORed to its length, and added to it."""

    decrypt: Callable[[memoryview, int, Budget], bytes]
    """By a seed. Raises Spent."""
    wide: bool
    marker: int
    source: tuple[int, int]
    path: tuple[int, int]
    size: int
    checksum: int
    content: int


def read(data: bytes, budget: Budget) -> Contents:
    """Scripts and files. Raises only Spent."""
    at = data.find(MAGIC)
    for _ in range(_PLACES_MAX):
        if at < 0:
            return
        kind = data[at + _KIND : at + _KIND + 8]
        way = _WAYS.get(kind)
        if way is not None:
            summed = sum(data[at + _KIND + 8 : at + _START]) if kind == b"AU3!EA05" else 0
            yield from _entries(memoryview(data)[at + _START :], way, summed, budget)
        elif kind[:1] == b"\3":
            why = "compiled script of AutoHotkey or AutoIt 2: this release cannot open it"
            yield Shut(Reason.UNSUPPORTED, why)
        elif at + _KIND + 8 > len(data):
            yield Shut(Reason.MALFORMED, "truncated: the compiled AutoIt script ends too early")
        elif data.startswith(b"AU3!", at + _KIND):
            yield Shut(Reason.UNSUPPORTED, "compiled AutoIt script of a kind that is not known")
        at = data.find(MAGIC, at + 1)


def _entries(body: memoryview, way: _Way, summed: int, budget: Budget) -> Contents:
    at = 0
    for number in range(_ENTRIES_MAX):
        budget.check_time()
        if way.decrypt(body[at : at + 4], way.marker, budget) != b"FILE":
            if not number:
                yield Shut(Reason.MALFORMED, "compiled AutoIt script: it is damaged or cut")
            return
        try:
            source, at = _text(body, at + 4, way, way.source, budget)
            path, at = _text(body, at, way, way.path, budget)
            packed, stored, _, checksum = _SIZES.unpack_from(body, at)
        except (struct.error, _DamagedError):
            yield Shut(Reason.MALFORMED, "truncated: the compiled AutoIt script ends too early")
            return
        at += _SIZES.size
        size = stored ^ way.size
        hidden = body[at : at + size]
        at += size
        is_script = source in (_TOKENS, _TEXT, _TEXT_WIDE)
        name = (
            "script.au3" if is_script else (source or path).replace("/", "\\").rpartition("\\")[2]
        )
        content, shut = _content(hidden, way, summed + way.content, bool(packed), budget)
        if shut is None and len(hidden) < size:
            shut = Shut(Reason.MALFORMED, "truncated: it ends behind the compiled script")
        if shut is None and zlib.adler32(content.plain) != checksum ^ way.checksum:
            shut = Shut(Reason.MALFORMED, "compiled AutoIt script: a checksum is wrong")
        data = content.data
        if source == _TOKENS and way.wide:
            data, whole = script(data, budget)
            if not whole and shut is None:
                shut = Shut(Reason.MALFORMED, "compiled AutoIt script: its end cannot be read")
        elif source == _TEXT_WIDE:
            data = data.decode("utf-16", "replace").encode()
        yield Piece(data, Role.MEMBER, name)
        if shut is not None:
            yield Shut(shut.reason, shut.detail, name)


def _text(
    body: memoryview, at: int, way: _Way, seeds: tuple[int, int], budget: Budget
) -> tuple[str, int]:
    """Raises struct.error, _DamagedError, Spent."""
    letters = struct.unpack_from("<L", body, at)[0] ^ seeds[0]
    size = letters * 2 if way.wide else letters
    at += 4
    if letters > _STRING_MAX or at + size > len(body):
        raise _DamagedError
    raw = way.decrypt(body[at : at + size], letters + seeds[1], budget)
    return raw.decode("utf-16-le", "replace") if way.wide else encodings.text(raw), at + size


@dataclass(frozen=True, slots=True)
class _Content:
    data: bytes
    plain: bytes
    """Before it was unpacked: what the checksum is of."""


def _content(
    hidden: memoryview, way: _Way, seed: int, packed: bool, budget: Budget
) -> tuple[_Content, Shut | None]:
    room = budget.room()
    plain = way.decrypt(hidden, seed, budget)
    if not packed:
        return _Content(plain, plain), None
    if len(plain) < _PACKED_HEADER.size:
        why = "truncated: the compiled AutoIt script ends too early"
        return _Content(b"", plain), Shut(Reason.MALFORMED, why)
    kind, size = _PACKED_HEADER.unpack_from(plain)
    literal = {b"EA05": 0, b"EA06": 1}.get(kind)
    if literal is None:
        why = f"compiled AutoIt script: packed in a way that is not known ({kind!r})"
        return _Content(plain, plain), Shut(Reason.UNSUPPORTED, why)
    out = bytearray()
    try:
        shut = _unpack(plain[_PACKED_HEADER.size :], size, literal, out, room, budget)
    except _DamagedError:
        shut = Shut(Reason.MALFORMED, "the compressed data is damaged")
    return _Content(bytes(out), plain), shut


class _Bits:
    """The highest of each byte first."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed
        self._at = 0
        self._held = 0
        self._count = 0

    def take(self, count: int) -> int:
        if self._count < count:
            more = self._packed[self._at : self._at + 8]
            self._at += len(more)
            self._held = (self._held & (1 << self._count) - 1) << 8 * len(more) | int.from_bytes(
                more, "big"
            )
            self._count += 8 * len(more)
            if self._count < count:
                raise _DamagedError
        self._count -= count
        return self._held >> self._count & (1 << count) - 1


_LENGTHS = ((3, 2), (6, 3), (13, 5), (44, 8), (299, 8))
"""Shortest, and how many bits are added; all ones mean the next row."""


def _length(bits: _Bits) -> int:
    for shortest, width in _LENGTHS:
        more = bits.take(width)
        if more != (1 << width) - 1:
            return shortest + more
    length = _LENGTHS[-1][0]
    while True:
        length += 255
        more = bits.take(8)
        if more != 255:
            return length + more


def _unpack(
    packed: bytes, wanted: int, literal: int, out: bytearray, room: int, budget: Budget
) -> Shut | None:
    """Into ``out``. Raises _DamagedError, Spent."""
    bits = _Bits(packed)
    turns = look_at = 0
    target = min(wanted, room + 1)
    while len(out) < target:
        turns += 1
        if turns % _LOOK_EVERY == 0 or len(out) > look_at:
            look_at = len(out) + _LOOK_EVERY_BYTES
            budget.check_time()
            if budget.is_bomb(len(out), len(packed)):
                return budget.bomb()
        if bits.take(1) == literal:
            out.append(bits.take(8))
            continue
        distance = bits.take(15)
        length = min(_length(bits), target - len(out))
        if not 0 < distance <= len(out):
            raise _DamagedError
        repeat(out, distance, length)
    if len(out) > room:
        del out[room:]
        return budget.over_room(room)
    return budget.bomb() if budget.is_bomb(len(out), len(packed)) else None


def _xor(hidden: memoryview, key: "bytes | bytearray") -> bytes:
    size = len(hidden)
    turned = int.from_bytes(hidden, "little") ^ int.from_bytes(key[:size], "little")
    return turned.to_bytes(size, "little")


def _mersenne(hidden: memoryview, seed: int, budget: Budget) -> bytes:
    """EA05: the generator MT19937, of whose numbers a bit is thrown away."""
    state = [seed & _MASK]
    for number in range(1, 624):
        last = state[-1]
        state.append(number + 0x6C078965 * (last ^ last >> 30) & _MASK)
    numbers = random.Random()  # noqa: S311 (it is theirs)
    numbers.setstate((3, (*state, 624), None))
    plain = bytearray()
    for at in range(0, len(hidden), _KEY_STEP):
        budget.check_time()
        piece = hidden[at : at + _KEY_STEP]
        drawn = numbers.getrandbits(32 * len(piece)) >> 1
        plain += _xor(piece, drawn.to_bytes(4 * len(piece), "little")[::4])
    return bytes(plain)


def _ranrot(hidden: memoryview, seed: int, budget: Budget) -> bytes:
    """EA06: two numbers of a lagged generator a byte."""
    shared = seed == _EA06_CONTENT and len(hidden) <= _KEY_KEPT_BYTES
    return _xor(hidden, (_SHARED_KEY if shared else _Ranrot(seed)).upto(len(hidden), budget))


class _Ranrot:
    """A key, made as far as it is asked for."""

    def __init__(self, seed: int) -> None:
        seeds = []
        for _ in range(_LAG):
            seed = 1 - seed * 0x53A9B4FB & _MASK
            seeds.append(seed)
        self._numbers = self._more([seeds[0], *reversed(seeds[1:])], 9)[-_LAG:]
        self._made = bytearray()

    def upto(self, size: int, budget: Budget) -> bytearray:
        """At least its first ``size`` bytes. Raises Spent."""
        while len(self._made) < size:
            budget.check_time()
            numbers = self._more(self._numbers, 2 * min(_KEY_STEP, size - len(self._made)))
            self._made += bytes([number >> 24 for number in numbers[_LAG + 1 :: 2]])
            self._numbers = numbers[-_LAG:]
        return self._made

    @staticmethod
    def _more(numbers: list[int], count: int) -> list[int]:
        made = list(numbers)
        add = made.append
        for n in range(count):
            a, b = made[n], made[n + 7]
            add((a << 9 | a >> 23) + (b << 13 | b >> 19) & _MASK)
        return made


_LAG = 17
_EA06_CONTENT = 0x2477
_SHARED_KEY = _Ranrot(_EA06_CONTENT)
"""The same for all contents of EA06, and slow to make."""
_WAYS = {
    b"AU3!EA05": _Way(
        decrypt=_mersenne, wide=False, marker=0x16FA, source=(0x29BC, 0xA25E),
        path=(0x29AC, 0xF25E), size=0x45AA, checksum=0xC3D2, content=0x22AF,
    ),
    b"AU3!EA06": _Way(
        decrypt=_ranrot, wide=True, marker=0x18EE, source=(0xADBC, 0xB33F),
        path=(0xF820, 0xF479), size=0x87BC, checksum=0xA685, content=_EA06_CONTENT,
    ),
}  # fmt: skip
