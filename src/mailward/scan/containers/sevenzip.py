"""7z archives: read here, so that nothing is made before it is counted, and passwords are tried.

What the standard library has no codec for (PPMd, BCJ2) is left to libarchive.
"""

import bz2
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from backports import zstd
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mailward.scan.budget import Budget
from mailward.scan.containers import libarchive
from mailward.scan.containers.inflate import (
    Decompressor,
    Inflated,
    brotli,
    deflate,
    deflate64,
    inflate,
    inflate_frames,
    lz4_frame,
)
from mailward.scan.containers.sevenzip_filters import FILTERS
from mailward.scan.containers.sevenzip_header import (
    START,
    Coder,
    DamagedError,
    Folder,
    Header,
    Streams,
    parse,
)
from mailward.scan.contents import Contents, Found, Listed, Piece, Shut, Unlocked
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_COPY, _AES = b"\x00", b"\x06\xf1\x07\x01"
_LZMA, _LZMA2 = b"\x03\x01\x01", b"\x21"
_FILTERS = {
    b"\x03": lzma.FILTER_DELTA,
    b"\x04": lzma.FILTER_X86,
    b"\x05": lzma.FILTER_POWERPC,
    b"\x06": lzma.FILTER_IA64,
    b"\x07": lzma.FILTER_ARM,
    b"\x08": lzma.FILTER_ARMTHUMB,
    b"\x09": lzma.FILTER_SPARC,
    b"\x03\x03\x01\x03": lzma.FILTER_X86,
    b"\x03\x03\x02\x05": lzma.FILTER_POWERPC,
    b"\x03\x03\x04\x01": lzma.FILTER_IA64,
    b"\x03\x03\x05\x01": lzma.FILTER_ARM,
    b"\x03\x03\x07\x01": lzma.FILTER_ARMTHUMB,
    b"\x03\x03\x08\x05": lzma.FILTER_SPARC,
}
_OTHERS: dict[bytes, Callable[[], Decompressor]] = {
    b"\x04\x01\x08": deflate,
    b"\x04\x01\x09": deflate64,
    b"\x04\x02\x02": bz2.BZ2Decompressor,
}
_BROTLI = b"\x04\xf7\x11\x02"
_FRAMES: dict[bytes, Callable[[], Decompressor]] = {
    b"\x04\xf7\x11\x01": zstd.ZstdDecompressor,
    _BROTLI: brotli,
    b"\x04\xf7\x11\x04": lz4_frame,
}
"""Of 7-Zip ZS, NanaZip and py7zr: as many frames as there were threads, or one."""
_FRAME_TO_SKIP = b"\x50\x2a\x4d\x18"
_DICTIONARY_MAX_BYTES = 256 * 1024 * 1024
_HEADER_MAX_BYTES = 32 * 1024 * 1024
_HEADERS_MAX = 4
"""A header may be packed, and that again."""
_ROUNDS_A_UNIT = 16_000
"""Of its hash, for a unit of what passwords cost: a millisecond."""
_CYCLES_MAX = 22
"""Power of two of the rounds that make a key; 7-Zip takes 19, and refuses above 24."""
_ROUNDS_AT_ONCE = 1 << 16


class _LockedError(Exception):
    """No password fits."""


class _UnsupportedError(Exception):
    """A codec that is not known here."""


