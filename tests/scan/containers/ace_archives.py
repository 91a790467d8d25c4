"""ACE archives made by hand: no packer for them can be had."""

import array
import random
import struct
import zlib
from collections.abc import Mapping

import acefile

LZ77, DELTA, PROGRAM, SOUND, PICTURE = 0, 1, 2, 3, 7
_TYPE_CODE = 283


def _crc(data: bytes) -> int:
    return ~zlib.crc32(data) & 0xFFFFFFFF


def _header(kind: int, flags: int, fields: bytes) -> bytes:
    body = struct.pack("<BH", kind, flags) + fields
    return struct.pack("<HH", _crc(body) & 0xFFFF, len(body)) + body


class Bits:
    """Written highest first, into words of 32."""

    def __init__(self) -> None:
        self.text = ""

    def put(self, value: int, width: int) -> None:
        if width:
            self.text += f"{value:0{width}b}"

    def bytes(self) -> bytes:
        text = self.text + "0" * (-len(self.text) % 32)
        words = array.array("I", int(text, 2).to_bytes(len(text) // 8, "big"))
        words.byteswap()
        return words.tobytes()


class Coder:
    """Symbols by a code in which all that are used have the same width.

    Equal widths are put in order by ACE's own sorting, so that the place of each is asked for.
    """

    def __init__(self, bits: Bits, used: set[int], most: int) -> None:
        width = max(1, (len(used) - 1).bit_length())
        widths = [width if n in used else 0 for n in range(max(used) + 1)]
        self._write(bits, widths)
        symbols, keys = list(range(len(widths))), list(widths)
        _sort(keys, symbols)
        order = [s for s, k in zip(symbols, keys, strict=True) if k][::-1]
        self.width = width if len(order) > 1 else 1
        self._place = {symbol: number for number, symbol in enumerate(order)}

    @staticmethod
    def _write(bits: Bits, widths: list[int]) -> None:
        """All widths are told by a code of 4 words of two bits each, the last of them not used."""
        bits.put(len(widths) - 1, 9)
        bits.put(max(widths) - 1, 4)  # is added to what is not 0
        upper = 3
        bits.put(upper, 4)
        for _ in range(upper + 1):
            bits.put(2, 3)
        symbols, keys = list(range(upper + 1)), [2] * (upper + 1)
        _sort(keys, symbols)
        place = {symbol: number for number, symbol in enumerate(symbols[::-1])}
        last = 0
        for width in widths:
            value = 1 if width else 0
            bits.put(place[(value - last) % upper], 2)
            last = value

    def put(self, bits: Bits, symbol: int) -> None:
        bits.put(self._place[symbol], self.width)


def _sort(keys: list[int], values: list[int], left: int = 0, right: int | None = None) -> None:
    right = len(keys) - 1 if right is None else right
    low, high, middle = left, right, keys[right]
    while True:
        while keys[low] > middle:
            low += 1
        while keys[high] < middle:
            high -= 1
        if low <= high:
            for each in (keys, values):
                each[low], each[high] = each[high], each[low]
            low, high = low + 1, high - 1
        if low >= high:
            break
    for first, last in ((left, high), (low, right)):
        if first < last - 1:
            _sort(keys, values, first, last)
        elif first < last and keys[first] < keys[last]:
            for each in (keys, values):
                each[first], each[last] = each[last], each[first]


Token = int | tuple[int, int] | tuple[str, int, tuple[tuple[int, int], ...]]
"""A byte; distance and length; or a mode with values and their widths."""


def tokens(data: bytes) -> list[Token]:
    """Bytes, and matches where they come again."""
    found: list[Token] = []
    seen: dict[bytes, int] = {}
    at = 0
    while at < len(data):
        key = data[at : at + 5]
        place = seen.get(key)
        seen[key] = at
        if place is not None and len(key) == 5:
            length = 5
            while (
                length < 200
                and data[at + length : at + length + 1] == data[place + length : place + length + 1]
                and at + length < len(data)
            ):
                length += 1
            found.append((at - place, length))
            at += length
        else:
            found.append(data[at])
            at += 1
    return found


def packed(symbols: list[Token]) -> bytes:
    """One block of codes for each 30,000 symbols."""
    bits = Bits()
    for start in range(0, len(symbols), 30_000):
        part = symbols[start : start + 30_000]
        coded: list[tuple[int, list[tuple[int, int]], int | None]] = []
        for token in part:
            if isinstance(token, int):
                coded.append((token, [], None))
            elif isinstance(token[0], str):
                coded.append((_TYPE_CODE, [(token[1], 8), *token[2]], None))
            else:
                distance, length = token[0] - 1, token[1]
                width = distance.bit_length() if distance > 1 else distance
                extra = 2 if distance <= 255 else 3 if distance <= 8191 else 4
                rest = [(distance - (1 << width - 1), width - 1)] if width > 1 else []
                coded.append((260 + width, rest, length - extra))
        main = Coder(bits, {c[0] for c in coded}, 11)
        lengths = Coder(bits, {c[2] for c in coded if c[2] is not None} or {0, 1}, 11)
        bits.put(len(coded), 15)
        for symbol, rest, more in coded:
            main.put(bits, symbol)
            for value, width in rest:
                bits.put(value, width)
            if more is not None:
                lengths.put(bits, more)
    return bits.bytes()


def locked(data: bytes, password: bytes) -> bytes:
    """Encrypted by what ``acefile`` decrypts with."""
    cipher = acefile.AceBlowfish(password)
    left = right = 0
    out = b""
    for at in range(0, len(data), 8):
        first, second = struct.unpack("<LL", data[at : at + 8].ljust(8, b"\0"))
        left, right = cipher._bf_encrypt_block(left ^ first, right ^ second)
        out += struct.pack("<LL", left, right)
    return out


def ace(
    files: Mapping[str, bytes | tuple[bytes, bytes]], *, method: int = 1, flags: int = 0,
    solid: bool = False, password: bytes = b"",
) -> bytes:  # fmt: skip
    """``files``: content, or content and what it is packed to."""
    main = b"**ACE**" + struct.pack("<BBBBL8x", 20, 20, 0, 0, 0)
    out = _header(0, 0x100 | (0x8000 if solid else 0), main)
    for name, content in files.items():
        plain, stored = content if isinstance(content, tuple) else (content, None)
        if stored is None:
            stored = plain if method == 0 else packed(tokens(plain))
        if password:
            stored, flags = locked(stored, password), flags | 1 << 14
        raw = name.encode()
        fields = struct.pack("<LL", len(stored), len(plain))
        fields += struct.pack("<LLLBBHHH", 0, 0x20, _crc(plain), method, 3, 10, 0, len(raw))
        out += _header(1, 1 | flags, fields + raw) + stored
    return out


def text(size: int, seed: int = 0) -> bytes:
    """Words, which are matches of each other."""
    choose = random.Random(seed)
    words = [bytes(choose.choices(range(97, 123), k=choose.randrange(3, 9))) for _ in range(40)]
    out = b""
    while len(out) < size:
        out += choose.choice(words) + b" "
    return out[:size]


def with_planes(data: bytes, planes: int) -> list[Token]:
    """Sorted into planes, and differences instead of values."""
    size = len(data) - len(data) % planes
    sorted_ = b"".join(data[number:size:planes] for number in range(planes))
    before = bytes([0, *sorted_[:-1]])
    differences = bytes(a - b & 0xFF for a, b in zip(sorted_, before, strict=True))
    found: list[Token] = [("mode", DELTA, ((planes, 8), (size, 17))), *tokens(differences)]
    return [*found, ("mode", LZ77, ()), *data[size:]]


def with_calls(code: bytes, *, long: bool) -> list[Token]:
    """Targets of calls and jumps made absolute."""
    out = bytearray(code)
    at = 0
    while at + 4 < len(out):
        width = 4 if long and out[at] == 0xE8 else 2 if out[at] in (0xE8, 0xE9) else 0
        if width:
            target = int.from_bytes(out[at + 1 : at + 1 + width], "little") + at
            mask = (1 << 8 * width) - 1
            out[at + 1 : at + 1 + width] = (target & mask).to_bytes(width, "little")
        at += 1 + width
    return [("mode", PROGRAM, ((int(long), 8),)), *tokens(bytes(out))]