def read(data: bytes, name: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    archive = _Archive(data, budget)
    try:
        header = archive.header()
    except DamagedError as e:
        yield Shut(Reason.MALFORMED, f"7-Zip archive: {e}")
        return
    except _LockedError:
        yield Shut(Reason.ENCRYPTED, "encrypted 7-Zip archive, names included")
        return
    except _UnsupportedError:
        header = None
    if header is None or not all(_is_known(folder) for folder in header.streams.folders):
        if header is not None and any(_is_locked(folder) for folder in header.streams.folders):
            yield Shut(Reason.ENCRYPTED, "encrypted 7-Zip archive, in a codec that is not known")
        else:
            yield from libarchive.read(libarchive.SEVEN_ZIP, data, name, budget)
        return
    yield from archive.files(header)


def listed(data: bytes, budget: Budget) -> Iterator[Listed]:
    """What its header says, if that is not encrypted; which packed bytes are whose, it does not
    say. Raises Spent."""
    try:
        header = _Archive(data, budget).header()
    except (DamagedError, _LockedError, _UnsupportedError):
        return
    named = iter(zip(header.names, header.positions, strict=True))
    for folder in header.streams.folders:
        for size, crc in folder.files:
            name, position = next(named, ("", None))
            yield Listed(name, size, 0, _is_locked(folder), position, crc)


class _Archive:
    def __init__(self, data: bytes, budget: Budget) -> None:
        self._data = data
        self._budget = budget
        self._password: str | None = None
        self._keys: dict[tuple[str, bytes], bytes] = {}

    def header(self) -> Header:
        """Raises DamagedError, _LockedError, _UnsupportedError, Spent."""
        if len(self._data) < START.size:
            raise DamagedError("truncated")
        *_, offset, size, crc = START.unpack_from(self._data)
        raw = self._data[START.size + offset : START.size + offset + size]
        if size == 0:
            if len(self._data) > START.size:  # 7-Zip looks for another header behind it
                raise DamagedError("it lists nothing, and something is in it")
            return Header(Streams(0, (), ()), (), ())
        if len(raw) < size or zlib.crc32(raw) != crc:
            raise DamagedError("truncated, or its header is damaged")
        for _ in range(_HEADERS_MAX):
            found = parse(raw)
            if isinstance(found, Header):
                return found
            if len(found.folders) != 1 or found.folders[0].size > _HEADER_MAX_BYTES:
                raise DamagedError("an impossible header")
            raw, shut = self._unpack(found.folders[0], self._packed(found, 0), _HEADER_MAX_BYTES)
            if shut is not None:
                raise DamagedError(f"its header cannot be unpacked: {shut.detail}")
        raise DamagedError("headers inside each other")

    def files(self, header: Header) -> Contents:
        """Raises Spent."""
        if header.has_folders:
            self._budget.count_part(0)
        names = iter(header.names)
        for name in header.empty:
            yield Piece(b"", Role.MEMBER, name)
        for number, folder in enumerate(header.streams.folders):
            yield from self._folder(header.streams, number, folder, names)

    def _folder(
        self, streams: Streams, number: int, folder: Folder, names: Iterator[str]
    ) -> Contents:
        room = self._budget.room()
        first = next(names, "")
        try:
            content, shut = self._unpack(folder, self._packed(streams, number), room)
        except DamagedError as e:
            content, shut = b"", Shut(Reason.MALFORMED, f"7-Zip archive: {e}")
        except _LockedError:
            content, shut = b"", Shut(Reason.ENCRYPTED, "encrypted archive member")
        if _is_locked(folder) and content:
            yield Unlocked(first)
        at = 0
        for index, (size, crc) in enumerate(folder.files):
            name = first if index == 0 else next(names, "")
            piece = content[at : at + size]
            at += size
            yield from self._file(piece, size, crc, name, shut)

    def _file(
        self, piece: bytes, size: int, crc: int | None, name: str, shut: Shut | None
    ) -> list[Found]:
        if len(piece) < size:
            why = shut or Shut(Reason.MALFORMED, "truncated: it ends behind the archive")
            said = Shut(why.reason, why.detail, name)
            return [Piece(piece, Role.MEMBER, name), said] if piece else [said]
        if crc is not None and zlib.crc32(piece) != crc:
            wrong = Shut(Reason.MALFORMED, "its checksum is wrong", name)
            return [Piece(piece, Role.MEMBER, name), wrong]
        return [Piece(piece, Role.MEMBER, name)]

    def _packed(self, streams: Streams, number: int) -> bytes:
        """Of a folder with one input."""
        before = sum(folder.packed_streams for folder in streams.folders[:number])
        if before >= len(streams.packed_sizes):
            raise DamagedError("a folder without input")
        start = START.size + streams.start + sum(streams.packed_sizes[:before])
        packed = self._data[start : start + streams.packed_sizes[before]]
        if len(packed) < streams.packed_sizes[before]:
            raise DamagedError("truncated: a folder ends behind the archive")
        return packed

    def _unpack(self, folder: Folder, packed: bytes, room: int) -> tuple[bytes, Shut | None]:
        """At most ``room`` bytes, and why it is not all."""
        if not folder.is_chain:
            raise _UnsupportedError
        if not _is_locked(folder):
            return self._decode(folder.coders, folder.sizes, packed, room)
        if folder.coders[0].method != _AES:
            raise _UnsupportedError
        candidates = self._budget.passwords.candidates(_cost(folder.coders[0]))
        for password in candidates if self._password is None else (self._password,):
            self._budget.check_time()
            plain = self._decrypt(folder.coders[0], packed, password)[: folder.sizes[0]]
            content, shut = self._decode(folder.coders[1:], folder.sizes[1:], plain, room)
            if shut is None and not _is_right(folder, content):
                continue
            if shut is not None and shut.reason is not Reason.LIMIT:
                continue
            self._password = password
            self._budget.passwords.worked(password)
            return content, shut
        raise _LockedError

    def _decode(
        self, coders: Sequence[Coder], sizes: Sequence[int], packed: bytes, room: int
    ) -> tuple[bytes, Shut | None]:
        shut: Shut | None = None
        at = 0
        while at < len(coders) and shut is None:
            if coders[at].method == _COPY:
                at += 1
                continue
            own = FILTERS.get(coders[at].method)
            if own is not None:
                packed = own(packed, coders[at].properties, self._budget)
                at += 1
                continue
            steps = 1
            if coders[at].method in (_LZMA, _LZMA2):
                while at + steps < len(coders) and coders[at + steps].method in _FILTERS:
                    steps += 1
            packed, shut = self._codec(coders[at : at + steps], sizes[at + steps - 1], packed, room)
            at += steps
        return packed[:room], shut

    def _codec(
        self, coders: Sequence[Coder], size: int, packed: bytes, room: int
    ) -> tuple[bytes, Shut | None]:
        method = coders[0].method
        if method in _FRAMES:
            done = _frames(method, memoryview(packed), size, self._budget)
            return done.data[: min(room, size)], done.shut
        make = _OTHERS.get(method) or partial(_lzma, coders)
        done = inflate(lambda: _Sized(make(), size), memoryview(packed), self._budget)
        out = done.data
        if len(coders) > 1 and len(out) < size and done.shut is not None:
            # Without an end marker a filter holds its last bytes back: they are as unfiltered.
            plain = inflate(
                lambda: _Sized(_lzma(coders[:1]), size), memoryview(packed), self._budget
            )
            if len(plain.data) == size and size - len(out) < 16:
                return out + plain.data[len(out) :], None
        return out[:room], done.shut

    def _decrypt(self, coder: Coder, packed: bytes, password: str) -> bytes:
        """Raises DamagedError."""
        properties = coder.properties
        if len(properties) < 2:
            raise DamagedError("an encryption without properties")
        first, second = properties[0], properties[1]
        salt_bytes = (first >> 7) + (second >> 4)
        iv_bytes = (first >> 6 & 1) + (second & 0x0F)
        salt = properties[2 : 2 + salt_bytes]
        iv = properties[2 + salt_bytes : 2 + salt_bytes + iv_bytes].ljust(16, b"\0")[:16]
        key = self._key(password, salt, first & 0x3F)
        decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        return decryptor.update(packed[: len(packed) & ~15])

    def _key(self, password: str, salt: bytes, power: int) -> bytes:
        if power > _CYCLES_MAX:
            raise _LockedError
        known = password, salt + bytes([power])
        if known not in self._keys:
            import numpy as np  # here: it costs every worker 20 MB, and few messages need it

            seed = np.frombuffer(salt + password.encode("utf-16-le"), dtype=np.uint8)
            digest = hashlib.sha256()
            rounds = min(1 << power, _ROUNDS_AT_ONCE)
            block = np.empty((rounds, len(seed) + 8), dtype=np.uint8)
            block[:, : len(seed)] = seed
            for start in range(0, 1 << power, rounds):
                counters = np.arange(start, start + rounds, dtype="<u8")
                block[:, len(seed) :] = counters.view(np.uint8).reshape(rounds, 8)
                digest.update(block.data)
            self._keys[known] = digest.digest()
        return self._keys[known]


def _frames(method: bytes, packed: memoryview, size: int, budget: Budget) -> Inflated:
    if method != _BROTLI:
        return inflate_frames(_FRAMES[method], packed, budget, size=size)
    if packed[:4] == _FRAME_TO_SKIP:
        return inflate_frames(brotli, packed, budget, size=size, each_is_told=True)
    return inflate(brotli, packed, budget)


def _cost(coder: Coder) -> int:
    power = coder.properties[0] & 0x3F if coder.properties else 0
    return 1 + (1 << min(power, _CYCLES_MAX)) // _ROUNDS_A_UNIT


class _Sized:
    """Ends where the header says: a raw stream may have no end of its own."""

    def __init__(self, inner: Decompressor, size: int) -> None:
        self._inner = inner
        self._left = size

    @property
    def eof(self) -> bool:
        return self._left <= 0 or self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._inner.needs_input

    @property
    def unused_data(self) -> bytes:
        return b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out = self._inner.decompress(data, min(max_length, self._left))
        self._left -= len(out)
        return out


def _lzma(coders: Sequence[Coder]) -> Decompressor:
    """LZMA and the filters behind it. Raises ValueError, lzma.LZMAError."""
    properties = coders[0].properties
    filters: list[dict[str, int]] = []
    for coder in reversed(coders[1:]):
        kind = _FILTERS[coder.method]
        filters.append({"id": kind})
        if kind == lzma.FILTER_DELTA:
            filters[-1]["dist"] = (coder.properties[0] if coder.properties else 0) + 1
    if coders[0].method == _LZMA:
        if len(properties) < 5 or properties[0] >= 9 * 5 * 5:
            raise ValueError("impossible properties")
        rest, lc = divmod(properties[0], 9)
        pb, lp = divmod(rest, 5)
        size = int.from_bytes(properties[1:5], "little")
        last = {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb}
    else:
        bits = properties[0] if properties else 0
        size = (2 | bits & 1) << bits // 2 + 11
        last = {"id": lzma.FILTER_LZMA2}
    if size > _DICTIONARY_MAX_BYTES:
        raise ValueError(f"a dictionary of {size} bytes")
    filters.append(last | {"dict_size": max(size, 4096)})
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)


def _is_right(folder: Folder, content: bytes) -> bool:
    """By the first checksum that there is; without any, whatever it is."""
    if folder.crc is not None:
        return zlib.crc32(content) == folder.crc
    size, crc = folder.files[0] if folder.files else (0, None)
    return crc is None or zlib.crc32(content[:size]) == crc


def _is_locked(folder: Folder) -> bool:
    return any(coder.method == _AES for coder in folder.coders)


def _is_known(folder: Folder) -> bool:
    if not folder.is_chain:
        return False
    after_lzma = False
    for number, coder in enumerate(folder.coders):
        if coder.method in (_LZMA, _LZMA2):
            after_lzma = True
        elif coder.method in _FILTERS:
            if not after_lzma:
                return False
        elif (
            coder.method in _OTHERS
            or coder.method in _FRAMES
            or coder.method in FILTERS
            or coder.method == _COPY
            or (coder.method == _AES and not number)
        ):
            after_lzma = False
        else:
            return False
    return True
